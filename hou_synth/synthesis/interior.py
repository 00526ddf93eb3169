"""Inside of the nuclei: their texture, chromatin and opacity (paper Sec. 4.1)."""

import math

import cv2
import numpy as np

_NOISE = np.linspace(-1, 1, 256, dtype=np.float32)[None, :, None] * np.float32([1.6, 1.3, 2.6])  # grey levels; release
COARSE = 8  # pixels; ours
STRONGEST = 25.0  # grey levels; standard deviation of the strongest fine structure in real nuclei; ours
SQUARE = np.ones((3, 3), np.uint8)
SMALL_SHARE = 0.4  # of the patches between small and large nuclei that are cleared as those of small ones; release


def nuclear_texture(random, labels, edge, source, config, kinds=None):
    """Nuclear texture: eosin of another tile times nuclear colour [paper; release], fine structure added [ours].

    Args:
        random: `numpy.random.Generator`.
        labels: (s, s) uint16 instance mask, for the tone of single nuclei.
        edge: (s, s) bool contours.
        source: `Source`.
        config: `Synthesis`.
        kinds: (n + 1,) bool, which labels are lymphocytes; None without that kind.

    Returns:
        (s, s, 3) float32 in grey levels.
    """
    if config.optical:
        texture = optical_texture(random, labels, edge, source, config, kinds)
    else:
        texture = source.eosin * np.float32(config.eosin_top / 255.0)
        if kinds is not None:
            texture = texture / tones(random, len(kinds), (1.0, 1.0), kinds, config).take(with_rims(labels))
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


def covered(random, texture, source, config):
    """Nuclear texture as dense as what lies over and under the nuclei in the section, or denser [ours].

    The clear inside of a nucleus lets that tissue show through, not glass, which would be a white hole in dense tissue.

    Args:
        random: `numpy.random.Generator`.
        texture: (s, s, 3) float32 grey levels.
        source: `Source`.
        config: `Synthesis`.

    Returns:
        (s, s, 3) float32.
    """
    share = random.uniform(config.covered, 1.0)
    through = cv2.pow(np.maximum(coarse(source.background.astype(np.float32)), 1.0) / np.float32(255), share)
    return cv2.min(texture, through * np.float32(255))


def optical_texture(random, labels, edge, source, config, kinds=None):
    """Relative optical density of the nuclear material [ours].

    Multiplying the intensity greys the nuclei out; multiplying the density keeps their hue. The coarse part of
    the eosin texture varies it, and every nucleus has its own tone.

    Args:
        random: `numpy.random.Generator`.
        labels: (s, s) uint16 instance mask.
        edge: (s, s) bool contours.
        source: `Source`.
        config: `Synthesis`.
        kinds: (n + 1,) bool, which labels are lymphocytes; None without that kind.

    Returns:
        (s, s) float32 around 1.
    """
    ratio = config.eosin_contrast / max(cv2.mean(source.eosin)[0], 1.0)
    eosin = coarse(source.eosin.astype(np.float32)) * np.float32(-ratio) + np.float32(1.0 + config.eosin_contrast)
    tone = tones(random, int(labels.max()) + 1, (config.tone_low, config.tone_high), kinds, config)
    nearest = with_rims(labels)
    texture = tone.take(nearest) * eosin
    return texture * chromatin(random, labels, edge, nearest, config, kinds) if config.chromatin else texture


def with_rims(labels):
    """An instance mask whose nuclei reach 4 pixels into the background, as their blurred rims do."""
    return np.where(labels > 0, labels, cv2.dilate(labels, np.ones((9, 9), np.uint8)))


def tones(random, number, limits, kinds, config):
    """(number,) float32 relative densities of the nuclei: uniform within limits; those of lymphocytes are their own."""
    tone = random.uniform(*limits, number).astype(np.float32)
    if kinds is None:
        return tone
    dark = random.uniform(config.lymphocyte_tone_low, config.lymphocyte_tone_high, number)
    return np.where(kinds, dark, tone).astype(np.float32)


def chromatin(random, labels, edge, nearest, config, kinds=None):
    """Relative optical density inside the nuclei: membrane, clumps and grains of chromatin, pale between them [ours].

    A share of the larger nuclei is vesicular: hardly any density but at the membrane and in a few clumps. The others
    are almost even.

    Args:
        random: `numpy.random.Generator`.
        labels: (s, s) uint16 instance mask.
        edge: (s, s) bool contours.
        nearest: (s, s) uint16, the mask with the nuclei's blurred rims.
        config: `Synthesis`.
        kinds: (n + 1,) bool, which labels are lymphocytes, never vesicular; None without that kind.

    Returns:
        (s, s) float32 around 1.
    """
    number, side = int(labels.max()) + 1, len(labels)

    def of_nuclei(low, high):
        return random.uniform(low, high, number).astype(np.float32)

    large = np.bincount(labels.ravel(), minlength=number) > config.vesicular_area
    vesicular = (random.random(number) < config.vesicular) & large
    vesicular = vesicular if kinds is None else vesicular & ~kinds
    pale = np.where(vesicular, of_nuclei(0.15, 0.6), of_nuclei(0.7, 1.0)).take(nearest)
    width = np.float32(random.uniform(1.0, 2.5))  # pixels
    membrane = np.exp(-((depth(labels, edge) / width) ** 2)) * of_nuclei(0.5, 1.3).take(nearest)
    clumps = np.clip(_grains(random, side, random.uniform(3.0, 7.0)) - of_nuclei(-0.2, 1.3).take(nearest), 0.0, 1.0)
    density = pale + (1.0 - pale) * np.maximum(membrane, clumps) + np.maximum(membrane - 1.0, 0.0) * pale
    grains = of_nuclei(0.0, config.chromatin).take(nearest) * _grains(random, side, random.uniform(1.5, 4.0))
    return density * np.maximum(1.0 + grains, 0.3)


