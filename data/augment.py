"""Flips and rotations of a patch; image and mask together (release)."""

import numpy as np


def turned(random, *arrays):
    """The same random left-right flip and multiple of 90 degrees for every array.

    Args:
        random: `numpy.random.Generator`.
        *arrays: (s, s, ...) square arrays.

    Returns:
        list of arrays (views).
    """
    turns, flip = int(random.integers(4)), bool(random.integers(2))
    arrays = [np.rot90(array, turns) for array in arrays]
    return [array[:, ::-1] if flip else array for array in arrays]
