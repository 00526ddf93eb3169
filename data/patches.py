"""Labelled images -> training patches: what supervision learns from, and "universal + real" besides."""

import cv2
import numpy as np

from data import draws, synthetic
from hou_synth import instances
from hou_synth.synthesis import initial_patch

UNKNOWN = -1  # label of pixels that are known as neither nucleus nor background
SCALE = (0.8, 1.25)  # range of the random magnification; ours (the paper names the augmentation, no number)


def training(groups, config, index):
    """Patch number `index` of a set of labelled images, rotated, mirrored and scaled at random [paper Sec. 5.1].

    Half of the patches are turned by a multiple of 90
    degrees and keep their pixels; the others take any angle and magnification.

    Args:
        groups: list of lists of `data.labelled.reader.Labelled` at 40X: each as likely as any other, and so is each
            image of it, whatever its size.
        config: `Config`; its seed, patch and kind of detection target count.
        index: any integer of at least 0.

    Returns:
        (s, s, 3) uint8 RGB and (s, s, 1) uint8 target bits, see `data.synthetic.target`. The same for the same
        arguments.
    """
    side = config.schedule.patch
    random = np.random.default_rng([config.schedule.seed, index])
    (source,) = draws.drawn(random, groups, 1)
    matrix = transform(random, source.labels.shape, side)
    image = _warped(source.image, matrix, side, cv2.INTER_CUBIC)
    nuclei = _warped(source.labels.astype(np.float32), matrix, side, cv2.INTER_NEAREST).astype(np.int32)
    unknown = (nuclei == UNKNOWN).astype(np.uint8)
    nuclei = instances.consecutive(np.maximum(nuclei, 0)).astype(np.uint16)
    bits = synthetic.target(nuclei, initial_patch.centres(nuclei), initial_patch.contours(nuclei), config.losses)
    return image, (bits | synthetic.UNKNOWN * unknown)[..., None]


def transform(random, extent, side):
    """(2, 3) matrix from the pixels of a random patch to those of an image of that (height, width).

    The patch's middle lies at least half a patch inside the image; an image smaller than that is mirrored beyond
    its border.
    """
    mirror = 1.0 if random.integers(2) else -1.0
    if random.integers(2):
        angle, scale = np.pi / 2 * random.integers(4), 1.0
    else:
        angle, scale = random.uniform(0, 2 * np.pi), np.exp(random.uniform(*np.log(SCALE)))
    cosine, sine = np.cos(angle) / scale, np.sin(angle) / scale
    turn = np.array([[mirror * cosine, -sine], [mirror * sine, cosine]]).round(12)
    corner = [int(random.integers(max(length - side, 0) + 1)) for length in extent[::-1]]
    middle = (side - 1) / 2
    centre = np.array(corner) + [min(middle, (length - 1) / 2) for length in extent[::-1]]
    return np.column_stack([turn, centre - turn @ [middle, middle]])


def _warped(array, matrix, side, interpolation):
    flags = interpolation | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(array, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
