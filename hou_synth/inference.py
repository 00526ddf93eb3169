"""From an image to labelled nuclei, with any callable as the network.

A network takes (b, h, w, 3) uint8 RGB and returns a dict with "segmentation" and "detection", each
(b, h, w, 1) float32 probabilities.
"""

import collections
import dataclasses
import math
from concurrent import futures

import cv2
import numpy as np
from skimage.color import rgb2hed
from skimage.filters import gaussian, threshold_otsu
from skimage.morphology import remove_small_holes, remove_small_objects

from hou_synth import instances
from hou_synth.normalise import reinhard

MICRONS_PER_PIXEL = 0.25  # resolution of the networks, 40X
TOLERANCE = 0.05  # images within this relative distance of it are not resampled; ours
WINDOW = 1088  # largest side of a window: one covers a 1000x1000 image and 32 pixels around it; ours
STEP = 32  # sides of windows are multiples of this, which suits up to five pools; ours
HOLE_MAX = 200  # holes of the baseline's mask up to the area of a nucleus of radius 8 are filled; ours
OUTPUTS = ("segmentation", "detection")
ROUNDING = 1e-6  # by which a probability may lie beyond 0 and 1; ours
AHEAD = 2  # calls that are prepared for each thread; ours
ENLARGED = 1.25, 2.0  # least and largest factor by which an image of small nuclei is enlarged; ours
ENLARGED_MAX = 64 * 10**6  # pixels of an enlarged image, about 4 GB of memory; ours
RESAMPLED_MAX = 10**8  # pixels of an image that is resampled to 40X at once; ours
COUNT_MIN = 5  # nuclei whose median area says something; ours


def probabilities(network, image, window=WINDOW, overlap=64, batch=1, parallel=1):
    """Maps of an image of any size, stitched from overlapping windows of one size.

    Windows reach `overlap / 2` beyond the image, which is mirrored there. Where two meet, both fade linearly
    and the outermost quarter of the overlap counts nothing, so no seam shows (the release: weight 0.01 on a
    border of 50 pixels).

    Args:
        network: callable, see above.
        image: (h, w, 3) uint8 RGB.
        window: largest side of a window, a multiple of 32; small images take smaller windows.
        overlap: least overlap of two windows, in pixels.
        batch: most windows in one call.
        parallel: calls of the network at once, each in a thread; the maps do not depend on it.

    Returns:
        Two (h, w) float32 arrays, segmentation and detection.

    Raises:
        ValueError: for an image or sizes that do not fit, or a network that returns something else. What the
            network itself raises passes through; calls that have not begun are dropped.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"Expected a uint8 RGB image. Received: {image.dtype} of shape {image.shape}.")
    if window < STEP or window % STEP or not 0 <= overlap <= window // 2 or batch < 1:
        raise ValueError(
            f"Expected window a multiple of {STEP}, 0 <= overlap <= window / 2 and batch >= 1. "
            f"Received: window={window}, overlap={overlap}, batch={batch}."
        )
    if parallel < 1:
        raise ValueError(f"Expected at least one call at once. Received: parallel={parallel}.")
    margin = overlap // 2
    (rows, height), (columns, width) = (starts(side, window, overlap) for side in image.shape[:2])
    below = int(rows[-1]) + height - margin - image.shape[0]
    right = int(columns[-1]) + width - margin - image.shape[1]
    mirrored = cv2.copyMakeBorder(image, margin, below, margin, right, cv2.BORDER_REFLECT_101)
    places = [np.s_[y : y + height, x : x + width] for y in rows for x in columns]
    down, across = shares(rows, height, overlap), shares(columns, width, overlap)
    weights = [(y[:, None, None], x[:, None]) for y in down for x in across]
    stitched = stitch(network, mirrored, places, weights, batch, parallel)
    inner = np.s_[margin : margin + image.shape[0], margin : margin + image.shape[1]]
    return tuple(np.ascontiguousarray(stitched[inner + (i,)]) for i in range(len(OUTPUTS)))


def symmetric(network, image, **tiling):
    """Mean maps of an image and of its transpose, as `probabilities`."""
    return views(network, image, True, **tiling)[:2]


def views(network, image, transposed, maps=None, **tiling):
    """What a network sees in an image.

    Args:
        network: callable, see above.
        image: (h, w, 3) uint8 RGB.
        transposed: whether it also looks at the transpose.
        maps: the image's `probabilities`, if they are known.
        **tiling: as for `probabilities`.

    Returns:
        The maps of `probabilities`, or the means of both views; then the absolute difference of the two segmentations,
        (h, w) float32, or None of one view.
    """
    maps = maps or probabilities(network, image, **tiling)
    if not transposed:
        return (*maps, None)
    turned = [cv2.transpose(mapped) for mapped in probabilities(network, cv2.transpose(image), **tiling)]
    difference = cv2.absdiff(maps[0], turned[0])
    return (*(cv2.addWeighted(one, 0.5, other, 0.5, 0) for one, other in zip(maps, turned, strict=True)), difference)


def starts(side, window, overlap):
    """Where windows begin along one side of the mirrored image, and how long they are.

    With an overlap that is a multiple of 32 all windows begin at one, so a network's pools meet the same pixels in all,
    and maps hardly depend on `window`.

    Returns:
        Integer array of starts from 0, evenly spread, and the windows' length, at most `window`.
    """
    extent = side + 2 * (overlap // 2)
    count = max(math.ceil((extent - overlap) / (window - overlap)), 1)
    length = math.ceil((extent + (count - 1) * overlap) / count / STEP) * STEP
    return np.arange(count) * (length - overlap), length


def fade(length, overlap):
    """Weight of a window along one side: 0 in the outer quarter of the overlap, then rising to 1."""
    position = np.arange(length) + 0.5
    inwards = np.minimum(position, length - position)
    return np.clip((inwards - overlap / 4) / max(overlap / 2, 0.5), 0, 1).astype(np.float32)


def shares(begins, length, overlap):
    """Each window's share of the pixels along one side, (length,) float32 for each of `begins`; they sum to 1."""
    weight, total = fade(length, overlap), np.zeros(int(begins[-1]) + length, np.float32)
    for begin in begins:
        total[begin : begin + length] += weight
    total = np.maximum(total, np.finfo(np.float32).tiny)
    return [weight / total[begin : begin + length] for begin in begins]


