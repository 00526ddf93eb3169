"""Labelled images in the formats of the field: files that belong together, outlines, label maps."""

FORMATS = ("plain", "miccai", "aperio", "matlab", "qupath")
POSITIVE = ("inflammatory", "lymphocyte")  # classes of points that are lymphocytes
TABLE = "images.csv"  # in a folder: what is known of its images
