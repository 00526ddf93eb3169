"""Index -> example: a synthetic example is a pure function of (tile bank, seed, index)."""

import dataclasses

import cv2
import numpy as np

from data import augment, draws
from hou_synth.synthesis import initial_patch

NUCLEUS, CONTOUR, CENTRE = 1, 2, 4  # bits of the target; release
UNKNOWN, LYMPHOCYTE = 8, 16  # bits of pixels that count nothing, and of lymphocytes; ours


@dataclasses.dataclass(frozen=True)
class Example:
    """An initial synthetic patch with its truth, references and provenance.

    Attributes:
        image: (s, s, 3) uint8 RGB initial synthetic patch.
        labels: (s, s) uint16 instance labels, 0 is background.
        centres: (s, s) bool, one pixel for each nucleus.
        contours: (s, s) bool.
        reference: (s, s, 3) uint8 RGB real patch of the same tile, clear of the source crop.
        real: (s, s, 3) uint8 RGB second real patch of that tile.
        provenance: tile, tissue type, texture tiles, seed, index, corners of the crops, and their overlap.
        lymphocytes: (n + 1,) bool, which of the labels are lymphocytes; None without that kind.
    """

    image: np.ndarray
    labels: np.ndarray
    centres: np.ndarray
    contours: np.ndarray
    reference: np.ndarray
    real: np.ndarray
    provenance: dict
    lymphocytes: np.ndarray | None = None

    def target(self, losses):
        """The task network's target for this example, (s, s) uint8, see `target`."""
        bits = target(self.labels, self.centres, self.contours, losses)
        if self.lymphocytes is None:
            return bits
        return bits | self.lymphocytes.take(self.labels) * np.uint8(LYMPHOCYTE)


def target(labels, centres, contours, losses):
    """Target of the task network as bits: 1 nucleus, 2 contour, 4 detection [release].

    Args:
        labels: (s, s) uint16 instance labels, 0 is background.
        centres: (s, s) bool, one pixel for each nucleus.
        contours: (s, s) bool.
        losses: `Losses`, for the kind of detection target.

    Returns:
        (s, s) uint8.
    """
    if losses.detection == "core":
        detection = initial_patch.cores(np.ascontiguousarray(labels))
    else:
        square = np.ones((losses.centre_dilation, losses.centre_dilation), np.uint8)
        detection = cv2.dilate(centres.astype(np.uint8), square) > 0
    bits = (labels > 0) * NUCLEUS + contours * CONTOUR + detection * CENTRE
    return bits.astype(np.uint8)


def training(bank, config, index):
    """What training takes of an example: image, reference, real (s, s, 3) and target (s, s, 1) bits, uint8.

    Args:
        bank: `data.tiles.Bank`.
        config: `Config`.
        index: of the example.

    Returns:
        list of four arrays.
    """
    schedule = config.schedule
    made = example(bank, schedule.seed, index, schedule.patch, config.synthesis)
    return [made.image, made.reference, made.real, made.target(config.losses)[..., None]]


def example(bank, seed, index, side, config):
    """Example number `index` of a seed.

    Args:
        bank: `data.tiles.Bank`.
        seed: of the whole set.
        index: any integer of at least 0.
        side: of the patch, 64 to 512.
        config: `Synthesis`.

    Returns:
        An `Example`, the same for the same arguments whoever computes it.
    """
    random = np.random.default_rng([seed, index])
    tile, *others = draws.drawn(random, bank.groups(side, config), 3)
    corner, apart = corners(random, tile.image.shape[:2], side)
    second = anywhere(random, tile.image.shape[:2], side)
    patch = initial_patch.initial(random, source(random, tile, others, corner, side, config), config)
    made = Example(
        **vars(patch),
        reference=augment.turned(random, crop(tile.image, apart, side))[0],
        real=augment.turned(random, crop(tile.image, second, side))[0],
        provenance={
            "tile": tile.name,
            "type": tile.type,
            "textures": [other.name for other in others],
            "seed": seed,
            "index": index,
            "source": corner,
            "reference": apart,
            "real": second,
            "overlap": overlap(corner, apart, side),
        },
    )
    bank.free_pages(6 * side)
    return made