def stitch(network, image, places, weights, batch, parallel=1):
    """Weighted sum (h, w, 2) of a network's maps over windows; every call has the same number of windows."""
    size = math.ceil(len(places) / math.ceil(len(places) / batch))
    groups = [range(len(places))[first : first + size] for first in range(0, len(places), size)]
    filled = (np.stack([image[places[min(i, g[-1])]] for i in range(g[0], g[0] + size)]) for g in groups)
    total = np.zeros((*image.shape[:2], 2), np.float32)
    for group, maps in zip(groups, called(lambda windows: outputs(network, windows), filled, parallel), strict=True):
        for index, mapped in zip(group, maps, strict=False):
            for weight in weights[index]:
                mapped *= weight
            total[places[index]] += mapped
    return total


def called(function, arguments, parallel):
    """Yields function(argument) in the order of the arguments, from threads.

    At most `AHEAD` arguments a thread are taken before their results are asked for. An error, or the end of the
    generator, drops the calls that have not begun.
    """
    pool, waiting = futures.ThreadPoolExecutor(parallel), collections.deque()
    try:
        for argument in arguments:
            waiting.append(pool.submit(function, argument))
            if len(waiting) == AHEAD * parallel:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def outputs(network, windows):
    """Both maps of a network as one (b, h, w, 2) array; ValueError if they are not probabilities of each pixel."""
    maps = network(windows)
    expected = (*windows.shape[:3], 1)
    for name in OUTPUTS:
        shape = np.shape(maps[name]) if name in maps else None
        if shape != expected:
            raise ValueError(f"Expected a network with output {name} of shape {expected}. Received: {shape}.")
        low, high = np.min(maps[name]), np.max(maps[name])
        if not -ROUNDING <= low <= high <= 1 + ROUNDING:  # NaN is neither
            raise ValueError(f"Expected probabilities from 0 to 1 in {name}. Received: {low:g} to {high:g}.")
    return np.concatenate([np.asarray(maps[name], np.float32) for name in OUTPUTS], axis=-1)


