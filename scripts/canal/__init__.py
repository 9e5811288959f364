"""Where is the spinal canal, and how large are canal and cord?"""
