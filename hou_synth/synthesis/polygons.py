"""Random nuclear polygons and the instance mask that they make (paper Sec. 4.1; release)."""

import functools
import math

import cv2
import numpy as np

POINTS = 32  # points of a smoothed outline
STEEPEST = 1.6  # largest ratio of the perspective's depths over a canvas; ours
FAR = 1e4  # a point on the horizon of the perspective is moved here
FULL = np.float32(2 * math.pi)
LEAST_TRIES = 64  # redraws that are outlined at once; ours
CORE_COVERED = 0.25  # a redraw with more of its core covered is refused; of 10,000 such, 2 would have done; ours
TOLERANCE = 0.05  # of the covered share by points; ours
_CORE = np.float32(0.5) * np.array(
    [(1, 0), (0, 1), (-1, 0), (0, -1), (0.7, 0.7), (0.7, -0.7), (-0.7, 0.7), (-0.7, -0.7)], np.float32
)
_UNIT = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
_INWARD = 1 - 2 * _UNIT
_RINGS = np.sqrt((np.arange(4, dtype=np.float32) + 0.5) / 4)[:, None, None]  # midlines of four rings of equal area


@functools.lru_cache(maxsize=8)
def _rings(low, high, smoothing):
    """(high - low + 1, p, high) matrices that turn low...high vertices into the p points of an outline."""
    if smoothing == 0:  # the vertices themselves, some repeated
        return np.stack([np.eye(high, dtype=np.float32)[np.arange(high) * n // high] for n in range(low, high + 1)])
    rings = np.zeros((high - low + 1, POINTS, high), np.float32)
    for ring, vertices in zip(rings, range(low, high + 1), strict=True):
        distance = np.abs(np.arange(POINTS)[:, None] * (vertices / POINTS) - np.arange(vertices))
        distance = np.minimum(distance, vertices - distance)
        weight = np.exp(-0.5 * (distance / (0.6 * smoothing)) ** 2)
        ring[:, :vertices] = weight / weight.sum(1, keepdims=True)
    return rings


def outlines(random, radii, config, spikiness=None):
    """Random star-shaped polygons around the origin.

    Points on a circle, moved along it by the irregularity and across it by the spikiness [paper; release].

    Args:
        random: `numpy.random.Generator`.
        radii: (n,) float32 mean radii in pixels.
        config: `Synthesis`.
        spikiness: lowest and highest relative spread of the vertex radii, two numbers or (n, 1) arrays; the
            configuration's if None.

    Returns:
        (n, p, 2) float32, x and y in pixels; p is 32, or without smoothing the highest number of vertices.
    """
    low, high = config.vertices_low, config.vertices_high
    least, most = spikiness or (config.spikiness_low, config.spikiness_high)
    uniform = random.random((len(radii), high + 4), np.float32)
    further = (uniform[:, 0] * (high - low + 1)).astype(np.intp)  # vertices beyond the lowest number
    jitter = config.irregularity_low + uniform[:, 1:2] * (config.irregularity_high - config.irregularity_low)
    steps = 1.0 + np.minimum(jitter, 1.0) * (2.0 * uniform[:, 4:] - 1.0)
    steps = np.maximum(steps, 0.05, out=steps) * _used(low, high)[further]
    angles = steps.cumsum(axis=1)
    angles = angles * (FULL / angles[:, -1:]) + FULL * uniform[:, 2:3]
    radius = 1.0 + (least + (most - least) * uniform[:, 3:4]) * random.standard_normal(steps.shape, np.float32)
    radius = np.maximum(np.minimum(radius, 2.0), 0.0) * radii[:, None]
    points = np.empty((*steps.shape, 2), np.float32)
    np.multiply(radius, np.cos(angles), out=points[..., 0])
    np.multiply(radius, np.sin(angles), out=points[..., 1])
    return _rings(low, high, config.smoothing)[further] @ points


def stretched(random, shapes, direction, spread, elongation):
    """Outlines drawn out along directions of one tissue, as spindle cells lie; their areas stay [ours].

    Args:
        random: `numpy.random.Generator`.
        shapes: (n, p, 2) float32 outlines around the origin.
        direction: mean angle in radians.
        spread: standard deviation of the single angles, in radians.
        elongation: the logarithm of the ratio of the axes is |N(0, this)|.

    Returns:
        (n, p, 2) float32.
    """
    normal = random.standard_normal((2, len(shapes), 1), np.float32)
    longer = np.exp(np.float32(elongation / 2) * np.abs(normal[0]))
    angles = direction + spread * normal[1]
    along = np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)[:, None]
    across = np.concatenate([-along[..., 1:], along[..., :1]], axis=-1)
    long, short = ((shapes * axis).sum(-1, keepdims=True) * axis for axis in (along, across))
    return long * longer[..., None] + short / longer[..., None]


@functools.lru_cache(maxsize=8)
def _used(low, high):
    """(high - low + 1, high) float32: 1 where a polygon of low...high vertices has one."""
    return np.tri(high - low + 1, high, low - 1, dtype=np.float32)


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
        Two (3, 3) float64 homographies: from the larger canvas to the canvas, and back.
    """
    outer, reach = side * (1.0 + config.quadrilateral), side * config.quadrilateral
    while True:
        inward = random.random((4, 2)) * reach
        moved = _UNIT * outer + _INWARD * inward
        depths = _depths(*moved.tolist())
        if max(depths) < STEEPEST * min(depths):
            moved, target = moved.astype(np.float32), _UNIT * np.float32(side)
            return cv2.getPerspectiveTransform(moved, target), cv2.getPerspectiveTransform(target, moved)


def _depths(one, two, three, four):
    """Depths at the corners of the perspective that maps a square onto a quadrilateral of four (x, y)."""
    (ax, ay), (bx, by) = ((p[0] - three[0], p[1] - three[1]) for p in (two, four))
    cx, cy = (one[k] - two[k] + three[k] - four[k] for k in (0, 1))
    scale = ax * by - bx * ay
    across, down = (cx * by - bx * cy) / scale, (ax * cy - cx * ay) / scale
    return 1.0, 1.0 + across, 1.0 + across + down, 1.0 + down


def placed(shapes, centres, perspective):
    """Outlines on the canvas: shapes moved to their centres and seen through the shared perspective.

    Args:
        shapes: (n, p, 2) float32 outlines around the origin.
        centres: (n, 2) float32 wanted centres on the canvas.
        perspective: pair of homographies from `quadrilateral`.

    Returns:
        (n, p, 2) int32 pixel coordinates.
    """
    homography, back = perspective
    points = shapes + cv2.perspectiveTransform(centres[:, None], back)
    points = cv2.perspectiveTransform(points.reshape(-1, 1, 2), homography).reshape(shapes.shape)
    return np.rint(np.maximum(np.minimum(points, FAR), -FAR)).astype(np.int32)


def stamp(labels, empty, outline, identity, config):
    """Draws one nucleus on free pixels, if it is large enough and overlaps little.

    Args:
        labels: (h, w) uint16 instance mask, changed in place.
        empty: (h, w) uint8, 1 where there is no nucleus yet, changed in place.
        outline: (p, 2) int32.
        identity: its number.
        config: `Synthesis`.

    Returns:
        Whether it was drawn.
    """
    x, y, width, height = cv2.boundingRect(outline)
    left, top = max(x, 0), max(y, 0)
    window = slice(top, max(y + height, 0)), slice(left, max(x + width, 0))
    space = empty[window]
    if space.size < config.drawn_area_min:
        return False
    shape = np.zeros(space.shape, np.uint8)
    cv2.fillPoly(shape, [outline], 1, offset=(-left, -top))
    area = cv2.countNonZero(shape)
    if area < config.drawn_area_min:
        return False
    free = cv2.bitwise_and(shape, space)
    if area - cv2.countNonZero(free) > config.overlap * area:
        return False
    space -= free
    np.copyto(labels[window], identity, where=free.view(bool))
    return True


def label_map(random, side, count, radii, tissue, config, labels=None):
    """Instance mask of random nuclei that lie on tissue and overlap little [paper; release].

    A nucleus that is too small or overlaps too much is redrawn, shape and place, up to `config.redraws`
    times, and left out after that. The places of all redraws are drawn at once; redraws that a few points show
    to be covered are refused unseen, which refuses about 1 % of those that would just have done [ours, for speed].

    Args:
        random: `numpy.random.Generator`.
        side: side of the canvas in pixels.
        count: wanted number of nuclei.
        radii: function from a number n to (n,) mean radii in pixels.
        tissue: (rows, columns) bool grid over the canvas: where a nucleus may lie.
        config: `Synthesis`.
        labels: (side, side) uint16 mask of nuclei that are there already, changed in place; None for none.

    Returns:
        (side, side) uint16 instance mask, 0 is background, nuclei 1 to n; those there already keep their numbers.
    """
    labels = np.zeros((side, side), np.uint16) if labels is None else labels
    empty = (labels == 0).view(np.uint8)
    cells = np.argwhere(tissue)
    if count == 0 or len(cells) == 0:
        return labels
    perspective = quadrilateral(random, side, config)
    direction, spread = random.random(2) * (math.pi, math.pi / 2) if config.elongation else (0.0, 0.0)
    cell = cells[random.integers(len(cells), size=count * config.redraws)] + random.random((count * config.redraws, 2))
    places = np.minimum(cell * (side / np.array(tissue.shape)), side - 0.5)[:, ::-1].astype(np.float32)
    sizes = radii(len(places)).astype(np.float32)
    drawn, waiting, ahead = int(labels.max()), np.ones(count, bool), np.arange(len(places))
    while len(ahead):
        number = max(np.count_nonzero(waiting), LEAST_TRIES)
        tries, ahead = ahead[:number], ahead[number:]
        shapes = outlines(random, sizes[tries], config)
        if config.elongation:
            shapes = stretched(random, shapes, direction, spread, config.elongation)
        shapes = placed(shapes, places[tries], perspective)
        if drawn:
            likely = _covered(empty, shapes, places[tries]) <= config.overlap + TOLERANCE
            tries, shapes = tries[likely], shapes[likely]
        centres = places[tries].astype(int).tolist()
        for owner, (x, y), outline in zip((tries % count).tolist(), centres, shapes, strict=True):
            if waiting[owner] and empty[y, x] and stamp(labels, empty, outline, drawn + 1, config):
                drawn += 1
                waiting[owner] = False
        ahead = ahead[waiting[ahead % count]]
        if len(ahead):
            core = placed(_CORE * sizes[ahead, None, None], places[ahead], perspective)
            ahead = ahead[_share(empty, core) <= CORE_COVERED]
    return labels


def bilinear(random, side, number, config):
    """Random quadrilaterals that are mapped onto the canvas bilinearly, as Pillow's QUAD does [release].

    The corners of a canvas of (1 + q) sides move inwards by U(0, q) sides.

    Args:
        random: `numpy.random.Generator`.
        side: side of the canvas in pixels.
        number: of quadrilaterals.
        config: `Synthesis`.

    Returns:
        (number, 1, 4, 2) float64: origin, the two edges from there, and what is left at the opposite corner; x and y
        on the larger canvas.
    """
    outer, reach = side * (1.0 + config.quadrilateral), side * config.quadrilateral
    one, two, three, four = np.moveaxis(_UNIT * outer + _INWARD * random.random((number, 4, 2)) * reach, 1, 0)
    return np.stack([one, two - one, four - one, one - two + three - four], axis=1)[:, None]


def seen(points, quadrilaterals, side):
    """Points of the larger canvas on the canvas, through the inverse of bilinear maps.

    Args:
        points: (n, p, 2) x and y on the larger canvas.
        quadrilaterals: (1 or n, 1, 4, 2) from `bilinear`.
        side: side of the canvas in pixels.

    Returns:
        (n, p, 2) int32 pixel coordinates; far away where a folded map shows no such point.
    """
    origin, along, down, twist = np.moveaxis(quadrilaterals, 2, 0)
    offset = points - origin
    constant, linear, square = _cross(offset, along), _cross(offset, twist) + _cross(along, down), _cross(twist, down)
    root = linear * linear - 4.0 * square * constant
    with np.errstate(divide="ignore", invalid="ignore"):
        v = -2.0 * constant / (linear + np.sqrt(root))
        edge = along + v[..., None] * twist
        u = ((offset - v[..., None] * down) * edge).sum(-1) / (edge * edge).sum(-1)
    result = np.nan_to_num(np.stack([u, v], axis=-1) * side, nan=FAR)
    return np.floor(np.clip(result, -FAR, FAR)).astype(np.int32)


def _cross(one, other):
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]


def wholly_on_tissue(random, count, radii, tissue, config, labels=None):
    """Instance mask as the authors' program draws it [release].

    Nuclei lie anywhere on a larger canvas and are seen through one quadrilateral. One is redrawn, up to
    `config.tissue_redraws` times, until it is large enough and no pixel of it is off tissue, and all that again, up
    to `config.redraws` times, until it overlaps little; the last one stays in any case.

    Args:
        random: `numpy.random.Generator`.
        count: wanted number of nuclei.
        radii: function from a number n to (n,) mean radii in pixels.
        tissue: (side, side) bool, the canvas.
        config: `Synthesis`.
        labels: (side, side) uint16 mask of nuclei that are there already, changed in place; None for none.

    Returns:
        (side, side) uint16 instance mask, 0 is background, at most `count` nuclei more than there were.
    """
    labels, off = np.zeros(tissue.shape, np.uint16) if labels is None else labels, ~tissue
    view = bilinear(random, len(tissue), 1, config)
    sampled, shapes = _sampled(view, len(tissue)), _shapes(random, radii, view, off, config)
    first = int(labels.max()) + 1
    for identity in range(first, first + count):
        for _ in range(config.redraws + 1):
            window, shape = _on_tissue(shapes, sampled, off, config)
            free = shape & (labels[window] == 0)
            if np.count_nonzero(free) >= (1.0 - config.overlap) * np.count_nonzero(shape):
                break
        labels[window][free] = identity
    return labels


def _sampled(view, side):
    """(side, side, 2) x and y of the pixel of the larger canvas that each pixel of the canvas shows."""
    origin, along, down, twist = view[0, 0]
    u = (np.arange(side) + 0.5)[None, :, None] / side
    v = u.swapaxes(0, 1)
    return (origin + u * along + v * down + u * v * twist).astype(np.int32)


def _shapes(random, radii, view, off, config):
    """Endless nuclei: outline on the larger canvas, window of the canvas, whether it may lie wholly on tissue."""
    side = len(off)
    while True:
        shapes = outlines(random, np.floor(radii(LEAST_TRIES)).astype(np.float32), config)
        shapes = np.floor(shapes + random.random((len(shapes), 1, 2)) * side * (1.0 + config.quadrilateral))
        points = seen(shapes, view, side)
        inside = ((points >= 0) & (points < side)).all(-1)
        clipped = points.clip(0, side - 1)
        likely = inside.any(-1) & ~(inside & off[clipped[..., 1], clipped[..., 0]]).any(-1)
        corners = np.concatenate([points.min(1) - 1, points.max(1) + 2], axis=1).clip(0, side)
        yield from zip(shapes.astype(np.int32), corners.tolist(), likely.tolist(), strict=True)


def _on_tissue(shapes, sampled, off, config):
    """Window and mask of the next nucleus wholly on tissue, or of the last that is tried."""
    for _ in range(config.tissue_redraws):
        outline, (left, top, right, bottom), likely = next(shapes)
        window = slice(top, bottom), slice(left, right)
        if likely:
            shape = _sampled_shape(outline, sampled[window])
            if np.count_nonzero(shape) >= config.drawn_area_min and not (shape & off[window]).any():
                return window, shape
    return window, _sampled_shape(outline, sampled[window])


def _sampled_shape(outline, sampled):
    """(h, w) bool: which of the (h, w, 2) pixels of the larger canvas lie in an outline."""
    x, y, width, height = cv2.boundingRect(outline)
    shape = np.zeros((height + 2, width + 2), np.uint8)
    cv2.fillPoly(shape, [outline], 1, offset=(1 - x, 1 - y))
    rows, columns = (sampled[..., 1] - (y - 1)).clip(0, height + 1), (sampled[..., 0] - (x - 1)).clip(0, width + 1)
    return shape[rows, columns] > 0


def _covered(empty, outlines, places):
    """(n,) covered share of outlines around their places, by points on rays that stand for equal parts of a disc."""
    middle = places[:, None, None]
    points = middle + _RINGS * (outlines[:, None, ::2] - middle)
    return _share(empty, points.astype(np.int32).reshape(len(outlines), -1, 2))


def _share(empty, points):
    """(n,) share of (n, p, 2) points that lie on a nucleus; beyond the border its pixels count."""
    points = np.maximum(np.minimum(points, empty.shape[0] - 1), 0)
    return 1.0 - empty.ravel().take(points[..., 1] * empty.shape[1] + points[..., 0]).mean(axis=1)
