"""From probability maps to labelled nuclei; from labels to outlines and a table."""

import cv2
import numpy as np
from scipy import ndimage
from skimage.measure import find_contours, regionprops_table
from skimage.segmentation import watershed

from hou_synth.config import Instances

DEFAULT = Instances()
SQUARE = np.ones((3, 3), np.uint8)
PEAK_RADIUS = 8  # nuclei seeded by distance alone are at least this far apart; ours, about a nuclear radius
_LENGTHS = {
    "perimeter": "perimeter_um",
    "axis_major_length": "major_axis_um",
    "axis_minor_length": "minor_axis_um",
}


def nuclei(segmentation, detection, config=DEFAULT):
    """Labelled nuclei of a pair of probability maps, by seeded watershed [release].

    A region above the segmentation threshold that holds no detected seed gets one at its highest value if it
    has at most `seed_area_max` pixels. A larger one is not lost either: it is split at the peaks of its
    distance transform (ours), so a map that is nucleus everywhere gives one nucleus.

    Args:
        segmentation: (h, w) float, probability of nucleus.
        detection: (h, w) float, probability of a nucleus's centre.
        config: thresholds and sizes, an `Instances`.

    Returns:
        (h, w) int32 labels 1..n, 0 = background. Nuclei have no holes and at least `area_min` pixels.

    Raises:
        ValueError: if the maps are not two finite (h, w) arrays of one shape.
    """
    if segmentation.ndim != 2 or segmentation.shape != detection.shape:
        raise ValueError(f"Expected two maps of shape (h, w). Received: {segmentation.shape}, {detection.shape}.")
    if not (np.isfinite(segmentation).all() and np.isfinite(detection).all()):
        raise ValueError("Expected finite probabilities. Received: NaN or infinity.")
    smooth = blurred(segmentation, config.segmentation_sigma)
    mask = smooth > config.segmentation_threshold
    seeds = detected(detection, config) & mask
    seeds |= missed(mask, seeds, smooth, config.seed_area_max)
    labels = grown(seeds, mask, smooth, config.compactness)
    return consecutive(without_holes(labels), config.area_min)


def blurred(probabilities, sigma):
    """Gaussian blur of a map, as float32; sigma 0 leaves it as it is."""
    probabilities = np.asarray(probabilities, np.float32)
    return cv2.GaussianBlur(probabilities, (0, 0), sigma) if sigma > 0 else probabilities


def detected(detection, config):
    """Boolean map of seeds: centres of the bounding boxes of the detection map's blobs."""
    blobs = (blurred(detection, config.detection_sigma) > config.detection_threshold).view(np.uint8)
    boxes = cv2.connectedComponentsWithStats(blobs)[2][1:]
    rows = boxes[:, cv2.CC_STAT_TOP] + (boxes[:, cv2.CC_STAT_HEIGHT] - 1) // 2
    columns = boxes[:, cv2.CC_STAT_LEFT] + (boxes[:, cv2.CC_STAT_WIDTH] - 1) // 2
    seeds = np.zeros(detection.shape, bool)
    seeds[rows, columns] = True
    return seeds


def missed(mask, seeds, smooth, area_max):
    """Boolean map of seeds for the regions of `mask` that have none: the highest value; peaks if large."""
    _, regions, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8))
    seeded = np.zeros(len(stats), bool)
    seeded[regions[seeds]] = True
    seeded[0] = True
    large = stats[:, cv2.CC_STAT_AREA] > area_max
    extra = np.zeros(mask.shape, bool)
    pixels = np.flatnonzero((~seeded & ~large)[regions])
    order = pixels[np.lexsort((-smooth.ravel()[pixels], regions.ravel()[pixels]))]
    extra.ravel()[order[np.unique(regions.ravel()[order], return_index=True)[1]]] = True
    if (large & ~seeded).any():
        extra |= peaks((large & ~seeded)[regions])
    return extra


