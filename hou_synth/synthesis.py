"""Mask + textures of real tissue -> initial synthetic patch (paper Sec. 4.1 as one function)."""

import dataclasses
import math

import cv2
import numpy as np
from scipy import ndimage

from hou_synth import polygons
from hou_synth.stain import haematoxylin_shift

RELEASE_AREA = 460 * 460  # canvas on which the release counts its nuclei and distractors
_NOISE = np.linspace(-1, 1, 256, dtype=np.float32)[None, :, None] * np.float32([1.6, 1.3, 2.6])  # grey levels; release
COARSE = 8  # pixels; ours
STRONGEST = 25.0  # grey levels; standard deviation of the strongest fine structure in real nuclei; ours
_SQUARE = np.ones((3, 3), np.uint8)


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
    return painted(random, mask(random, source.background.shape[0], source, config), source, config)


def painted(random, labels, source, config):
    """A mask painted with the textures of real tissue.

    Args:
        random: `numpy.random.Generator`.
        labels: (s, s) uint16 instance mask.
        source: `Source` of that side.
        config: `Synthesis`.

    Returns:
        A `Patch`.
    """
    edge = contours(labels)
    background = jittered(random, source.background, config)
    background = distracted(random, background, source.colour, config)
    texture = nuclear_texture(random, labels, source, config)
    clear = faded if config.fade else cleared
    opacity = clear(random, labels, edge, source.clearing, config)
    opacity = blurred(random, opacity, config)
    image = cv2.blendLinear(texture, background, opacity, 1.0 - opacity)
    image = cv2.convertScaleAbs(cv2.max(image, 0.0, dst=image))
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
        single = bias * random.uniform(config.radius_low, config.radius_high, number)
        return single * np.exp(config.size_spread * random.standard_normal(number)) if config.size_spread else single

    labels = polygons.instances(random, canvas, count, radii, source.cells, config)
    inner = labels[config.margin : config.margin + side, config.margin : config.margin + side]
    present = np.bincount(inner.ravel()) > 0
    present[0] = False
    return (np.cumsum(present, dtype=np.uint16) * present).take(inner)


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
    table = np.arange(256, dtype=np.float32)[:, None] * gain + shift
    return cv2.LUT(background, table.astype(np.float32)[None])


