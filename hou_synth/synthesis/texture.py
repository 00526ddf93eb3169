"""Foreground and background appearance taken from one real tile (paper Sec. 4.1, Fig. 3)."""

import dataclasses

import cv2
import numpy as np
from skimage.filters import threshold_otsu

from hou_synth.synthesis.nuclear_level import absorbed_red, nuclear_level
from hou_synth.synthesis.stain import deconvolve

WHITE = 225.0  # grey level above which a pixel is glass; ours
GREY, TINT = 190.0, 20.0  # or above the first with channels that differ by less than the second; ours
FILLED_MAX = 0.9  # a tile with a larger share to fill is none, such as one of blood; ours
DARKEST = 0.1  # share of the nuclear pixels that is left out as too dark at most; ours
SEAM = 2  # half width of the cross-fade between fills of different origin, in pixels; ours
HALO = 2  # pixels around a filled region that are no source of a fill, as the nuclei shine into them; ours
BLOCK = 24  # side of the blocks that are filled from one place; ours
REACH = 150  # farthest shift of a fill; ours
_TURN = 2.4 * np.arange(24)  # the golden angle: a spiral of places in all directions
_SHIFTS = np.rint(np.stack([np.sin(_TURN), np.cos(_TURN)], 1) * np.linspace(30, REACH, 24)[:, None]).astype(int)


@dataclasses.dataclass(frozen=True)
class Tissue:
    """Everything that synthesis takes from one tile.

    Attributes:
        image: (h, w, 3) uint8 RGB, the tile.
        background: (h, w, 3) uint8 RGB, the tile without its nuclei.
        eosin: (h, w) uint8, eosin scaled from its minimum (0) to its maximum (255).
        grain: (h, w) uint8, rank of the eosin against its surroundings, 0 lowest to 255 highest.
        colour: (3,) float32 mean nuclear colour in grey levels.
        density: share of pixels above Otsu's threshold, over `density_unit`.
        cells: (rows, columns) bool, where there is tissue.
    """

    image: np.ndarray
    background: np.ndarray
    eosin: np.ndarray
    grain: np.ndarray
    colour: np.ndarray
    density: float
    cells: np.ndarray


def _disc(radius):
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def share_above_otsu(haematoxylin):
    """Share of pixels above Otsu's threshold of haematoxylin, 0 to 1."""
    return np.count_nonzero(haematoxylin > threshold_otsu(haematoxylin)) / haematoxylin.size


def level_above(values, share):
    """The value that this share of the values lies above."""
    place = min(int((1.0 - min(share, 1.0)) * values.size), values.size - 1)
    return np.partition(values, place, axis=None)[place]


def nuclear_regions(image, haematoxylin, config):
    """Where the nuclei of a tile are: by the local rule if `super_level` is set.

    Args:
        image: (h, w, 3) uint8 RGB.
        haematoxylin: (h, w) float32.
        config: `Synthesis`.

    Returns:
        (h, w) float32 stain, more in nuclei; share of its pixels that are nuclei; and a mask, (h, w) bool, that should
        contain every nucleus.
    """
    if not config.super_level:
        share = share_above_otsu(haematoxylin)
        return haematoxylin, share, global_super_segmentation(haematoxylin, share, config)
    stain = absorbed_red(image)
    level = nuclear_level(stain)
    return stain, (stain > level).mean(), local_super_segmentation(stain, level, config)


def global_super_segmentation(haematoxylin, share, config):
    """Mask that should contain every nucleus, by Otsu's threshold [paper; release].

    The share of pixels above Otsu's threshold grows by `super_factor`; the mask is smoothed and dilated.

    Args:
        haematoxylin: (h, w) float32.
        share: of pixels above Otsu's threshold.
        config: `Synthesis`.

    Returns:
        (h, w) bool.
    """
    mask = (haematoxylin > level_above(haematoxylin, config.super_factor * share)).astype(np.float32)
    mask = (cv2.GaussianBlur(mask, (0, 0), 0.5) > 0.5).view(np.uint8)
    return cv2.dilate(mask, _disc(config.super_grow)).view(bool)