def peaks(mask, radius=PEAK_RADIUS):
    """Boolean map of the maxima of a mask's distance transform within `radius` pixels, plateaus whole."""
    padded = np.pad(mask, 1).view(np.uint8)  # the image's border counts as the mask's
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return mask & (distance == cv2.dilate(distance, disc))


def grown(seeds, mask, smooth, compactness):
    """Watershed of the negated map inside the mask, from seeds dilated 3x3; seeds that then touch are one."""
    seeds = cv2.dilate(seeds.view(np.uint8), SQUARE) * mask
    markers = cv2.connectedComponents(seeds)[1]
    return watershed(-smooth, markers, mask=mask, compactness=compactness)


def without_holes(labels):
    """Label map with every hole filled that one single nucleus encloses."""
    count, holes = cv2.connectedComponents((labels == 0).view(np.uint8), connectivity=4)
    sides = np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]])
    enclosed = np.ones(count, bool)
    enclosed[0], enclosed[sides] = False, False
    pixels = np.flatnonzero(enclosed[holes])
    low, high = np.full(count, np.iinfo(np.int32).max), np.zeros(count, np.int32)
    rows, columns = np.unravel_index(pixels, labels.shape)
    for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        beside = labels[rows + down, columns + right]
        rim = beside > 0
        np.minimum.at(low, holes.ravel()[pixels[rim]], beside[rim])
        np.maximum.at(high, holes.ravel()[pixels[rim]], beside[rim])
    filled = labels.copy()
    filling = np.where(low == high, high, 0)
    filled.ravel()[pixels] = filling[holes.ravel()[pixels]]
    return filled


def consecutive(labels, area_min=1):
    """Label map with ids 1..n in the old order, without nuclei under `area_min` pixels; int32."""
    areas = np.bincount(labels.ravel())
    keep = areas >= max(area_min, 1)
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]


def polygons(labels):
    """Outlines of nuclei.

    Args:
        labels: (h, w) integer ids, 0 = background.

    Returns:
        Dict id -> (k, 2) float x, y in pixels from the image's corner, so the centre of the first pixel is at
        (0.5, 0.5), as in QuPath. Outlines run half-way between inside and outside; areas agree with the pixel
        count within half a pixel. Holes are left out, and so are all but the largest part of a nucleus.
    """
    outlines = {}
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        inside = np.pad(labels[box] == label, 1).astype(float)
        rings = find_contours(inside, 0.5, fully_connected="high")
        ring = max(rings, key=lambda points: cv2.contourArea(points.astype(np.float32)))[:-1]
        outlines[label] = corners(ring)[:, ::-1] + (box[1].start - 0.5, box[0].start - 0.5)
    return outlines


def corners(ring):
    """Points of a closed ring (k, 2) at which it turns; the ones on straight lines are left out."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def table(labels, microns_per_pixel=0.25):
    """Size, place and shape of nuclei.

    Args:
        labels: (h, w) integer ids, 0 = background.
        microns_per_pixel: side of a pixel.

    Returns:
        List of dicts, one for each nucleus, with the keys of `COLUMNS`: centroids in pixels from the image's
        corner (as `polygons`), lengths in microns, areas in pixels and square microns.
    """
    names = ("label", "centroid", "area", "eccentricity", "solidity", *_LENGTHS)
    columns = regionprops_table(labels, properties=names)
    named = {
        "label": columns["label"],
        "centroid_x": columns["centroid-1"] + 0.5,
        "centroid_y": columns["centroid-0"] + 0.5,
        "area_pixels": columns["area"].astype(int),
        "area_um2": columns["area"] * microns_per_pixel**2,
        **{_LENGTHS[name]: columns[name] * microns_per_pixel for name in _LENGTHS},
        "eccentricity": columns["eccentricity"],
        "solidity": columns["solidity"],
    }
    return [dict(zip(named, row, strict=True)) for row in zip(*(c.tolist() for c in named.values()), strict=True)]


COLUMNS = tuple(
    "label centroid_x centroid_y area_pixels area_um2 perimeter_um major_axis_um minor_axis_um eccentricity "
    "solidity".split()
)
