"""Packs, exports and verifies what travels; nothing in here ships."""
