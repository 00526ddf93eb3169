"""Images that are too large to be segmented at once: they go the way of slides, and end as a label map."""

import hashlib
import math
import pathlib

import cv2
import numpy as np
from skimage.draw import polygon

from hou_synth import inference
from hou_synth.slides import summary
from hou_synth.slides.whole_slide import OVERVIEW, Gridded

# Pixels at 40X beyond which an image is segmented tile by tile. At once, one of so many takes about 4 GB: as much as a
# smaller one that is enlarged. Ours.
LARGE = 32 * 10**6
SCORES = ("probability", "agreement", "lymphocyte")  # columns that come from networks


def size_at_40x(image, microns_per_pixel=None):
    """Pixels that an image has at 0.25 microns per pixel; ValueError for a resolution that cannot be meant."""
    return math.prod(image.shape[:2]) * inference.scale(microns_per_pixel) ** 2


class LargeImage(Gridded):
    """An image in memory that is read as a slide is."""

    def __init__(self, path, image, microns_per_pixel=None):
        """Keeps the image.

        Args:
            path: of its file.
            image: (h, w, 3) uint8 RGB.
            microns_per_pixel: its resolution; None means 0.25.
        """
        self.path, self.image = pathlib.Path(path), image
        self.height, self.width = image.shape[:2]
        self.microns_per_pixel = microns_per_pixel or inference.MICRONS_PER_PIXEL
        self.scale = inference.scale(microns_per_pixel)

    def pixels(self, place):
        """RGB of a place, (h, w, 3) uint8."""
        return self.image[place.y : place.y + place.height, place.x : place.x + place.width]

    def overview(self, side=OVERVIEW):
        """RGB of the whole image, longest side at most `side`."""
        ratio = max(max(self.width, self.height) / side, 1)
        size = [max(round(length / ratio), 1) for length in (self.width, self.height)]
        return cv2.resize(self.image, size, interpolation=cv2.INTER_AREA)

    def fingerprint(self):
        """Text that tells one image from another."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]


def label_map(folder, image, factor):
    """Label map out of the outlines of an image's tiles, and what the network said of its nuclei.

    Args:
        folder: the tiles' folder, all of them finished.
        image: a `LargeImage`.
        factor: by which its tiles were enlarged.

    Returns:
        (h, w) int32 labels 1..n, where a pixel whose centre lies in two outlines belongs to the first; and columns of
        `instances.table`.
    """
    labels, label = np.zeros((image.height, image.width), np.int32), 0
    scores = {name: [math.nan] for name in SCORES}
    for nucleus in summary.every(folder, image, factor):
        x, y = nucleus["polygon"].T
        rows, columns = polygon(y - 0.5, x - 0.5, labels.shape)
        free = labels[rows, columns] == 0
        if free.any():
            label += 1
            labels[rows[free], columns[free]] = label
            for name, values in scores.items():
                values.append(nucleus[name])
    return labels, {name: values for name, values in scores.items() if None not in values}
