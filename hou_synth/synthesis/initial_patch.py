"""Mask + textures of real tissue -> initial synthetic patch (paper Sec. 4.1 as one function)."""

import dataclasses
import math

import cv2
import numpy as np
from scipy import ndimage

from hou_synth.synthesis import background, camera, interior, lymphocytes, polygons, texture
from hou_synth.synthesis.background import RELEASE_AREA

CROWDED = 4.0, 10.0  # density of a crowded patch; ours


@dataclasses.dataclass(frozen=True)
class Source:
    """Crops of real tissue that one patch is painted with, all of the patch's side s.

    Attributes:
        background: (s, s, 3) uint8 RGB without nuclei.
        eosin: (s, s) uint8 eosin of another tile.
        clearing: (s, s) uint8 ranks of the fine eosin structure of one more tile, for clearing the interiors.
        detail: (s, s, 3) uint8 RGB crop of the background's tile, whose fine structure the nuclei get.
        colour: (3,) float32 nuclear colour of the background's tile, grey levels.
        density: of the background's tile.
        cells: (rows, columns) bool grid over patch and margin: where a nucleus may lie.
    """

    background: np.ndarray
    eosin: np.ndarray
    clearing: np.ndarray
    detail: np.ndarray
    colour: np.ndarray
    density: float
    cells: np.ndarray


@dataclasses.dataclass(frozen=True)
class Patch:
    """An initial synthetic patch and its truth.

    Attributes:
        image: (s, s, 3) uint8 RGB.
        labels: (s, s) uint16, 0 is background, nuclei 1 to n.
        centres: (s, s) bool, the centre of each nucleus's bounding box.
        contours: (s, s) bool, the nuclei's outermost pixels.
        lymphocytes: (n + 1,) bool, which of the labels 0 to n are lymphocytes; None without that kind.
    """

    image: np.ndarray
    labels: np.ndarray
    centres: np.ndarray
    contours: np.ndarray
    lymphocytes: np.ndarray | None = None


def initial(random, source, config):
    """Initial synthetic patch: I = A M + B (1 - M)      [paper Sec. 4.1].

    Args:
        random: `numpy.random.Generator`.
        source: `Source`.
        config: `Synthesis`.

    Returns:
        A `Patch`.
    """
    whole, kinds = _canvas_mask(random, source.background.shape[0], source, config)
    labels, kinds = _cut(whole, kinds, config)
    patch = painted(random, labels, source, config, kinds)
    if not config.whole_centres:
        return patch
    inner = slice(config.margin, len(whole) - config.margin)
    return dataclasses.replace(patch, centres=centres(whole)[inner, inner])


def painted(random, labels, source, config, kinds=None):
    """A mask painted with the textures of real tissue.

    Args:
        random: `numpy.random.Generator`.
        labels: (s, s) uint16 instance mask.
        source: `Source` of that side.
        config: `Synthesis`.
        kinds: (n + 1,) bool, which labels are lymphocytes; None without that kind.

    Returns:
        A `Patch`.
    """
    edge = contours(labels)
    opacity = blurred(random, nuclear_opacity(random, labels, edge, source, config, kinds), config)
    texture = interior.nuclear_texture(random, labels, edge, source, config, kinds)
    if config.covered:
        texture = interior.covered(random, texture, source, config)
    image = cv2.blendLinear(texture, surroundings(random, labels, source, config), opacity, 1.0 - opacity)
    image = camera.photographed(random, image, config.camera) if config.camera else camera.levels(image)
    return Patch(image=image, labels=labels, centres=centres(labels), contours=edge, lymphocytes=kinds)


def surroundings(random, labels, source, config):
    """Background of a patch, (s, s, 3) float32 in grey levels."""
    image = background.jittered(random, source.background, config)
    if config.distractor_kept:
        image = background.distracted(random, image, source.colour, dataclasses.replace(config, distractors=0))
        image = background.starred(random, image, source.eosin, source.colour, config)
    else:
        image = background.distracted(random, image, source.colour, config)
    hazy = config.haze or config.halo
    return background.hazed(random, image, labels, source.colour, config) if hazy else image


def nuclear_opacity(random, labels, edge, source, config, kinds=None):
    """Opacity of the nuclei, (s, s) float32: cleared inside [release], or closed where chromatin is painted [ours]."""
    if config.chromatin:
        opacity = interior.opacities(random, labels, config)
    else:
        opacity = interior.cleared(random, labels, edge, source.clearing, config, kinds)
    return interior.parted(random, labels, opacity, config) if config.gap else opacity


