"""Labelled images in the formats of the field: files that belong together, outlines, label maps."""

FORMATS = ("plain", "miccai", "aperio", "matlab", "qupath")
TABLE = "images.csv"  # in a folder: what is known of its images
