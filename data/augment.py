"""Flips and rotations of a patch; image and mask together (release)."""

import cv2
import numpy as np


def turned(random, *arrays):
    """The same random left-right flip and multiple of 90 degrees for every array.

    Args:
        random: `numpy.random.Generator`.
        *arrays: (s, s, ...) uint8 or uint16 square arrays.

    Returns:
        list of contiguous arrays.
    """
    transposed, flip = divmod(int(random.integers(8)), 4)
    return [_turned(array, transposed, flip) for array in arrays]


def _turned(array, transposed, flip):
    """One of the eight symmetries of a square: `flip` is 0 none, 1 both axes, 2 the rows, 3 the columns."""
    if transposed:
        array = cv2.transpose(array)
    return cv2.flip(array, (-1, 0, 1)[flip - 1]) if flip else np.ascontiguousarray(array)