def mask(random, side, source, config):
    """Instance mask of a patch, cut out of a canvas with a margin so that nuclei cross its border.

    Args:
        random: `numpy.random.Generator`.
        side: of the patch.
        source: `Source`, for the density and the tissue grid.
        config: `Synthesis`.

    Returns:
        (side, side) uint16, numbered 1 to n without gaps.
    """
    return _cut(*_canvas_mask(random, side, source, config), config)[0]


def _cut(whole, kinds, config):
    """Patch in the middle of a canvas, its nuclei renumbered without gaps, and their kinds."""
    inner = whole[config.margin : len(whole) - config.margin, config.margin : len(whole) - config.margin]
    present = np.bincount(inner.ravel()) > 0
    present[0] = False
    labels = (np.cumsum(present, dtype=np.uint16) * present).take(inner)
    return labels, kinds if kinds is None else np.append(False, kinds[: len(present)][present])


def _canvas_mask(random, side, source, config):
    """Instance mask on the canvas of a patch, and which of its labels are lymphocytes, None without that kind."""
    canvas = side + 2 * config.margin
    own = config.density or source.density
    density, largest = own, math.inf
    if random.random() < config.crowd:
        density, largest = max(density, random.uniform(*CROWDED)), random.uniform(0.6, 1.0)
    count = _count(random, canvas, density, config)
    spread = random.normal(config.size_bias + config.size_bias_density * own, config.size_bias_spread)
    bias = min(max(spread, 0.4), largest)

    def radii(number):
        single = bias * random.uniform(config.radius_low, config.radius_high, number)
        return single * np.exp(config.size_spread * random.standard_normal(number)) if config.size_spread else single

    labels, kinds = None, None
    if config.lymphocytes:
        labels, kinds = lymphocytes.begun(random, canvas, radii, source.cells, config)
    if config.tissue_redraws:
        tissue = texture.tissue_mask(source.background, config)
        labels = polygons.wholly_on_tissue(random, count, radii, tissue, config, labels)
    else:
        labels = polygons.label_map(random, canvas, count, radii, source.cells, config, labels)
    return labels, kinds if kinds is None else np.pad(kinds, (0, int(labels.max()) + 1 - len(kinds)))


def _count(random, canvas, density, config):
    """Number of nuclei: N = clip(int(Normal(20 + 30 d, 40)), 0, 256) on 460x460      [release]."""
    if density <= 1 and random.random() < config.empty_probability:
        return 0
    drawn = random.normal(config.count_base + config.count_density * density, config.count_spread)
    drawn = math.floor(drawn) if config.density else drawn  # release
    scaled = np.clip(drawn, 0, config.count_max) * (canvas * canvas / RELEASE_AREA)
    return int(scaled + random.random())


def contours(labels):
    """Outermost pixels of each nucleus, borders between touching nuclei included.

    Args:
        labels: (s, s) uint16 instance mask.

    Returns:
        (s, s) bool.
    """
    return (labels > 0) & (cv2.erode(labels, interior.SQUARE) != cv2.dilate(labels, interior.SQUARE))


def blurred(random, opacity, config):
    """Opacity with blurred boundaries: a random positive kernel, and two rectangles with their own [release].

    Args:
        random: `numpy.random.Generator`.
        opacity: (s, s) float32.
        config: `Synthesis`.

    Returns:
        (s, s) float32.
    """
    sizes = range(3, config.blur_max + 1, 2)
    opacity = cv2.filter2D(opacity, -1, interior.random_kernel(random, sizes[int(random.integers(len(sizes)))]))
    if random.random() < config.blur_local:
        for rows, columns in random.integers(0, opacity.shape[0] + 1, (2, 2, 2)).tolist():
            (top, bottom), (left, right) = sorted(rows), sorted(columns)
            window = opacity[top:bottom, left:right]
            if window.size:
                opacity[top:bottom, left:right] = cv2.filter2D(window, -1, interior.random_kernel(random, 5))
    return opacity


def centres(labels):
    """Centres of the nuclei's bounding boxes [release].

    Args:
        labels: (s, s) uint16 instance mask.

    Returns:
        (s, s) bool, one pixel for each nucleus.
    """
    marked = np.zeros(labels.shape, bool)
    for rows, columns in filter(None, ndimage.find_objects(labels)):
        marked[(rows.start + rows.stop - 1) // 2, (columns.start + columns.stop - 1) // 2] = True
    return marked


def cores(labels, depth=0.5):
    """Inner parts of the nuclei, which never touch: seeds that grow with their nucleus [ours].

    Args:
        labels: (s, s) uint16 instance mask.
        depth: share of a nucleus's largest distance from its contour that a core pixel lies beyond.

    Returns:
        (s, s) bool.
    """
    distance = interior.depth(labels, contours(labels))
    deepest = np.zeros(int(labels.max()) + 1, np.float32)
    np.maximum.at(deepest, labels.ravel(), distance.ravel())
    return distance > depth * deepest[labels]
