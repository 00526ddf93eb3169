"""Random nuclear polygons and the instance mask that they make (paper Sec. 4.1; release)."""

import functools
import math

import cv2
import numpy as np

POINTS = 32  # points of a drawn outline; polygons of fewer vertices repeat or interpolate theirs

STEEPEST = 1.6  # largest ratio of the perspective's depths over a canvas; ours


@functools.lru_cache(maxsize=64)
def _ring(vertices, smoothing):
    """(POINTS, vertices) matrix that turns vertices into the points of an outline; rows sum to 1."""
    position = np.arange(POINTS)[:, None] * (vertices / POINTS)
    if smoothing == 0:
        return np.eye(vertices, dtype=np.float32)[np.minimum(np.arange(POINTS), vertices - 1)]
    distance = np.abs(position - np.arange(vertices))
    distance = np.minimum(distance, vertices - distance)
    weight = np.exp(-0.5 * (distance / (0.6 * smoothing)) ** 2)
    return (weight / weight.sum(1, keepdims=True)).astype(np.float32)


def outlines(random, radii, config, spikiness=None):
    """Random star-shaped polygons around the origin.

    Points on a circle, moved along it by the irregularity and across it by the spikiness [paper; release].

    Args:
        random: `numpy.random.Generator`.
        radii: (n,) mean radii in pixels.
        config: `Synthesis`.
        spikiness: (low, high) relative spread of the vertex radii; the configuration's if None.

    Returns:
        (n, 32, 2) float32, x and y in pixels.
    """
    low, high = spikiness or (config.spikiness_low, config.spikiness_high)
    result = np.empty((len(radii), POINTS, 2), np.float32)
    counts = random.integers(config.vertices_low, config.vertices_high + 1, len(radii))
    for count in np.unique(counts):
        chosen = np.flatnonzero(counts == count)
        shape = (len(chosen), count)
        jitter = np.minimum(random.uniform(config.irregularity_low, config.irregularity_high, (shape[0], 1)), 1.0)
        steps = np.maximum(1.0 + jitter * random.uniform(-1.0, 1.0, shape), 0.05)
        angles = np.cumsum(steps, axis=1) * (2 * math.pi / steps.sum(1, keepdims=True))
        angles += random.uniform(0, 2 * math.pi, (shape[0], 1))
        mean = radii[chosen, None]
        spread = random.uniform(low, high, (shape[0], 1))
        radius = np.clip(mean * (1.0 + spread * random.standard_normal(shape)), 0.0, 2.0 * mean)
        points = np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=-1).astype(np.float32)
        result[chosen] = _ring(int(count), config.smoothing) @ points
    return result


def quadrilateral(random, side, config):
    """Random perspective that is shared by all nuclei of a patch [paper; release].

    The corners of a canvas of (1 + q) sides move inwards by U(0, q) sides and are mapped onto the canvas, so
    that lengths keep their size while neighbours stretch and shear alike. Perspectives so steep that nuclei
    would fan out like rays are drawn again [ours].

    Args:
        random: `numpy.random.Generator`.
        side: side of the canvas in pixels.
        config: `Synthesis`.

    Returns:
        (3, 3) float64 homography from the larger canvas to the canvas.
    """
    move = config.quadrilateral * side
    outer = side + move
    corners = np.array([[0, 0], [outer, 0], [outer, outer], [0, outer]])
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    target = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    while True:
        inward = random.uniform(0.0, 1.0, (4, 2)) * move
        moved = (corners + signs * inward).astype(np.float32)
        back = cv2.getPerspectiveTransform(target, moved)
        depth = target @ back[2, :2] + 1.0
        if depth.max() < STEEPEST * depth.min():
            return cv2.getPerspectiveTransform(moved, target)


def placed(shapes, centres, homography):
    """Outlines on the canvas: shapes moved to their centres and seen through the shared perspective.

    Args:
        shapes: (n, p, 2) float32 outlines around the origin.
        centres: (n, 2) float32 wanted centres on the canvas.
        homography: (3, 3) from `quadrilateral`.

    Returns:
        (n, p, 2) int32 pixel coordinates.
    """
    origin = cv2.perspectiveTransform(centres[:, None].astype(np.float64), np.linalg.inv(homography))
    points = cv2.perspectiveTransform((shapes + origin).reshape(-1, 1, 2), homography)
    return np.rint(np.clip(points, -1e4, 1e4)).astype(np.int32).reshape(shapes.shape)


def stamp(labels, outline, identity, config):
    """Draws one nucleus on free pixels, if it is large enough and overlaps little.

    Args:
        labels: (h, w) uint16 instance mask, changed in place.
        outline: (p, 2) int32.
        identity: its number.
        config: `Synthesis`.

    Returns:
        Whether it was drawn.
    """
    (left, top), (right, bottom) = np.maximum(outline.min(0), 0), outline.max(0) + 1
    window = labels[top:bottom, left:right]
    if right <= left or bottom <= top or window.size < config.drawn_area_min:
        return False
    shape = np.zeros(window.shape, np.uint8)
    cv2.fillPoly(shape, [outline - (left, top)], 1)
    area = cv2.countNonZero(shape)
    shape[window > 0] = 0
    free = cv2.countNonZero(shape)
    if area < config.drawn_area_min or area - free > config.overlap * area:
        return False
    window[shape > 0] = identity
    return True


def instances(random, side, count, radii, tissue, config):
    """Instance mask of random nuclei that lie on tissue and overlap little [paper; release].

    A nucleus that is too small or overlaps too much is redrawn, shape and place, up to `config.redraws`
    times, and left out after that.

    Args:
        random: `numpy.random.Generator`.
        side: side of the canvas in pixels.
        count: wanted number of nuclei.
        radii: function from a number n to (n,) mean radii in pixels.
        tissue: (rows, columns) bool grid over the canvas: where a nucleus may lie.
        config: `Synthesis`.

    Returns:
        (side, side) uint16 instance mask, 0 is background, nuclei 1 to n.
    """
    labels = np.zeros((side, side), np.uint16)
    cells = np.argwhere(tissue)
    if count == 0 or len(cells) == 0:
        return labels
    homography = quadrilateral(random, side, config)
    drawn = 0
    for attempt in range(config.redraws):
        missing = count - drawn
        if missing == 0:
            break
        cell = cells[random.integers(len(cells), size=missing)][:, ::-1] + random.random((missing, 2))
        centres = np.minimum(cell * (side / np.array(tissue.shape[::-1])), side - 0.5).astype(np.float32)
        if attempt:
            free = labels[centres[:, 1].astype(int), centres[:, 0].astype(int)] == 0
            centres = centres[free]
        if len(centres) == 0:
            continue
        for outline in placed(outlines(random, radii(len(centres)), config), centres, homography):
            drawn += stamp(labels, outline, drawn + 1, config)
    return labels
