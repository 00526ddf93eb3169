"""Nucleus segmentation for H&E histopathology, trained without labels (Hou et al., CVPR 2019)."""

__version__ = "0.1.0"