def source(random, tile, others, corner, side, config):
    """Crops that one patch is painted with, each turned at random.

    Args:
        random: `numpy.random.Generator`.
        tile: `data.tiles.Tile` of the background and the nuclear colour.
        others: two `Tile`s, of the nuclear texture and of the clearing.
        corner: (y, x) of the background's crop.
        side: of the patch.
        config: `Synthesis`.

    Returns:
        A `synthesis.Source`.
    """
    background, detail, cells = augment.turned(
        random,
        crop(tile.background, corner, side),
        crop(tile.image, anywhere(random, tile.image.shape[:2], side), side),
        _cells(tile, corner, side, config).view(np.uint8),
    )
    eosin, clearing = (
        augment.turned(random, crop(layer, anywhere(random, layer.shape, side), side))[0]
        for layer in (others[0].eosin, others[1].grain)
    )
    return initial_patch.Source(background, eosin, clearing, detail, tile.colour, tile.density, cells.view(bool))


def repainted(labels, tile, corner, random, config):
    """A mask painted with the tissue of a tile: one mask can be had in the style of any tissue (paper, Fig. 6).

    Args:
        labels: (s, s) uint16 instance mask.
        tile: `data.tiles.Tile` of at least that side.
        corner: (y, x) of the background's crop.
        random: `numpy.random.Generator`.
        config: `Synthesis`.

    Returns:
        A `synthesis.Patch`.
    """
    textures = source(random, tile, (tile, tile), corner, labels.shape[0], config)
    return initial_patch.painted(random, labels, textures, config)


def crop(layer, corner, side):
    """(side, side, ...) view of a tile's layer, cut at a corner (y, x)."""
    y, x = corner
    return layer[y : y + side, x : x + side]


def anywhere(random, extent, side):
    """(y, x) of a random crop on a tile of that (height, width)."""
    height, width = extent
    return int(random.integers(height - side + 1)), int(random.integers(width - side + 1))


def corners(random, extent, side):
    """Corners of a source crop and of a reference crop that does not overlap it.

    On a tile with no room for two crops side by side, the reference is the crop in the farthest corner.

    Args:
        random: `numpy.random.Generator`.
        extent: (height, width) of the tile, at least the side.
        side: of the crops.

    Returns:
        Two (y, x) tuples.
    """
    source, reference = list(anywhere(random, extent, side)), list(anywhere(random, extent, side))
    roomy = [axis for axis in (0, 1) if extent[axis] >= 2 * side]
    if not roomy:
        far = [0 if 2 * start > size - side else size - side for start, size in zip(source, extent, strict=True)]
        return tuple(source), tuple(far)
    axis = roomy[int(random.integers(len(roomy)))]
    low = int(random.integers(extent[axis] - 2 * side + 1))
    high = int(random.integers(low + side, extent[axis] - side + 1))
    source[axis], reference[axis] = (low, high) if random.integers(2) else (high, low)
    return tuple(source), tuple(reference)


def overlap(corner, other, side):
    """Share of a crop that another one of the same side covers, 0 to 1."""
    covered = [max(0, side - abs(a - b)) for a, b in zip(corner, other, strict=True)]
    return covered[0] * covered[1] / side**2


def _cells(tile, corner, side, config):
    """The tile's tissue grid over a patch and its margin; beyond the tile's border the border counts."""
    middles = range(config.cell // 2 - config.margin, side + config.margin + config.cell // 2, config.cell)
    rows, columns = (
        [min(max((start + middle) * count // extent, 0), count - 1) for middle in middles]
        for start, count, extent in zip(corner, tile.cells.shape, tile.image.shape[:2], strict=True)
    )
    return tile.cells[rows][:, columns]
