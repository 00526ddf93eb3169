"""Foreground and background appearance taken from one real tile (paper Sec. 4.1, Fig. 3)."""

import dataclasses

import cv2
import numpy as np
from skimage.filters import threshold_otsu

from hou_synth.stain import deconvolve

WHITE = 225.0  # grey level above which a pixel is glass; ours
_SHIFTS = [(41, 17), (-23, 45), (67, -31), (-53, -37), (19, 71), (89, 13), (-11, -97), (113, 59), (-131, 29)]


@dataclasses.dataclass(frozen=True)
class Tissue:
    """Everything that synthesis takes from one tile.

    Attributes:
        image: (h, w, 3) uint8 RGB, the tile.
        background: (h, w, 3) uint8 RGB, the tile without its nuclei.
        eosin: (h, w) uint8, eosin scaled from its minimum (0) to its maximum (255).
        grain: (h, w) uint8, eosin against its surroundings as a rank, 0 lowest to 255 highest.
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


def otsu_share(haematoxylin):
    """Share of pixels above Otsu's threshold of haematoxylin, 0 to 1."""
    return float(np.mean(haematoxylin > threshold_otsu(haematoxylin)))


def global_super_segmentation(haematoxylin, config):
    """Mask that should contain every nucleus, by Otsu's threshold [paper; release].

    The share of pixels above Otsu's threshold grows by `super_factor`; the mask is smoothed and dilated.

    Args:
        haematoxylin: (h, w) float32.
        config: `Synthesis`.

    Returns:
        (h, w) bool.
    """
    share = min(1.0, config.super_factor * otsu_share(haematoxylin))
    mask = (haematoxylin > np.quantile(haematoxylin, 1.0 - share)).astype(np.float32)
    mask = (cv2.GaussianBlur(mask, (0, 0), 0.5) > 0.5).astype(np.uint8)
    return cv2.dilate(mask, _disc(config.super_grow)).astype(bool) if config.super_grow else mask.astype(bool)


def local_super_segmentation(haematoxylin, config):
    """Mask that should contain every nucleus, pale and vesicular ones too [ours].

    The threshold lies `super_level` of the way from the local background to the mean nuclear level; small
    holes, the clear centres of vesicular nuclei, are filled.

    Args:
        haematoxylin: (h, w) float32.
        config: `Synthesis`.

    Returns:
        (h, w) bool.
    """
    smooth = cv2.GaussianBlur(haematoxylin, (0, 0), 1.5)
    below = smooth < threshold_otsu(smooth)
    base = local_mean(smooth, below, 40.0)
    mask = (smooth > base + config.super_level * (smooth[~below].mean() - base)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disc(3))
    _, holes, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < config.area_small
    small[0] = False
    mask[small[holes]] = 1
    return cv2.dilate(mask, _disc(config.super_grow)).astype(bool)


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
    values = values.reshape(height, width, -1).astype(np.float32)
    total = values[mask].mean(0) if mask.any() else values.mean((0, 1))
    weight = mask.astype(np.float32)
    stack = np.dstack([(values - total) * weight[..., None], weight])
    small = cv2.resize(stack, (max(width // 4, 1), max(height // 4, 1)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / 4)
    mean = small[..., :-1] / np.maximum(small[..., -1:], 1e-3)
    mean = cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR).reshape(values.shape)
    return (mean + total).squeeze()


def inpainted(image, mask, config):
    """Tile without its nuclei, by Telea's inpainting [paper; release].

    Args:
        image: (h, w, 3) uint8 RGB.
        mask: (h, w) bool, the pixels to replace.
        config: `Synthesis`.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    return cv2.inpaint(image, mask.astype(np.uint8), config.inpaint_radius, cv2.INPAINT_TELEA)


def retextured(image, mask):
    """Tile without its nuclei, filled with the fine structure of its own background [ours].

    Telea's fill is smooth, so a network learns to tell it from tissue. Here a pixel gets the local mean of
    the background plus the deviation from it somewhere else in the tile.

    Args:
        image: (h, w, 3) uint8 RGB.
        mask: (h, w) bool, the pixels to replace.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    mean = local_mean(image, ~mask, 8.0)
    deviation = image - mean
    filled = np.where(mask[..., None], 0.0, deviation).astype(np.float32)
    todo = mask.copy()
    for dy, dx in _SHIFTS:
        usable = todo & ~np.roll(mask, (dy, dx), (0, 1))
        filled[usable] = np.roll(deviation, (dy, dx), (0, 1))[usable]
        todo &= ~usable
    edge = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)[..., None] * mask[..., None]
    blend = np.where(edge > 0, mean + filled, image)
    return np.clip(np.rint(blend), 0, 255).astype(np.uint8)


def nuclear_colour(image, haematoxylin, config):
    """Mean colour of the sub-segmentation, whose regions lie inside nuclei [paper; release].

    Args:
        image: (h, w, 3) uint8 RGB.
        haematoxylin: (h, w) float32.
        config: `Synthesis`.

    Returns:
        (3,) float32 in grey levels.

    Raises:
        ValueError: if there is no such pixel or all channels are brighter than `colour_max`.
    """
    low = np.quantile(haematoxylin, 1.0 - config.sub_factor * otsu_share(haematoxylin))
    inside = (haematoxylin >= low) & (haematoxylin <= np.percentile(haematoxylin, config.sub_top))
    colour = image[inside].mean(0).astype(np.float32) if inside.any() else np.full(3, 255, np.float32)
    if (colour > config.colour_max).all():
        raise ValueError(
            f"Expected a nuclear colour of at most {config.colour_max:.0f} in some channel. "
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
    size = (columns * config.cell, rows * config.cell)
    cells = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
    cells = cells.reshape(rows, config.cell, columns, config.cell, 3)
    spread = cells.std(axis=(1, 3)).mean(-1)
    glass = cells.mean(axis=(1, 3, 4)) > WHITE
    return (cv2.blur(spread, (3, 3)) >= config.tissue_std) & ~glass


def _spread(values):
    """Values scaled from their minimum to their maximum, as uint8."""
    low, high = values.min(), values.max()
    return ((values - low) * (255.0 / max(high - low, 1e-6))).astype(np.uint8)


def _rank(values):
    """Rank of every value among all, as uint8."""
    edges = np.quantile(values[::3, ::3], np.linspace(0, 1, 257)[1:-1])
    return np.searchsorted(edges, values).astype(np.uint8)


def tissue(image, config):
    """Appearance of one tile, prepared once.

    Args:
        image: (h, w, 3) uint8 RGB at 40X.
        config: `Synthesis`.

    Returns:
        A `Tissue`.

    Raises:
        ValueError: if the tile is blank or has no nuclear colour.
    """
    cells = tissue_cells(image, config)
    if not cells.any():
        raise ValueError("Expected some tissue. Received: a blank tile.")
    haematoxylin, eosin = deconvolve(image)
    colour = nuclear_colour(image, haematoxylin, config)
    if config.super_level:
        background = retextured(image, local_super_segmentation(haematoxylin, config))
    else:
        background = inpainted(image, global_super_segmentation(haematoxylin, config), config)
    return Tissue(
        image=image,
        background=background,
        eosin=_spread(eosin),
        grain=_rank(eosin - cv2.GaussianBlur(eosin, (0, 0), 8.0)),
        colour=colour,
        density=otsu_share(haematoxylin) / config.density_unit,
        cells=cells,
    )