def nuclear_texture(random, labels, source, config):
    """Nuclear texture: eosin of another tile times nuclear colour [paper; release], fine structure added [ours].

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
    if config.optical:
        depths = np.log(np.maximum(source.colour, 1.0) / 255.0)
        image = cv2.merge([255.0 * np.exp(depth * texture) for depth in depths])
    else:
        image = cv2.merge([level * texture for level in source.colour])
    if config.detail:
        image = cv2.add(image, fine(source.detail, config.detail * random.uniform(0.7, 1.3)))
    if config.texture_noise:
        noise = np.frombuffer(random.bytes(image.size), np.uint8).reshape(image.shape)
        image = cv2.add(image, cv2.LUT(noise, config.texture_noise * _NOISE), dst=image)
    if random.random() < config.texture_blur:
        image = cv2.filter2D(image, -1, random_kernel(random, 3 + 2 * int(random.integers(2))))
    return image


def optical_texture(random, labels, source, config):
    """Relative optical density of the nuclear material [ours].

    Multiplying the intensity greys the nuclei out; multiplying the density keeps their hue. The coarse part of
    the eosin texture varies it, and every nucleus has its own tone.

    Args:
        random: `numpy.random.Generator`.
        labels: (s, s) uint16 instance mask.
        source: `Source`.
        config: `Synthesis`.

    Returns:
        (s, s) float32 around 1.
    """
    ratio = config.eosin_contrast / max(cv2.mean(source.eosin)[0], 1.0)
    eosin = coarse(source.eosin.astype(np.float32)) * np.float32(-ratio) + np.float32(1.0 + config.eosin_contrast)
    tone = random.uniform(config.tone_low, config.tone_high, int(labels.max()) + 1).astype(np.float32)
    nearest = np.where(labels > 0, labels, cv2.dilate(labels, np.ones((9, 9), np.uint8)))  # for blurred rims
    return tone.take(nearest) * eosin


def fine(crop, share):
    """Structures under about `COARSE` pixels of an image, times a share; those stronger than in nuclei are damped.

    Args:
        crop: (s, s, 3) uint8.
        share: factor.

    Returns:
        (s, s, 3) float32 around 0, in grey levels.
    """
    values = crop.astype(np.float32)
    values = cv2.subtract(values, coarse(values))
    strength = math.sqrt(np.square(cv2.meanStdDev(values)[1]).mean())
    return cv2.multiply(values, (share * min(1.0, STRONGEST / max(strength, 1.0)),) * 4)


def coarse(values):
    """An image without structures under about `COARSE` pixels: shrunk and enlarged, which is a quick blur.

    Args:
        values: (s, s) or (s, s, 3) float32.

    Returns:
        The same shape.
    """
    side = values.shape[0]
    small = cv2.resize(values, (side // COARSE, side // COARSE), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)


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
    return (labels > 0) & (cv2.erode(labels, _SQUARE) != cv2.dilate(labels, _SQUARE))


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
    level = np.rint(clearing_levels(random, labels, config)).astype(np.uint8)
    hole = texture < (level.take(labels) if config.vesicular else level[0])
    if config.membrane:
        rim = edge.view(np.uint8)
        thick = cv2.bitwise_and(cv2.dilate(rim, _SQUARE), _cells(random, labels.shape[0], config.recall_cell, 0.5))
        hole &= (rim | thick) == 0
    hole &= _cells(random, labels.shape[0], config.recall_cell, random.uniform(0.0, 0.5)) == 0
    opacity = opacities(random, len(level), config).take(labels)
    np.putmask(opacity, hole, 0.0)
    return opacity


def clearing_levels(random, labels, config):
    """Rank of 255 under which each nucleus is cleared, (n + 1,) float32, the background's first [release].

    It grows with the mean area of the patch's nuclei; some large nuclei are vesicular, cleared almost wholly [ours].
    """
    number = int(labels.max())
    mean = cv2.countNonZero(labels) / max(number, 1)
    small = random.uniform(0, config.clear_small)
    most = random.uniform(config.clear_base, config.clear_large)
    mix = min(max((mean - config.area_small) / (config.area_large - config.area_small), 0.0), 1.0)
    quantile = np.full(number + 1, (1 - mix) * small + mix * most, np.float32)
    if config.vesicular:
        large = np.bincount(labels.ravel()) > config.vesicular_area
        vesicular = (random.random(number + 1) < config.vesicular) & large
        quantile[vesicular] = random.uniform(50, 95, int(vesicular.sum()))
    return 2.56 * quantile


def opacities(random, number, config):
    """(number,) float32 opacity of each nucleus, the background's, 0, first."""
    opacity = random.uniform(config.opacity_low, 1.0, number).astype(np.float32)
    opacity[0] = 0.0
    return opacity


