"""Labelled images in the formats of the field: files that belong together, outlines, label maps."""
