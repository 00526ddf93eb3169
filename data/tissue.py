"""The embedded default tissue, for a first run with no data at hand.

scikit-image carries one stained tissue section (colon, haematoxylin and DAB). Its stains are separated and
mixed anew as haematoxylin and eosin in several settings; it is real tissue, but one field of one organ.
"""

import cv2
import numpy as np
import skimage.color
import skimage.data

# Optical density of haematoxylin and eosin in R, G, B, and how much of each: laboratories differ. Ours.
_SETTINGS = {
    "balanced": ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), 1.0, 1.0),
    "purple": ((0.60, 0.72, 0.35), (0.20, 0.90, 0.38), 1.1, 0.9),
    "blue": ((0.75, 0.60, 0.28), (0.12, 0.92, 0.25), 1.2, 0.7),
    "pink": ((0.62, 0.70, 0.35), (0.08, 0.95, 0.30), 0.95, 1.2),
}
_SCALE = 2  # the section is taken as 20X


def tiles():
    """H&E tiles made of the embedded section.

    Returns:
        dict of name `<stain setting>/<quadrant>` -> (512, 512, 3) uint8 RGB, as 40X. 16 tiles.
    """
    section = skimage.color.rgb2hed(skimage.data.immunohistochemistry())
    haematoxylin, eosin = (_unit(section[..., channel]) for channel in (0, 2))
    result = {}
    for name, (blue, pink, much, little) in _SETTINGS.items():
        density = 2.2 * much * haematoxylin[..., None] * blue + 0.7 * little * (0.1 + eosin[..., None]) * pink
        image = np.clip(245.0 * np.exp(-density), 0, 255).astype(np.uint8)
        image = cv2.resize(image, None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_CUBIC)
        half = image.shape[0] // 2
        for number, (y, x) in enumerate([(0, 0), (0, half), (half, 0), (half, half)]):
            result[f"{name}/{number}"] = image[y : y + half, x : x + half]
    return result


def _unit(stain):
    """A stain scaled so that its 10th percentile, the glass, is 0 and its 99th is 1."""
    low, high = np.percentile(stain, (10, 99))
    return np.clip((stain - low) / (high - low), 0.0, 1.5)
