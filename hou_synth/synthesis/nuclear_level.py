"""The level that parts the nuclei of a tile from everything else [ours].

Otsu's threshold parts a tile in two, whatever they are: on tissue with few nuclei it parts tissue from glass, on grey
matter cells from gaps. Nuclei tell themselves from these by sharp borders and compact shapes, so the threshold is put
again on what lies above it where that finds such shapes.
"""

import cv2
import numpy as np
from skimage.filters import threshold_otsu

SIGMA = 2.5  # pixels, which evens out chromatin
AREA = 60, 3000  # square pixels of a nucleus
SOLIDITY = 0.85  # least share of its convex hull that a compact region fills
CLEARER = 2.1  # least gain, in the sharpness of borders times that in compactness, for which a level goes higher
COMPACT = 0.5  # share of compact regions from which the first level stays; the gain is of the share and this
HALF = 0.45  # share of a tile that nuclei hardly cover, above which even a third level is looked at


def absorbed_red(image):
    """What a balanced image lacks of red, (h, w) float32: haematoxylin absorbs red, eosin hardly does."""
    return 255.0 - image[..., 0].astype(np.float32)


def nuclear_level(stain):
    """Level of a stain above which nuclei lie.

    Args:
        stain: (h, w) float32, more in nuclei.

    Returns:
        float.
    """
    smooth = cv2.GaussianBlur(stain, (0, 0), SIGMA)
    slopes = [cv2.Sobel(smooth, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1))]
    gradient, above, levels, clearness = cv2.magnitude(*slopes), smooth, [], []
    while len(levels) < 3 and above.min() < above.max():
        levels.append(float(threshold_otsu(above)))
        regions = (smooth > levels[-1]).view(np.uint8)
        compact = compactness(regions)
        clearness.append(border_gradient(regions, gradient) * (compact + COMPACT))
        if len(levels) > 1 and clearness[-1] >= CLEARER * clearness[0]:
            return levels[-1]
        if len(levels) == 1 and compact >= COMPACT or len(levels) == 2 and (smooth > levels[0]).mean() < HALF:
            break
        above = above[above > levels[-1]]
    return levels[0] if levels else float(smooth.max())


def border_gradient(regions, gradient):
    """Mean gradient just outside of regions, (h, w) uint8."""
    return cv2.mean(gradient, cv2.dilate(regions, np.ones((3, 3), np.uint8)) - regions)[0]


def compactness(regions):
    """Share of the area of regions, (h, w) uint8, in those of the size and the solidity of a nucleus."""
    outlines = cv2.findContours(regions, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    areas = np.array([cv2.contourArea(each) for each in outlines])
    hulls = np.array([cv2.contourArea(cv2.convexHull(each)) for each in outlines])
    nuclear = (areas >= AREA[0]) & (areas <= AREA[1]) & (areas >= SOLIDITY * hulls)
    return areas[nuclear].sum() / max(areas.sum(), 1.0)
