"""A sheet to look at: what is made of the tiles of each tissue type."""

import cv2
import numpy as np

from data import synthetic
from hou_synth.io import files
from hou_synth.synthesis import initial_patch

COLUMNS = ("tile", "its background", "nuclei", "initial patch")
HEAD, LETTER = 18, 8  # pixels of the line of text above a row, and of a letter
SHOWN = 192  # smaller patches are enlarged by a whole number to this or more


def draw(bank, path, config, side, count=1, seed=0):
    """Draws a row for each of a few tiles of every type: tile, background, painted mask and initial patch.

    Args:
        bank: `data.tiles.Bank`.
        path: PNG to write.
        config: `Synthesis`.
        side: of a patch.
        count: tiles of each type, chosen at random.
        seed: of what is random.

    Raises:
        ValueError: if no tile has room for a patch.
    """
    fitting, rows, scale = bank.fitting(side), [], -(-SHOWN // side)
    for number, kind in enumerate(bank.types):
        random = np.random.default_rng([seed, number])
        group = [tile for tile in fitting if tile.type == kind]
        for place in random.permutation(len(group))[:count]:
            pictures = _pictures(random, group[place], fitting, side, config)
            row = np.hstack(pictures).repeat(scale, 0).repeat(scale, 1)
            rows.append(_titled(row, [group[place].name, *COLUMNS[1:]]))
    files.write_png(path, np.vstack(rows))


def _pictures(random, tile, tiles, side, config):
    """The pictures of a row, (s, s, 3) uint8 each: all of one place of the tile."""
    corner = synthetic.anywhere(random, tile.image.shape[:2], side)
    others = [tiles[number] for number in random.integers(len(tiles), size=2)]
    patch = initial_patch.initial(random, synthetic.source(random, tile, others, corner, side, config), config)
    image, background = (synthetic.crop(layer, corner, side) for layer in (tile.image, tile.background))
    shades = np.random.default_rng(0).integers(80, 256, (int(patch.labels.max()) + 1, 3)).astype(np.uint8)
    shades[0] = 0
    return image, background, shades[patch.labels], patch.image


def _titled(row, texts):
    """A row with a text above each of its pictures, of which the end is shown if it is too long."""
    head, width = np.full((HEAD, row.shape[1], 3), 255, np.uint8), row.shape[1] // len(texts)
    for number, text in enumerate(texts):
        place = 4 + number * width, 13
        cv2.putText(head, text[-(width // LETTER) :], place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([head, row])
