"""Where are canal and cord, and what do they measure?"""