def local_super_segmentation(stain, level, config):
    """Mask that should contain every nucleus, pale and vesicular ones too [ours].

    The threshold lies `super_level` of the way from the local background to the mean nuclear level; small
    holes, the clear centres of vesicular nuclei, are filled.

    Args:
        stain: (h, w) float32, more in nuclei.
        level: of the stain, that nuclei lie above.
        config: `Synthesis`.

    Returns:
        (h, w) bool.
    """
    smooth = cv2.GaussianBlur(stain, (0, 0), 1.5)
    below = smooth <= level
    nuclear = cv2.mean(smooth, (~below).view(np.uint8))[0]
    base = local_mean(smooth, below, 40.0)
    mask = (smooth > base + config.super_level * (nuclear - base)).view(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disc(3))
    _, holes, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < config.area_small
    small[0] = False
    mask[small[holes]] = 1
    return cv2.dilate(mask, _disc(config.super_grow)).view(bool)


def local_mean(values, mask, sigma):
    """Mean of the masked pixels around every pixel, Gaussian weighted, at a quarter of the resolution.

    Args:
        values: (h, w) or (h, w, c) float32.
        mask: (h, w) bool, the pixels that count.
        sigma: of the Gaussian, in pixels.

    Returns:
        Array of the shape of `values`; where no masked pixel is near, the mean of all masked pixels.
    """
    height, width = mask.shape
    size = max(width // 4, 1), max(height // 4, 1)
    counted = mask.view(np.uint8)
    total = cv2.mean(values, counted if mask.any() else None)[: values[0, 0].size]
    weight = cv2.resize(counted.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(cv2.copyTo(values, counted), size, interpolation=cv2.INTER_AREA)
    weight, small = (cv2.GaussianBlur(layer, (0, 0), sigma / 4) for layer in (weight, small))
    few = 1e-3  # weight of the mean of all pixels
    small = small.reshape(*weight.shape, -1) + np.multiply(few, total, dtype=np.float32)
    small /= weight[..., None] + few
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def inpainted(image, mask, config):
    """Tile without its nuclei, by Telea's inpainting [paper; release], at half the resolution [ours, for speed].

    Args:
        image: (h, w, 3) uint8 RGB.
        mask: (h, w) bool, the pixels to replace.
        config: `Synthesis`.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    height, width = mask.shape
    half = width // 2, height // 2
    small = (cv2.resize(mask.astype(np.float32), half, interpolation=cv2.INTER_AREA) > 0).view(np.uint8)
    radius = (config.inpaint_radius + 1) // 2
    filled = cv2.inpaint(cv2.resize(image, half, interpolation=cv2.INTER_AREA), small, radius, cv2.INPAINT_TELEA)
    filled = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    whole = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
    return cv2.copyTo(filled, whole, image.copy())


def retextured(image, mask):
    """Tile without its nuclei, filled with the fine structure of its own background [ours].

    Telea's fill is smooth, so a network learns to tell it from tissue. Here a pixel gets the local mean of
    the background plus the deviation from it somewhere else in the tile: every block of the tile from the place
    that has most background for it, what is then left from the next place that has some.

    Args:
        image: (h, w, 3) uint8 RGB.
        mask: (h, w) bool, the pixels to replace.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    values = image.astype(np.float32)
    clear = cv2.dilate(mask.view(np.uint8), _disc(HALO)) == 0
    mean = local_mean(values, clear if clear.any() else ~mask, 8.0)
    deviation = cv2.copyMakeBorder(values - mean, *[REACH] * 4, cv2.BORDER_REFLECT)
    free = cv2.copyMakeBorder(clear.view(np.uint8), *[REACH] * 4, cv2.BORDER_REFLECT)
    rows, columns = np.nonzero(mask)
    here = (rows + REACH) * free.shape[1] + columns + REACH  # in the padded tile
    shift = _SHIFTS[:, 0] * free.shape[1] + _SHIFTS[:, 1]
    number = _best_shifts(mask, free)[rows, columns]
    _find(number, here, shift, free)
    fill = mean.copy()
    fill[rows, columns] += _crossfaded(number, (rows, columns), here, shift, free, deviation)
    edge = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
    return cv2.convertScaleAbs(cv2.max(cv2.blendLinear(fill, values, edge, 1.0 - edge), 0.0))


def _best_shifts(mask, free):
    """(h, w) uint8: for every block, the number of the shift with background for most of its masked pixels."""
    height, width = mask.shape
    blocks = max(width // BLOCK, 1), max(height // BLOCK, 1)
    coarse, taken = mask[::4, ::4].astype(np.float32), (1 - free).astype(np.float32)
    missing = []
    for dy, dx in REACH + _SHIFTS:
        covered = coarse * taken[dy : dy + height : 4, dx : dx + width : 4]
        missing.append(cv2.resize(covered, blocks, interpolation=cv2.INTER_AREA))
    return cv2.resize(np.argmin(missing, axis=0).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)


def _find(number, here, shift, free):
    """Gives the pixels whose shift leads to no background, in place, the number of the first one that does."""
    left = np.flatnonzero(free.take(here + shift[number]) == 0)
    for candidate in range(len(shift)):
        number[left] = candidate
        left = left[free.take(here[left] + shift[candidate]) == 0]


def _crossfaded(number, where, here, shift, free, deviation):
    """(n, 3) deviations from the places that pixels are filled from, cross-faded where two places meet.

    Fills that overlap keep their contrast: their weights are normalised by the root of the sum of squares.
    """
    side = np.zeros(deviation.shape[:2], np.uint8)[2 * REACH :, 2 * REACH :]
    window = _disc(SEAM)
    inside, side[where] = side.copy(), number + 1
    inside[where] = 1
    highest = cv2.dilate(side, window)[where] - 1
    lowest = 254 - cv2.dilate(np.where(inside, 255 - side, 0).astype(np.uint8), window)[where]
    upper = inside.copy()
    upper[where] = number == highest
    weight, total = (cv2.blur(layer.astype(np.float32), window.shape)[where] for layer in (upper, inside))
    weight = weight / total
    above, below = here + shift[highest], here + shift[lowest]
    weights = weight * free.take(above), (1.0 - weight) * free.take(below)
    scale = 1.0 / np.maximum(np.sqrt(weights[0] ** 2 + weights[1] ** 2), 1e-6)
    pixels = deviation.reshape(-1, 3)
    return pixels.take(above, 0) * (weights[0] * scale)[:, None] + pixels.take(below, 0) * (weights[1] * scale)[:, None]


def nuclear_colour(image, stain, share, config):
    """Mean colour of the sub-segmentation, whose regions lie inside nuclei [paper; release].

    Args:
        image: (h, w, 3) uint8 RGB.
        stain: (h, w) float32, more in nuclei.
        share: of pixels that are nuclei.
        config: `Synthesis`.

    Returns:
        (3,) float32 in grey levels.

    Raises:
        ValueError: if there is no such pixel, all channels are brighter than `colour_max`, or red is than `red_max`.
    """
    top = 1.0 - config.sub_top / 100.0
    low = level_above(stain, config.sub_factor * share)
    inside = (stain >= low) & (stain <= level_above(stain, min(top, DARKEST * share) if config.super_level else top))
    colour = np.float32(cv2.mean(image, inside.view(np.uint8))[:3] if inside.any() else [255] * 3)
    if (colour > config.colour_max).all():
        raise ValueError(
            f"Expected a nuclear colour of at most {config.colour_max:.0f} in some channel. "
            f"Received: {np.rint(colour).astype(int).tolist()}."
        )
    if colour[0] > config.red_max:
        raise ValueError(
            f"Expected a nuclear colour with at most {config.red_max:.0f} of red. "
            f"Received: {np.rint(colour).astype(int).tolist()}."
        )
    return colour


def tissue_cells(image, config):
    """Grid of cells that hold tissue: mean channel std, smoothed 3x3, of at least `tissue_std` [release].

    Args:
        image: (h, w, 3) uint8 RGB.
        config: `Synthesis`.

    Returns:
        (rows, columns) bool, cells of about `cell` pixels.
    """
    rows, columns = (max(1, round(side / config.cell)) for side in image.shape[:2])
    values = image.astype(np.float32)
    mean, square = (cv2.resize(v, (columns, rows), interpolation=cv2.INTER_AREA) for v in (values, values * values))
    spread = np.sqrt(np.maximum(square - mean * mean, 0.0)).mean(-1)
    return (cv2.blur(spread, (3, 3)) >= config.tissue_std) & ~glass(mean)


def tissue_mask(background, config):
    """Pixels of cells that hold tissue, on a patch and its margin, where the background is mirrored [release].

    Args:
        background: (s, s, 3) uint8 RGB without nuclei.
        config: `Synthesis`.

    Returns:
        (s + 2 m, s + 2 m) bool, m the margin: cells of `cell` pixels whose mean channel std is at least `tissue_std`.
    """
    canvas = len(background) + 2 * config.margin
    cells = -(-canvas // config.cell)
    after = cells * config.cell - canvas + config.margin
    values = cv2.copyMakeBorder(background, config.margin, after, config.margin, after, cv2.BORDER_REFLECT)
    values = values.astype(np.float32)
    mean, square = (cv2.resize(v, (cells, cells), interpolation=cv2.INTER_AREA) for v in (values, values * values))
    spread = np.sqrt(np.maximum(square - mean * mean, 0.0)).mean(-1)
    rich = (spread >= config.tissue_std).repeat(config.cell, 0).repeat(config.cell, 1)
    return rich[:canvas, :canvas]


def glass(colours):
    """Whether colours, (..., 3) in grey levels, are a slide without tissue: white, or bright and grey [ours]."""
    bright, tint = colours.mean(-1), colours.max(-1) - colours.min(-1)
    return (bright > WHITE) | ((bright > GREY) & (tint < TINT))


def _spread(values):
    """Values scaled from their minimum to their maximum, as uint8."""
    low, high = values.min(), values.max()
    return ((values - low) * (255.0 / max(high - low, 1e-6))).astype(np.uint8)


def _rank(values):
    """Rank of every value among all, as uint8."""
    low, high = cv2.minMaxLoc(values)[:2]
    steps = ((values - np.float32(low)) * np.float32(65535 / max(high - low, 1e-6))).astype(np.uint16)
    below = np.cumsum(np.bincount(steps.ravel(), minlength=65536))
    return (below * (255 / values.size)).astype(np.uint8)[steps]


def tissue(image, config):
    """Appearance of one tile, prepared once.

    Args:
        image: (h, w, 3) uint8 RGB at 40X.
        config: `Synthesis`.

    Returns:
        A `Tissue`.

    Raises:
        ValueError: if the tile is blank, has no nuclear colour, or almost no background to fill it from.
    """
    cells = tissue_cells(image, config)
    if not cells.any():
        raise ValueError("Expected some tissue. Received: a blank tile.")
    haematoxylin, eosin = deconvolve(image)
    stain, share, nuclei = nuclear_regions(image, haematoxylin, config)
    colour = nuclear_colour(image, stain, share, config)
    if config.super_level and nuclei.mean() > FILLED_MAX:
        raise ValueError(
            f"Expected background on at least {1 - FILLED_MAX:.0%} of a tile to fill the rest with. "
            f"Received: {1 - nuclei.mean():.0%}."
        )
    background = retextured(image, nuclei) if config.super_level else inpainted(image, nuclei, config)
    left = cv2.resize(background.astype(np.float32), cells.shape[::-1], interpolation=cv2.INTER_AREA)
    return Tissue(
        image=image,
        background=background,
        eosin=_spread(eosin),
        grain=_rank(eosin - cv2.GaussianBlur(eosin, (0, 0), 8.0)),
        colour=colour,
        density=share / config.density_unit,
        cells=cells & ~glass(left),  # loose cells on glass are no tissue to lay nuclei on
    )
