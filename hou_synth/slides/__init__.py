"""Whole slides: pixels by resolution, nuclei tile by tile, what they add up to."""