@dataclasses.dataclass(frozen=True)
class Found:
    """The nuclei of an image, and what the network said of its pixels.

    Attributes:
        labels: (h, w) int32 labels 1..n, 0 = background.
        probability: (h, w) float32, of nucleus, 0 to 1.
        difference: (h, w) float32, by which the probabilities of two views differ; None of one view.
    """

    labels: np.ndarray
    probability: np.ndarray
    difference: np.ndarray | None

    def scores(self):
        """Columns for `instances.table`: mean probability, and the views' agreement, 1 less the mean difference."""
        scores = {"probability": instances.means(self.labels, self.probability)}
        if self.difference is not None:
            scores["agreement"] = 1 - instances.means(self.labels, self.difference)
        return scores


def segment(network, image, normalise=True, microns_per_pixel=None, settings=instances.DEFAULT, **tiling):
    """Labelled nuclei of an image, (h, w) int32 labels 1..n, 0 = background; as `found`."""
    return found(network, image, normalise, microns_per_pixel, settings, **tiling).labels


def found(network, image, normalise=True, microns_per_pixel=None, settings=instances.DEFAULT, **tiling):
    """Labelled nuclei of an image, with what the network said of them.

    Networks part small nuclei better when they are shown larger. So an image is looked at a second time, enlarged, if
    the nuclei of the first look are smaller than `typical_area` [ours; after the diameter of Cellpose, Stringer 2021].
    With `transposed` the maps are `symmetric`; the first look at an image that is enlarged does without.

    Args:
        network: callable, see above.
        image: (h, w, 3) uint8 RGB.
        normalise: whether colours are moved to the fixed target first.
        microns_per_pixel: resolution of the image; None means 0.25. Others are resampled to 0.25 and back.
        settings: thresholds and sizes, an `Instances`.
        **tiling: `window`, `overlap`, `batch` and `parallel` of `probabilities`.

    Returns:
        A `Found` on the pixels of `image`.

    Raises:
        ValueError: as `probabilities`, and for a resolution that is not positive.
    """
    maps, shape = looks(network, image, normalise, microns_per_pixel, settings, **tiling)
    return on_image(maps, shape, image.shape[:2], settings)


def looks(network, image, normalise, microns_per_pixel, settings, **tiling):
    """The maps of an image that `on_image` makes its nuclei of, whatever the thresholds; arguments as of `found`.

    Returns:
        What `views` returned, and the shape (h, w) of the image at 0.25 microns per pixel, before it was enlarged.
    """
    resampled = at_40x(image, microns_per_pixel)
    resampled = reinhard(resampled) if normalise else resampled
    shape, maps = resampled.shape[:2], probabilities(network, resampled, **tiling)
    factor = 1.0
    if settings.typical_area > 0:
        factor = enlargement(instances.nuclei(*maps, settings), settings.typical_area)
    if factor > 1:
        resampled, maps = resized(resampled, factor), None
    return views(network, resampled, settings.transposed, maps, **tiling), shape


def on_image(maps, shape, size, settings):
    """Nuclei of the maps of `looks`.

    Args:
        maps: what `views` returned.
        shape: (h, w) of the image at 0.25 microns per pixel.
        size: (h, w) of the image.
        settings: thresholds and sizes, an `Instances`.

    Returns:
        A `Found` of that size.
    """
    seen = labelled(maps, shape, settings)
    return Found(on_pixels(seen.labels, size), _fitted(seen.probability, size), _fitted(seen.difference, size))


def labelled(maps, shape, settings):
    """Nuclei of maps.

    Args:
        maps: what `views` returned, of an image that may have been enlarged.
        shape: (h, w) of the image as it was.
        settings: thresholds and sizes, an `Instances`.

    Returns:
        A `Found` of that shape.
    """
    segmentation, detection, difference = maps
    labels = instances.nuclei(segmentation, detection, settings)
    if labels.shape != shape:
        labels = instances.consecutive(on_pixels(labels, shape), settings.area_min)
    return Found(labels, _fitted(segmentation, shape), _fitted(difference, shape))


