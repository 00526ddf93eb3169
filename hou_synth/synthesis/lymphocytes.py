"""Lymphocytes among other nuclei: round, dark, dense, about 7 microns wide (paper Sec. 5.4).

A patch's label is what is at its centre, so a patch is drawn around its centre: a lymphocyte, another nucleus, or
whatever comes. What is drawn there comes first and lymphocytes before other nuclei, so nothing lies over a lymphocyte.
"""

import math

import numpy as np

from hou_synth.synthesis import polygons

NUCLEUS = 0.7  # share of the patches without a lymphocyte at their centre that have another nucleus there; ours
JITTER = 3.0  # pixels, farthest from the centre that the middle of either lies; ours
ALONE = 0.3  # probability that no further lymphocyte is drawn; ours
CROWD = 300  # most further ones on 460x460; ours
SPIKINESS = 0.0, 0.07  # of their outlines; ours
OVAL = 0.15  # standard deviation of the logarithm of the ratio of their axes; ours


def begun(random, side, radii, tissue, config):
    """The nucleus at the centre of a canvas, and its lymphocytes; other nuclei are to be drawn around them.

    Args:
        random: `numpy.random.Generator`.
        side: side of the canvas in pixels.
        radii: function from a number n to (n,) mean radii of other nuclei, in pixels.
        tissue: (rows, columns) bool grid over the canvas: where a nucleus may lie.
        config: `Synthesis`.

    Returns:
        (side, side) uint16 instance mask, 0 is background, nuclei 1 to n; and (n + 1,) bool, which are lymphocytes.
    """
    labels, empty, kinds = np.zeros((side, side), np.uint16), np.ones((side, side), np.uint8), [False]
    positive = random.random() < config.lymphocytes
    other = not positive and random.random() < NUCLEUS
    number = 0 if random.random() < ALONE else int(CROWD * random.random() ** 2 * (side / 460) ** 2 + random.random())
    shapes, places = round_outlines(random, number + 1, config), random.random((number + 1, 2)) * side
    places[0] = side / 2 + random.uniform(-JITTER, JITTER, 2)
    if other:
        single = polygons.outlines(random, radii(1).astype(np.float32), config)
        shapes = np.concatenate([polygons.stretched(random, single, 0.0, math.pi, config.elongation), shapes[1:]])
    drawn = [positive, *[True] * number]  # kinds
    for shape, place, kind in list(zip(shapes, places, drawn, strict=True))[not (positive or other) :]:
        outline = np.rint(shape + place).astype(np.int32)
        if on_tissue(place, tissue, side) and polygons.stamp(labels, empty, outline, len(kinds), config):
            kinds.append(kind)
    return labels, np.array(kinds)


def round_outlines(random, number, config):
    """Outlines of lymphocytes around the origin, (number, p, 2) float32 in pixels."""
    radii = random.uniform(config.lymphocyte_low, config.lymphocyte_high, number).astype(np.float32)
    return polygons.stretched(random, polygons.outlines(random, radii, config, SPIKINESS), 0.0, math.pi, OVAL)


def on_tissue(place, tissue, side):
    """Whether a place (x, y) on a canvas lies in a cell of the tissue grid."""
    column, row = (int(at * count / side) for at, count in zip(place, tissue.shape[::-1], strict=True))
    return tissue[row, column]