def depth(labels, edge):
    """Depth under the nuclei's contours, (s, s) float32 in pixels: 0 on them and outside of nuclei.

    Args:
        labels: (s, s) uint16 instance mask.
        edge: (s, s) bool contours.
    """
    inside = cv2.copyMakeBorder(((labels > 0) & ~edge).view(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]


def _grains(random, side, size):
    """(side, side) float32 smooth noise of about unit variance whose grains are about `size` pixels wide."""
    knots = int(side / size) + 1
    return cv2.resize(random.standard_normal((knots, knots), np.float32), (side, side), interpolation=cv2.INTER_CUBIC)


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


def cleared(random, labels, edge, texture, config, kinds=None):
    """Opacity of the nuclei, chromatin cleared from their interiors [paper; release].

    Where a texture is under a quantile that grows with the nucleus, the interior is cleared. The edge, the
    nuclear membrane, stays, randomly thickened, and cells of a random "recall" mask are filled back.

    Args:
        random: `numpy.random.Generator`.
        labels: (s, s) uint16 instance mask.
        edge: (s, s) bool contours.
        texture: (s, s) uint8 ranks.
        config: `Synthesis`.
        kinds: (n + 1,) bool, which labels are lymphocytes, which stay dense; None without that kind.

    Returns:
        (s, s) float32 opacity in [0, 1].
    """
    level = clearing_level(random, labels, config)
    hole = texture < level
    if config.membrane:
        rim = edge.view(np.uint8)
        thick = cv2.bitwise_and(cv2.dilate(rim, SQUARE), _cells(random, labels.shape[0], config.recall_cell, 0.5))
        hole &= (rim | thick) == 0
    hole &= _cells(random, labels.shape[0], config.recall_cell, random.uniform(0.0, 0.5)) == 0
    if kinds is not None:
        hole &= ~kinds.take(labels)
    opacity = opacities(random, labels, config)
    np.putmask(opacity, hole, 0.0)
    return opacity


def clearing_level(random, labels, config):
    """Rank of 255 under which the nuclei of a patch are cleared: it grows with their mean area [release]."""
    if config.area_accumulated:
        return round(2.56 * _released_percentile(random, labels, config))
    mean = cv2.countNonZero(labels) / max(int(labels.max()), 1)
    small = random.uniform(0, config.clear_small)
    most = random.uniform(config.clear_base, config.clear_large)
    mix = min(max((mean - config.area_small) / (config.area_large - config.area_small), 0.0), 1.0)
    return round(2.56 * ((1 - mix) * small + mix * most))


def _released_percentile(random, labels, config):
    """Percentile that is cleared, by the area of the nuclei so far, adding up from nucleus to nucleus [release].

    Its mean over the nuclei, on the whole canvas, is what the program takes for their mean area.
    """
    covered = np.bincount(labels.ravel())[1:].cumsum()
    mean = covered.mean() * (1.0 + 2.0 * config.margin / len(labels)) ** 2 if len(covered) else 0.0
    if mean > config.area_large:
        return random.uniform(config.clear_base, config.clear_large)
    if mean < config.area_small or random.random() < SMALL_SHARE:
        return random.uniform(0.0, config.clear_small)
    return random.uniform(0.0, config.clear_large - config.clear_base)


def opacities(random, labels, config):
    """Opacity of every pixel, (s, s) float32: one number for each nucleus, 0 for the background."""
    opacity = random.uniform(config.opacity_low, 1.0, int(labels.max()) + 1).astype(np.float32)
    opacity[0] = 0.0
    return opacity.take(labels)


def parted(random, labels, opacity, config):
    """Opacity that is lower where two nuclei touch, so that their border shows [ours].

    Args:
        random: `numpy.random.Generator`.
        labels: (s, s) uint16 instance mask.
        opacity: (s, s) float32.
        config: `Synthesis`.

    Returns:
        (s, s) float32.
    """
    others = np.where(labels > 0, labels, np.iinfo(np.uint16).max).astype(np.uint16)
    touching = (labels > 0) & ((cv2.dilate(labels, SQUARE) != labels) | (cv2.erode(others, SQUARE) != labels))
    return np.where(touching, opacity * np.float32(1.0 - random.uniform(0.0, config.gap)), opacity)


def _cells(random, side, cell, probability):
    """(side, side) uint8 mask of random square cells, 1 with the given probability."""
    number = -(-side // cell)
    small = (random.random((number, number), np.float32) < probability).view(np.uint8)
    large = cv2.resize(small, (number * cell, number * cell), interpolation=cv2.INTER_NEAREST)
    return large[:side, :side]
