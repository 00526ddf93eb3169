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

    With `seed_height` the seeds are `domes` of the detection map instead of `detected` blobs, nuclei whose mean
    probability is under `mean_min` are discarded, and the others `separated` (all ours, off in the release).

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
    seeds = (domes if config.seed_height > 0 else detected)(detection, config) & mask
    seeds |= missed(mask, seeds, smooth, config.seed_area_max)
    labels = without_holes(grown(seeds, mask, smooth, config.compactness))
    return consecutive(separated(confident(labels, smooth, config.mean_min), config.line), config.area_min)


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


def domes(detection, config):
    """Boolean map of seeds: the domes of the detection map's maxima that rise `seed_height` above any saddle.

    A dome is what lies less than `seed_height` under its maximum. Unlike a threshold's blobs, two maxima make two
    seeds wherever the valley between them is deep enough, and a small maximum on a slope makes none [h-domes of
    Vincent 1993].
    """
    levels = np.rint(255 * np.clip(blurred(detection, config.detection_sigma), 0, 1)).astype(np.uint8)
    height = max(round(255 * config.seed_height), 1)
    heights = levels - reconstructed(cv2.subtract(levels, height), levels)
    parts = cv2.connectedComponents(heights)[1]
    high = np.zeros(parts.max() + 1, bool)
    high[parts[heights >= height]] = True
    return high[parts]


def reconstructed(lower, upper):
    """Morphological reconstruction of uint8 maps: `lower` dilated 3x3 under `upper` until nothing changes."""
    while True:
        before = lower
        for _ in range(8):  # checks cost as much as steps
            lower = cv2.min(cv2.dilate(lower, SQUARE), upper)
        if (lower == before).all():
            return lower


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
    """Watershed of the negated map inside the mask, from seeds dilated 3x3; seeds that then touch are one.

    Regions with a single seed are filled with it, as the watershed would, so that it runs on the others only.
    """
    seeds = cv2.dilate(seeds.view(np.uint8), SQUARE) * mask
    markers = cv2.connectedComponents(seeds)[1]
    count, regions = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
    low, high = extremes(regions[markers > 0], markers[markers > 0], count)
    contested = (low < high)[regions]
    labels = np.where(low == high, high, 0)[regions]
    labels[contested] = watershed(-smooth, markers * contested, mask=contested, compactness=compactness)[contested]
    return labels


def extremes(groups, labels, count):
    """Lowest and highest label of each group 0..count - 1; lowest > highest for a group without any."""
    low, high = np.full(count, np.iinfo(np.int32).max), np.zeros(count, np.int32)
    np.minimum.at(low, groups, labels)
    np.maximum.at(high, groups, labels)
    return low, high


def without_holes(labels):
    """Label map with every hole filled that one single nucleus encloses."""
    count, holes = cv2.connectedComponents((labels == 0).view(np.uint8), connectivity=4)
    border = np.concatenate([holes[0], holes[-1], holes[:, 0], holes[:, -1]])
    enclosed = np.ones(count, bool)
    enclosed[0], enclosed[border] = False, False
    pixels = np.flatnonzero(enclosed[holes])
    rows, columns = np.unravel_index(pixels, labels.shape)
    sides = ((-1, 0), (1, 0), (0, -1), (0, 1))
    beside = np.concatenate([labels[rows + down, columns + right] for down, right in sides])
    rim, inside = beside > 0, np.tile(holes.ravel()[pixels], len(sides))
    low, high = extremes(inside[rim], beside[rim], count)
    filled = labels.copy()
    filling = np.where(low == high, high, 0)
    filled.ravel()[pixels] = filling[holes.ravel()[pixels]]
    return filled


def confident(labels, probabilities, mean_min):
    """Label map without the nuclei whose mean probability is under `mean_min`."""
    means = np.bincount(labels.ravel(), probabilities.ravel()) / np.maximum(np.bincount(labels.ravel()), 1)
    return np.where(means >= mean_min, np.arange(len(means)), 0)[labels]


def separated(labels, width):
    """Label map with a line of background between touching nuclei, as watersheds draw it.

    Args:
        labels: (h, w) int32 ids, 0 = background.
        width: 0 for none, 1 to take its pixels from the nucleus with the lower id, 2 to take one pixel from each.
    """
    ids = labels.astype(np.float32)  # which OpenCV dilates, other than int32; exact up to 2^24
    line = (width > 0) & (cv2.dilate(ids, SQUARE) != ids)
    if width > 1:
        line |= cv2.erode(np.where(ids > 0, ids, np.inf).astype(np.float32), SQUARE) != ids
    return np.where(line, 0, labels)


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
