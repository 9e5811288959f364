"""Whose slices, which labels, which section? Index, labels, adjudication, split, leaks, geometry, description."""
