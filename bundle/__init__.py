"""Pack, export and verify the bundle; this package is not part of it."""
