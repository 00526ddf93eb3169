"""From probability maps to labelled nuclei; from labels to outlines and a table."""

import cv2
import numpy as np
from skimage.color import hed_from_rgb
from skimage.segmentation import watershed

from hou_synth import shapes
from hou_synth.config import Instances

DEFAULT = Instances()
SQUARE = np.ones((3, 3), np.uint8)
PEAK_RADIUS = 8  # nuclei seeded by distance alone are at least this far apart; ours, about a nuclear radius
DENSITY = (-np.log10(np.maximum(np.arange(256), 1) / 255)).astype(np.float32)  # optical, of a grey level
# What is told of a nucleus: place, size and shape; the mean optical densities of its stains; the network's mean
# probability; how far the two views of the network agree, 0 to 1; 1 if the image's border cuts it, else 0; the
# probability that it is a lymphocyte, if that was asked for.
COLUMNS = tuple(
    "label centroid_x centroid_y centroid_x_um centroid_y_um area_pixels area_um2 perimeter_um major_axis_um "
    "minor_axis_um eccentricity solidity haematoxylin eosin probability agreement at_border lymphocyte".split()
)


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

    Regions with a single seed are filled with it, as the watershed would; it runs on each of the others alone.
    """
    seeds = cv2.dilate(seeds.view(np.uint8), SQUARE) * mask
    markers = cv2.connectedComponents(seeds)[1]
    count, regions, boxes, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    low, high = extremes(regions[markers > 0], markers[markers > 0], count)
    labels = np.where(low == high, high, 0)[regions]
    for region in np.flatnonzero(low < high):
        left, top, width, height = boxes[region, : cv2.CC_STAT_AREA]
        box = np.s_[top : top + height, left : left + width]
        inside = regions[box] == region
        parted = watershed(-smooth[box], markers[box] * inside, mask=inside, compactness=compactness)
        labels[box][inside] = parted[inside]
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
    average = means(labels, probabilities)
    return np.where(average >= mean_min, np.arange(len(average)), 0)[labels]


def means(labels, values):
    """Mean of a map (h, w) over each nucleus and over the background, (n + 1,) float, by id."""
    return np.bincount(labels.ravel(), values.ravel()) / np.maximum(np.bincount(labels.ravel()), 1)


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
    return {label: outline + 0.5 for label, outline in shapes.outlines(shapes.borders(labels)).items()}


def stains(labels, image):
    """Mean optical densities of haematoxylin and eosin in each nucleus [Ruifrok and Johnston 2001].

    Args:
        labels: (h, w) integer ids, 0 = background.
        image: (h, w, 3) uint8 RGB, as it was scanned.

    Returns:
        Dict of two columns for `table`, (n + 1,) float.
    """
    channels = [means(labels, DENSITY[image[..., channel]]) for channel in range(3)]
    unmixed = np.stack(channels, axis=1) @ hed_from_rgb
    return {"haematoxylin": unmixed[:, 0], "eosin": unmixed[:, 1]}


def table(labels, microns_per_pixel=0.25, more=None):
    """Size, place and shape of nuclei, and what else is known of each.

    Args:
        labels: (h, w) integer ids, 0 = background.
        microns_per_pixel: side of a pixel.
        more: dict out of `COLUMNS` -> (labels.max() + 1,) values by id, as `stains` and `inference.Found.scores` give.

    Returns:
        List of dicts, one for each nucleus, with the keys of `COLUMNS`: centroids in pixels and microns from the
        image's corner (as `polygons`), lengths in microns, areas in pixels and square microns; None where nothing is
        known.
    """
    found = shapes.moments(labels)
    ids, area = found["label"], found["area"]
    cut = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    named = {
        "label": ids,
        "centroid_x": found["x"] + 0.5,
        "centroid_y": found["y"] + 0.5,
        "centroid_x_um": (found["x"] + 0.5) * microns_per_pixel,
        "centroid_y_um": (found["y"] + 0.5) * microns_per_pixel,
        "area_pixels": area,
        "area_um2": area * microns_per_pixel**2,
        "perimeter_um": shapes.perimeters(labels) * microns_per_pixel,
        "major_axis_um": found["major"] * microns_per_pixel,
        "minor_axis_um": found["minor"] * microns_per_pixel,
        "eccentricity": found["eccentricity"],
        "solidity": area / shapes.convex_areas(shapes.borders(labels)),
        **{name: np.asarray(values)[ids] for name, values in (more or {}).items()},
        "at_border": np.isin(ids, cut).astype(int),
    }
    nothing = [None] * len(ids)
    columns = (named[name].tolist() if name in named else nothing for name in COLUMNS)
    return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]
