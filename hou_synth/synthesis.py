"""Mask + textures of real tissue -> initial synthetic patch (paper Sec. 4.1 as one function)."""

import dataclasses

import cv2
import numpy as np

from hou_synth import polygons
from hou_synth.stain import haematoxylin_shift

RELEASE_AREA = 460 * 460  # canvas on which the release counts its nuclei and distractors
_NOISE = np.array([1.6, 1.3, 2.6], np.float32)  # +- grey levels in R, G, B; release


@dataclasses.dataclass(frozen=True)
class Source:
    """Crops of real tissue that one patch is painted with, all of the patch's side s.

    Attributes:
        background: (s, s, 3) uint8 RGB without nuclei.
        eosin: (s, s) uint8 eosin of another tile.
        grain: (s, s) uint8 rank of the fine eosin structure of another tile.
        clearing: (s, s) uint8 the same from one more place, for clearing the interiors.
        colour: (3,) float32 nuclear colour of the background's tile, grey levels.
        density: of the background's tile.
        cells: (rows, columns) bool grid over patch and margin: where a nucleus may lie.
    """

    background: np.ndarray
    eosin: np.ndarray
    grain: np.ndarray
    clearing: np.ndarray
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
    """

    image: np.ndarray
    labels: np.ndarray
    centres: np.ndarray
    contours: np.ndarray


def initial(random, source, config):
    """Initial synthetic patch: I = A M + B (1 - M)      [paper Sec. 4.1].

    Args:
        random: `numpy.random.Generator`.
        source: `Source`.
        config: `Synthesis`.

    Returns:
        A `Patch`.
    """
    side = source.background.shape[0]
    labels = mask(random, side, source, config)
    background = jittered(random, source.background, config)
    background = distracted(random, background, source.colour, config)
    texture = nuclear_texture(random, labels, source, config)
    edge = contours(labels)
    opacity = cleared(random, labels, edge, source.clearing, config)
    opacity = blurred(random, opacity, config)[..., None]
    image = background + opacity * (texture - background)
    image = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    return Patch(image=image, labels=labels, centres=centres(labels), contours=edge)


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
    canvas = side + 2 * config.margin
    count = _count(random, canvas, source.density, config)
    bias = max(
        random.normal(config.size_bias + config.size_bias_density * source.density, config.size_bias_spread),
        0.4,
    )

    def radii(number):
        single = random.uniform(config.radius_low, config.radius_high, number)
        return bias * single * np.exp(config.size_spread * random.standard_normal(number))

    labels = polygons.instances(random, canvas, count, radii, source.cells, config)
    inner = labels[config.margin : config.margin + side, config.margin : config.margin + side]
    present = np.zeros(int(inner.max()) + 1, np.uint16)
    present[np.unique(inner)] = 1
    present[0] = 0
    return (np.cumsum(present, dtype=np.uint16) * present)[inner]


def _count(random, canvas, density, config):
    """Number of nuclei: N = clip(round(Normal(20 + 30 d, 40)), 0, 256) on 460x460      [release]."""
    if density <= 1 and random.random() < config.empty_probability:
        return 0
    drawn = random.normal(config.count_base + config.count_density * density, config.count_spread)
    scaled = np.clip(drawn, 0, config.count_max) * (canvas * canvas / RELEASE_AREA)
    return int(scaled + random.random())


def jittered(random, background, config):
    """Background with jittered colours and some haematoxylin added [release].

    Args:
        random: `numpy.random.Generator`.
        background: (s, s, 3) uint8 RGB.
        config: `Synthesis`.

    Returns:
        (s, s, 3) float32 in grey levels.
    """
    factor, offset = haematoxylin_shift(random.uniform(0.0, config.background_haematoxylin))
    gain = factor * (1.0 + random.uniform(-1, 1, 3) * config.background_gain)
    shift = offset + random.uniform(-1, 1, 3) * config.background_shift
    return background * gain.astype(np.float32) + shift.astype(np.float32)


def nuclear_texture(random, labels, source, config):
    """Nuclear texture: eosin of another tile times nuclear colour [paper; release].

    Args:
        random: `numpy.random.Generator`.
        labels: (s, s) uint16 instance mask, for the tone of single nuclei.
        source: `Source`.
        config: `Synthesis`.

    Returns:
        (s, s, 3) float32 in grey levels.
    """
    texture = (
        optical_texture(random, labels, source, config)
        if config.optical
        else source.eosin * np.float32(config.eosin_top / 255.0)
    )
    if config.field:
        texture = texture * smooth_field(random, labels.shape[0], config.field)
    image = source.colour * texture[..., None]
    if config.optical:
        image = 255.0 * np.exp(texture[..., None] * np.log(np.maximum(source.colour, 1.0) / 255.0))
    if config.texture_noise:
        image += random.uniform(-config.texture_noise, config.texture_noise, image.shape) * _NOISE
    if random.random() < config.texture_blur:
        image = cv2.filter2D(image, -1, random_kernel(random, int(random.choice((3, 5)))))
    return image


def optical_texture(random, labels, source, config):
    """Relative optical density of the nuclear material [ours].

    Multiplying the intensity greys the nuclei out; multiplying the density keeps their hue. The eosin texture
    varies it slowly, the fine grain of real tissue quickly, and every nucleus has its own tone.

    Args:
        random: `numpy.random.Generator`.
        labels: (s, s) uint16 instance mask.
        source: `Source`.
        config: `Synthesis`.

    Returns:
        (s, s) float32 around 1.
    """
    eosin = source.eosin * np.float32(1.0 / max(float(source.eosin.mean()), 1.0)) - 1.0
    grain = source.grain * np.float32(1 / 127.5) - 1.0
    tone = random.uniform(config.tone_low, config.tone_high, int(labels.max()) + 1).astype(np.float32)
    contrast = random.uniform(0.25, 1.0) * config.grain_contrast
    return tone[labels] * (1.0 - config.eosin_contrast * eosin) * (1.0 + contrast * grain)


def smooth_field(random, side, amplitude):
    """Smooth random field around 1, (side, side) float32 in [1 - amplitude, 1 + amplitude]."""
    knots = max(2, side // 24)
    field = random.uniform(1.0 - amplitude, 1.0 + amplitude, (knots, knots)).astype(np.float32)
    return cv2.resize(field, (side, side), interpolation=cv2.INTER_LINEAR)


def random_kernel(random, size):
    """Random positive (size, size) float32 kernel that sums to 1 [release]."""
    kernel = random.random((size, size)).astype(np.float32)
    return kernel / kernel.sum()


def contours(labels):
    """Outermost pixels of each nucleus, borders between touching nuclei included.

    Args:
        labels: (s, s) uint16 instance mask.

    Returns:
        (s, s) bool.
    """
    lowest = cv2.erode(labels, np.ones((3, 3), np.uint8))
    highest = cv2.dilate(labels, np.ones((3, 3), np.uint8))
    return (labels > 0) & (lowest != highest)


def cleared(random, labels, edge, texture, config):
    """Opacity of the nuclei, chromatin cleared from their interiors [paper; release].

    Where a texture is under a quantile that grows with the nucleus, the interior is cleared. The edge, the
    nuclear membrane, stays, randomly thickened, and cells of a random "recall" mask are filled back.

    Args:
        random: `numpy.random.Generator`.
        labels: (s, s) uint16 instance mask.
        edge: (s, s) bool contours.
        texture: (s, s) uint8 ranks.
        config: `Synthesis`.

    Returns:
        (s, s) float32 opacity in [0, 1].
    """
    number = int(labels.max())
    areas = np.bincount(labels.ravel(), minlength=number + 1)
    mean = areas[1:].mean() if number else 0.0
    small = random.uniform(0, config.clear_small)
    large = random.uniform(config.clear_base, config.clear_large)
    mix = np.clip((mean - config.area_small) / (config.area_large - config.area_small), 0.0, 1.0)
    quantile = np.full(number + 1, (1 - mix) * small + mix * large, np.float32)
    vesicular = (random.random(number + 1) < config.vesicular) & (areas > config.vesicular_area)
    quantile[vesicular] = random.uniform(50, 95, int(vesicular.sum()))
    hole = texture < (quantile * 2.56).astype(np.uint8)[labels]
    if config.membrane:
        rim = edge.view(np.uint8)
        thick = cv2.dilate(rim, np.ones((3, 3), np.uint8))
        hole &= ~np.where(_cells(random, labels.shape[0], config.recall_cell, 0.5), thick, rim).view(bool)
    hole &= ~_cells(random, labels.shape[0], config.recall_cell, random.uniform(0.0, 0.5))
    opacity = random.uniform(config.opacity_low, 1.0, number + 1).astype(np.float32)
    opacity[0] = 0.0
    return np.where(hole, np.float32(0.0), opacity[labels])


def _cells(random, side, cell, probability):
    """(side, side) bool mask of random square cells."""
    number = -(-side // cell)
    small = (random.random((number, number)) < probability).astype(np.uint8)
    return np.repeat(np.repeat(small, cell, 0), cell, 1)[:side, :side].view(bool)


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
    opacity = cv2.filter2D(opacity, -1, random_kernel(random, sizes[int(random.integers(len(sizes)))]))
    if random.random() < config.blur_local:
        side = opacity.shape[0]
        for _ in range(2):
            (top, bottom), (left, right) = np.sort(random.integers(0, side + 1, (2, 2)), axis=1)
            window = opacity[top:bottom, left:right]
            if window.size:
                opacity[top:bottom, left:right] = cv2.filter2D(window, -1, random_kernel(random, 5))
    return opacity


def distracted(random, background, colour, config):
    """Background with small dark stars and blurred in-between polygons that are no nuclei [release].

    Args:
        random: `numpy.random.Generator`.
        background: (s, s, 3) float32 grey levels.
        colour: (3,) float32 nuclear colour.
        config: `Synthesis`.

    Returns:
        (s, s, 3) float32.
    """
    share = background.shape[0] ** 2 / RELEASE_AREA
    between = int(random.integers(config.between + 1) * share + random.random()) if config.between else 0
    if between:
        paint = _shapes(random, background.shape[0], random.uniform(8, 16, between), (0.1, 0.3), config)
        paint = cv2.GaussianBlur(paint, (0, 0), random.uniform(2.0, 4.0))[..., None]
        background = background + random.uniform(0.25, 0.5) * paint * (colour - background)
    stars = int(random.integers(config.distractors + 1) * share + random.random()) if config.distractors else 0
    if stars:
        paint = _shapes(random, background.shape[0], random.uniform(1.2, 3.5, stars), (0.3, 0.7), config)
        paint[random.random(paint.shape, np.float32) < random.uniform(0, 0.15)] = 0.0
        paint = cv2.GaussianBlur(paint, (0, 0), random.uniform(0.5, 1.0))[..., None]
        background = background + paint * (colour - background)
    return background


def _shapes(random, side, radii, spikiness, config):
    """(side, side) float32 mask of random polygons anywhere on the patch."""
    places = random.uniform(0, side, (len(radii), 1, 2))
    points = polygons.outlines(random, radii, config, spikiness) + places
    paint = np.zeros((side, side), np.float32)
    cv2.fillPoly(paint, list(np.rint(points).astype(np.int32)), 1.0)
    return paint


def centres(labels):
    """Centres of the nuclei's bounding boxes [release].

    Args:
        labels: (s, s) uint16 instance mask.

    Returns:
        (s, s) bool, one pixel for each nucleus.
    """
    marked = np.zeros(labels.shape, bool)
    rows, columns = np.nonzero(labels)
    if len(rows):
        number = int(labels.max())
        ids = labels[rows, columns].astype(np.intp) - 1
        box = np.empty((4, number), np.intp)
        box[0] = box[2] = labels.shape[0]
        box[1] = box[3] = -1
        np.minimum.at(box[0], ids, rows)
        np.maximum.at(box[1], ids, rows)
        np.minimum.at(box[2], ids, columns)
        np.maximum.at(box[3], ids, columns)
        marked[(box[0] + box[1]) // 2, (box[2] + box[3]) // 2] = True
    return marked


def cores(labels, depth=0.5):
    """Inner parts of the nuclei, which never touch: seeds that grow with their nucleus [ours].

    Args:
        labels: (s, s) uint16 instance mask.
        depth: share of a nucleus's largest distance from its contour that a core pixel lies beyond.

    Returns:
        (s, s) bool.
    """
    inside = ((labels > 0) & ~contours(labels)).astype(np.uint8)
    distance = cv2.distanceTransform(np.pad(inside, 1, mode="edge"), cv2.DIST_L2, 3)[1:-1, 1:-1]
    deepest = np.zeros(int(labels.max()) + 1, np.float32)
    np.maximum.at(deepest, labels.ravel(), distance.ravel())
    return inside.view(bool) & (distance > depth * deepest[labels])