def _fitted(mapped, shape):
    """A map, or None, resampled to `shape`."""
    if mapped is None or mapped.shape == shape:
        return mapped
    return cv2.resize(mapped, shape[::-1], interpolation=cv2.INTER_AREA if shape < mapped.shape else cv2.INTER_LINEAR)


def enlargement(labels, typical_area):
    """Factor by which an image is to be enlarged so that its nuclei have a typical size; 1 if they are not smaller.

    An enlarged image has at most `ENLARGED_MAX` pixels, so the largest images are never enlarged.

    Args:
        labels: (h, w) int32 labels 1..n, the nuclei of a first look.
        typical_area: median area in pixels; 0 to leave all images as they are.
    """
    areas = np.bincount(labels.ravel())[1:]
    if len(areas) < COUNT_MIN or typical_area <= 0:
        return 1.0
    least, most = ENLARGED
    factor = min(math.sqrt(typical_area / np.median(areas)), most, math.sqrt(ENLARGED_MAX / labels.size))
    return factor if factor >= least else 1.0


def resized(image, factor):
    """Image with its sides times `factor`: bicubic if enlarged, means of areas if reduced."""
    size = [max(round(side * factor), 1) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA)


def at_40x(image, microns_per_pixel):
    """Image resampled to 0.25 microns per pixel; the image itself if within 5 % of it or None."""
    factor = scale(microns_per_pixel)
    pixels = math.prod(image.shape[:2]) * factor**2
    if factor > 1 and pixels > RESAMPLED_MAX:
        raise ValueError(
            f"Expected an image of at most {RESAMPLED_MAX / 1e6:.0f} megapixels at 40X; the command hou_synth.segment "
            f"takes larger ones, tile by tile. Received: {pixels / 1e6:.0f}, at {microns_per_pixel} microns per pixel."
        )
    return image if factor == 1 else resized(image, factor)


def scale(microns_per_pixel):
    """Pixels at 0.25 microns per pixel for one of an image; 1 within 5 % of it, and for None.

    Raises:
        ValueError: for a resolution that cannot be meant.
    """
    if microns_per_pixel is None:
        return 1.0
    if not 0.01 < microns_per_pixel < 10:
        raise ValueError(
            f"Expected microns per pixel of 0.01 to 10 (40X is 0.25, 20X 0.5). Received: {microns_per_pixel}."
        )
    factor = microns_per_pixel / MICRONS_PER_PIXEL
    return 1.0 if abs(factor - 1) <= TOLERANCE else factor


def on_pixels(labels, shape):
    """Label map resampled to `shape` by nearest pixel; ids stay 1..n if a nucleus vanishes."""
    if labels.shape == shape:
        return labels
    return instances.consecutive(cv2.resize(labels, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT))


def otsu_nuclei(image, sigma=1.5, area_min=20):
    """Baseline without any training: Otsu's threshold on haematoxylin, watershed on the distance transform.

    Args:
        image: (h, w, 3) uint8 RGB, 0.25 microns per pixel.
        sigma: Gaussian blur of the haematoxylin, in pixels.
        area_min: nuclei under this many pixels are discarded.

    Returns:
        (h, w) int32 labels 1..n, 0 = background.
    """
    haematoxylin = gaussian(rgb2hed(image)[..., 0], sigma)
    if np.ptp(haematoxylin) == 0:
        return np.zeros(image.shape[:2], np.int32)
    mask = remove_small_objects(haematoxylin > threshold_otsu(haematoxylin), max_size=area_min - 1)
    mask = remove_small_holes(mask, max_size=HOLE_MAX)
    depth = instances.blurred(cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5), 1.0)
    summits = mask & (depth == cv2.dilate(depth, np.ones((13, 13), np.uint8)))
    labels = instances.grown(summits, mask, depth, compactness=0)
    return instances.consecutive(instances.without_holes(labels), area_min)