def faded(random, labels, edge, texture, config):
    """Opacity of the nuclei, chromatin faded in their interiors without sharp edges [ours].

    Holes with sharp edges tell painted nuclei from real ones. Here the texture is smoothed, the clearing sets in
    gradually with its rank and with the distance from the membrane, and leaves a part of the chromatin.

    Args:
        random: `numpy.random.Generator`.
        labels: (s, s) uint16 instance mask.
        edge: (s, s) bool contours.
        texture: (s, s) uint8 ranks.
        config: `Synthesis`.

    Returns:
        (s, s) float32 opacity in [0, 1].
    """
    level = clearing_levels(random, labels, config)
    rank = cv2.GaussianBlur(texture.astype(np.float32), (0, 0), 1.5)
    rank = np.float32(1.8) * rank - np.float32(0.8 * 127.5)  # smoothing has narrowed the ranks
    clear = np.clip((level.take(labels) - rank) * np.float32(1.0 / config.fade), 0.0, 1.0)
    inside = cv2.copyMakeBorder(((labels > 0) & ~edge).view(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    membrane = random.uniform(0.6, 2.0)  # pixels
    clear *= np.clip((depth - np.float32(membrane)) * np.float32(1.0 / 1.5), 0.0, 1.0)
    share = random.uniform(0.3, 0.9, len(level)).astype(np.float32)
    return opacities(random, len(level), config).take(labels) * (1.0 - share.take(labels) * clear)


def _cells(random, side, cell, probability):
    """(side, side) uint8 mask of random square cells, 1 with the given probability."""
    number = -(-side // cell)
    small = (random.random((number, number), np.float32) < probability).view(np.uint8)
    large = cv2.resize(small, (number * cell, number * cell), interpolation=cv2.INTER_NEAREST)
    return large[:side, :side]


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
        for rows, columns in random.integers(0, opacity.shape[0] + 1, (2, 2, 2)).tolist():
            (top, bottom), (left, right) = sorted(rows), sorted(columns)
            window = opacity[top:bottom, left:right]
            if window.size:
                opacity[top:bottom, left:right] = cv2.filter2D(window, -1, random_kernel(random, 5))
    return opacity


def distracted(random, background, colour, config):
    """Background with small dark stars and blurred in-between polygons that are no nuclei [release].

    Args:
        random: `numpy.random.Generator`.
        background: (s, s, 3) float32 grey levels, changed in place.
        colour: (3,) float32 nuclear colour.
        config: `Synthesis`.

    Returns:
        The background.
    """
    side = background.shape[0]
    number, stars = (
        int(random.integers(most + 1) * (side * side / RELEASE_AREA) + random.random()) if most else 0
        for most in (config.between, config.distractors)
    )
    if number + stars == 0:
        return background
    radii = np.concatenate([random.uniform(8, 16, number), random.uniform(1.2, 3.5, stars)]).astype(np.float32)
    star = np.arange(number + stars)[:, None] >= number
    spikiness = np.where(star, np.float32(0.3), np.float32(0.1)), np.where(star, np.float32(0.7), np.float32(0.3))
    places = random.random((len(radii), 1, 2), np.float32) * side
    points = np.rint(polygons.outlines(random, radii, config, spikiness) + places).astype(np.int32)
    keep = np.ones((side, side), np.float32)
    if number:
        half = _painted(points[:number] // 2, -(-side // 2), random.uniform(1.0, 2.0))  # quicker, and as smooth
        keep -= random.uniform(0.25, 0.5) * cv2.resize(half, (side, side), interpolation=cv2.INTER_LINEAR)
    if stars:
        broken = np.frombuffer(random.bytes(side * side), np.uint8) < 256 * random.uniform(0, 0.15)
        keep *= 1.0 - _painted(points[number:], side, random.uniform(0.5, 1.0), broken.reshape(side, side))
    touched = np.flatnonzero(keep < 1.0)
    pixels, keep = background.reshape(-1, 3), keep.take(touched)[:, None]
    pixels[touched] = keep * pixels.take(touched, axis=0) + (1.0 - keep) * colour
    return background


def _painted(outlines, side, sigma, broken=None):
    """(side, side) float32 blurred mask of polygons, without the broken pixels."""
    paint = np.zeros((side, side), np.float32)
    cv2.fillPoly(paint, list(outlines), 1.0)
    if broken is not None:
        paint[broken] = 0.0
    size = 2 * math.ceil(3 * sigma) + 1
    return cv2.GaussianBlur(paint, (size, size), sigma)


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
    inside = ((labels > 0) & ~contours(labels)).astype(np.uint8)
    distance = cv2.distanceTransform(np.pad(inside, 1, mode="edge"), cv2.DIST_L2, 3)[1:-1, 1:-1]
    deepest = np.zeros(int(labels.max()) + 1, np.float32)
    np.maximum.at(deepest, labels.ravel(), distance.ravel())
    return inside.view(bool) & (distance > depth * deepest[labels])
