"""Initial synthesis, slow and plain: the reference that the fast code agrees with within sampling error.

Follows the release's column of the table of initial synthesis, row by row: one nucleus at a time, masks of the
whole canvas, float64, no tricks. Numbers come from the configuration only. It shares dataclasses and the
definition of the stains with the package, and no function of the synthesis.
"""

import dataclasses
import io
import math

import cv2
import numpy as np
import PIL.Image
from scipy import ndimage

from hou_synth.synthesis.initial_patch import Patch
from hou_synth.synthesis.stain import haematoxylin_shift

RELEASE_CANVAS = 460  # side of the canvas on which the release counts
STEEPEST = 1.6  # largest ratio of depths of a perspective; ours
NOISE = (1.6, 1.3, 2.6)  # grey levels in R, G, B; release
POINTS = 32  # of a smoothed outline; ours
COARSE = 8  # pixels of a structure that is no detail; ours


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlainPatch(Patch):
    """A `Patch` and its `overlap`: mean share of a nucleus that was covered when it was drawn (nan without any)."""

    overlap: float


def initial(random, source, config):
    """I = A M + B (1 - M): A nuclear texture, B background, M blurred mask with cleared interiors."""
    side = len(source.background)
    canvas = side + 2 * config.margin
    own = config.density or source.density
    density, largest = crowded(random, own, config)
    count = number_of_nuclei(random, canvas, density, config)
    bias = min(size_bias(random, own, config), largest)
    draw = mask_on_tissue if config.tissue_redraws else instance_mask
    whole, overlap = draw(random, canvas, count, bias, source, config)
    patch = slice(config.margin, config.margin + side)
    labels = renumbered(whole[patch, patch])
    edge = contours(labels)
    background = distracted(random, jittered(random, source.background, config), source, config)
    if config.haze or config.halo:
        background = hazed(random, background, labels, source.colour, config)
    texture = nuclear_texture(random, labels, edge, source, config)
    opacity = cleared(random, labels, edge, source.clearing, config)
    opacity = blurred(random, parted(random, labels, opacity, config), config)
    image = np.empty((side, side, 3))
    for channel in range(3):
        image[..., channel] = texture[..., channel] * opacity + background[..., channel] * (1 - opacity)
    if config.camera:
        image = photographed(random, image, config.camera)
    image = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    marked = centres(renumbered(whole))[patch, patch] if config.whole_centres else centres(labels)
    return PlainPatch(image=image, labels=labels, centres=marked, contours=edge, overlap=overlap)


# Row "number of nuclei"


def crowded(random, density, config):
    """Density and largest size bias of a patch: in a crowded one there are many nuclei, none of them large; ours."""
    if random.random() >= config.crowd:
        return density, math.inf
    return max(density, random.uniform(4, 9)), random.uniform(0.65, 1)


def number_of_nuclei(random, canvas, density, config):
    """N = clip(Normal(20 + 30 d, 40), 0, 256) on 460x460, scaled by area and rounded up or down at random.

    Where the density is the program's, N is cut to a whole number first.
    """
    if density <= 1 and random.random() < config.empty_probability:
        return 0
    number = random.normal(config.count_base + config.count_density * density, config.count_spread)
    number = int(number) if config.density else number
    number = min(max(number, 0), config.count_max) * (canvas / RELEASE_CANVAS) ** 2
    return math.floor(number + random.random())


# Row "polygon"


def size_bias(random, density, config):
    """Factor on the radii of all nuclei of a patch, Normal(1.2 + d / 8, 0.32) but never tiny."""
    mean = config.size_bias + config.size_bias_density * density
    return max(random.normal(mean, config.size_bias_spread), 0.4)


def nuclear_radius(random, bias, config):
    """Mean radius of one nucleus, U(8.5, 13) x size bias, with a spread of single nuclei if configured."""
    spread = math.exp(config.size_spread * random.normal())
    return random.uniform(config.radius_low, config.radius_high) * bias * spread


def polygon(random, radius, spikiness, config):
    """Corners (n, 2) of one polygon around the origin: points on a circle, moved along and across it."""
    number = random.integers(config.vertices_low, config.vertices_high + 1)
    irregularity = min(random.uniform(config.irregularity_low, config.irregularity_high), 1.0)
    steps = [max(1 + irregularity * random.uniform(-1, 1), 0.05) for _ in range(number)]
    spread = random.uniform(*spikiness)
    angle = random.uniform(0, 2 * math.pi)
    corners, total = [], sum(steps)
    for step in steps:
        angle += 2 * math.pi * step / total
        distance = min(max(random.normal(radius, spread * radius), 0), 2 * radius)
        corners.append((distance * math.cos(angle), distance * math.sin(angle)))
    return smoothed(corners, config.smoothing) if config.smoothing else np.array(corners)


def smoothed(corners, smoothing):
    """Polygon of 32 points that are Gaussian means of the corners nearby on the ring; ours."""
    number, points = len(corners), []
    for k in range(POINTS):
        position = k * number / POINTS
        weights = []
        for corner in range(number):
            steps = abs(position - corner)
            steps = min(steps, number - steps)
            weights.append(math.exp(-0.5 * (steps / (0.6 * smoothing)) ** 2))
        points.append(np.array(weights) @ corners / sum(weights))
    return np.array(points)


# Row "shape correlation"


def perspective(random, canvas, config):
    """3x3 homography of a patch: the corners of a larger canvas, moved inwards, become those of the canvas."""
    move = config.quadrilateral * canvas
    large = canvas + move
    target = np.float32([(0, 0), (canvas, 0), (canvas, canvas), (0, canvas)])
    while True:
        corners = []
        for x, y in [(0, 0), (large, 0), (large, large), (0, large)]:
            dx, dy = random.uniform(0, 1, 2) * move
            corners.append((x + dx if x == 0 else x - dx, y + dy if y == 0 else y - dy))
        homography = cv2.getPerspectiveTransform(np.float32(corners), target)
        back = np.linalg.inv(homography)
        back /= back[2, 2]
        depths = [back[2] @ (x, y, 1) for x, y in target]
        if max(depths) < STEEPEST * min(depths):
            return homography


def mapped(homography, points):
    """Points (n, 2) seen through a homography."""
    x, y, w = homography @ np.column_stack([points, np.ones(len(points))]).T
    return np.column_stack([x / w, y / w])


# Rows "overlap" and "where"


def somewhere(random, canvas, tissue):
    """A place (x, y) on the canvas: anywhere in a random cell of tissue."""
    rows, columns = np.nonzero(tissue)
    chosen = random.integers(len(rows))
    x = (columns[chosen] + random.random()) * canvas / tissue.shape[1]
    y = (rows[chosen] + random.random()) * canvas / tissue.shape[0]
    return x, y


def stretched(random, shape, direction, spread, elongation):
    """Polygon drawn out along about the patch's direction by the root of the ratio of the axes, and narrowed by it."""
    angle, factor = random.normal(direction, spread), math.exp(abs(random.normal(0, elongation)) / 2)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return shape @ turn * (factor, 1 / factor) @ turn.T


def drawn(random, canvas, bias, homography, tissue, lie, config):
    """Mask of one nucleus on the whole canvas, bool."""
    shape = polygon(random, nuclear_radius(random, bias, config), (config.spikiness_low, config.spikiness_high), config)
    shape = stretched(random, shape, *lie, config.elongation) if config.elongation else shape
    origin = mapped(np.linalg.inv(homography), [somewhere(random, canvas, tissue)])
    points = np.rint(mapped(homography, shape + origin)).astype(np.int32)
    mask = np.zeros((canvas, canvas), np.uint8)
    cv2.fillPoly(mask, [points], 1)
    return mask > 0


def instance_mask(random, canvas, count, bias, source, config):
    """Labels on the canvas, and the mean share of a nucleus that was covered when it was drawn.

    A nucleus of under 47 pixels or of over 15 % covered is redrawn, shape and place, up to 50 times, and left
    out after that. It takes the free pixels only.
    """
    labels, shares = np.zeros((canvas, canvas), np.uint16), []
    if count == 0 or not source.cells.any():
        return labels, math.nan
    homography = perspective(random, canvas, config)
    lie = random.uniform(0, math.pi), random.uniform(0, math.pi / 2)  # direction, and how far single ones differ
    for _ in range(count):
        for _ in range(config.redraws):
            mask = drawn(random, canvas, bias, homography, source.cells, lie, config)
            area = mask.sum()
            covered = (mask & (labels > 0)).sum()
            if area >= config.drawn_area_min and covered <= config.overlap * area:
                shares.append(covered / area)
                labels[mask & (labels == 0)] = len(shares)
                break
    return labels, float(np.mean(shares)) if shares else math.nan


def mask_on_tissue(random, canvas, count, bias, source, config):
    """As `instance_mask`, drawn as the authors' program does.

    Nuclei of whole radii lie anywhere on a larger canvas, of which a bilinear quadrilateral is seen. One under 47
    pixels or with a pixel off tissue is redrawn up to 500 times, and after that one of over 15 % covered is, up to 50
    times; whatever came last stays.
    """
    labels, shares = np.zeros((canvas, canvas), np.uint16), []
    tissue, view = tissue_of_background(source.background, config), bilinear_view(random, canvas, config)
    spikiness = config.spikiness_low, config.spikiness_high
    for number in range(1, count + 1):
        for _ in range(config.redraws + 1):
            for _ in range(config.tissue_redraws if tissue.any() else 1):
                radius = int(nuclear_radius(random, bias, config))
                mask = through(view, polygon(random, radius, spikiness, config), random, canvas, config)
                if mask.sum() >= config.drawn_area_min and not (mask & ~tissue).any():
                    break
            covered = (mask & (labels > 0)).sum()
            if covered <= config.overlap * mask.sum():
                break
        if mask.any():
            shares.append(covered / mask.sum())
        labels[mask & (labels == 0)] = number
    return labels, float(np.mean(shares)) if shares else math.nan


def tissue_of_background(background, config):
    """Pixels, on the canvas, of cells whose mean channel std is at least 8; beyond the patch it is mirrored."""
    canvas = len(background) + 2 * config.margin
    cells = math.ceil(canvas / config.cell)
    after = cells * config.cell - len(background) - config.margin
    wide = np.pad(background.astype(float), ((config.margin, after), (config.margin, after), (0, 0)), "symmetric")
    tissue = np.zeros(wide.shape[:2], bool)
    for top in range(0, len(wide), config.cell):
        for left in range(0, len(wide), config.cell):
            cell = slice(top, top + config.cell), slice(left, left + config.cell)
            tissue[cell] = wide[cell].std((0, 1)).mean() >= config.tissue_std
    return tissue[:canvas, :canvas]


def bilinear_view(random, canvas, config):
    """Place (x, y) on the larger canvas of every pixel of the canvas, two (canvas, canvas) arrays of whole numbers."""
    move = config.quadrilateral * canvas
    large = canvas + move
    corners = np.array([(0, 0), (large, 0), (0, large), (large, large)], float)
    corners += np.array([(1, 1), (-1, 1), (1, -1), (-1, -1)]) * random.uniform(0, move, (4, 2))
    along = (np.arange(canvas) + 0.5) / canvas
    u, v = along[None, :, None], along[:, None, None]
    upper = (1 - u) * corners[0] + u * corners[1]
    lower = (1 - u) * corners[2] + u * corners[3]
    places = ((1 - v) * upper + v * lower).astype(int)
    return places[..., 0], places[..., 1]


def through(view, shape, random, canvas, config):
    """Mask, on the canvas, of a polygon that lies anywhere on the larger canvas."""
    large = math.ceil(canvas * (1 + config.quadrilateral)) + 1
    points = np.floor(shape + random.uniform(0, canvas * (1 + config.quadrilateral), 2)).astype(np.int32)
    mask = np.zeros((large, large), np.uint8)
    cv2.fillPoly(mask, [points], 1)
    x, y = view
    return mask[y, x] > 0


def renumbered(labels):
    """Labels 1 to n without gaps, in the same order."""
    result = np.zeros_like(labels)
    for new, old in enumerate(np.unique(labels[labels > 0]), 1):
        result[labels == old] = new
    return result


# Row "background", its last part, and row "distractors"


def jittered(random, background, config):
    """Background plus U(0, 0.04) haematoxylin, jittered by +-0.9 % and +-0.6 levels in each channel."""
    factor, offset = haematoxylin_shift(random.uniform(0, config.background_haematoxylin))
    result = np.empty(background.shape)
    for channel in range(3):
        gain = 1 + config.background_gain * random.uniform(-1, 1)
        shift = config.background_shift * random.uniform(-1, 1)
        result[..., channel] = background[..., channel] * float(factor[channel]) * gain + float(offset[channel]) + shift
    return result


def distracted(random, background, source, config):
    """Background with 0 to 4 blurred in-between polygons and 0 to 99 broken stars on 460x460."""
    side, colour = len(background), source.colour
    share = (side / RELEASE_CANVAS) ** 2
    number = math.floor(random.integers(config.between + 1) * share + random.random()) if config.between else 0
    paint = painted(random, side, number, (8, 16), (0.1, 0.3), config)
    paint = random.uniform(0.25, 0.5) * ndimage.gaussian_filter(paint, random.uniform(2, 4), mode="mirror")
    background = paint[..., None] * colour + (1 - paint[..., None]) * background
    if config.distractor_kept:
        return starred(random, background, source, config)
    number = math.floor(random.integers(config.distractors + 1) * share + random.random()) if config.distractors else 0
    paint = painted(random, side, number, (config.distractor_low, config.distractor_high), (0.3, 0.7), config)
    paint[random.random((side, side)) < random.uniform(0, 0.15)] = 0
    paint = ndimage.gaussian_filter(paint, random.uniform(0.5, 1), mode="mirror")
    return paint[..., None] * colour + (1 - paint[..., None]) * background


def starred(random, background, source, config):
    """Background with stars, each through a quadrilateral of its own; 15 % of a salted texture's pixels are kept."""
    side = len(background)
    canvas = side + 2 * config.margin
    number = math.floor(random.integers(config.distractors + 1) * (canvas / RELEASE_CANVAS) ** 2 + random.random())
    ragged = dataclasses.replace(config, vertices_low=40, vertices_high=40, smoothing=0.0)
    mask = np.zeros((canvas, canvas), bool)
    for _ in range(number):
        view, star = bilinear_view(random, canvas, config), np.zeros_like(mask)
        while not star.any():
            radius = random.uniform(config.distractor_low, config.distractor_high)
            star = through(view, polygon(random, radius, (1, 1), ragged), random, canvas, config)
        mask |= star
    patch = slice(config.margin, config.margin + side)
    salted = source.eosin / 255 + random.uniform(0.2, 0.5) * random.uniform(0, 1, (side, side))
    kept = mask[patch, patch] & (salted > np.percentile(salted, 100 - 100 * config.distractor_kept))
    size = random.choice((3, 5), p=(0.6, 0.4))
    kept = ndimage.correlate(kept.astype(float), random_kernel(random, size), mode="mirror")
    result, texture = np.empty(background.shape), source.eosin / 255 * config.eosin_top
    for channel in range(3):
        paint = texture * source.colour[channel] * random.uniform(0.91, 1.09) + random.uniform(-6, 6)
        result[..., channel] = kept * paint + (1 - kept) * background[..., channel]
    return result


def hazed(random, background, labels, colour, config):
    """Background under a smooth haze of the nuclear colour anywhere, or under one that surrounds the nuclei; ours."""
    side = len(labels)
    knots = random.integers(3, 3 + side // 12)
    rough = random.uniform(0, 1, (knots, knots)) - random.uniform(0, 0.7)
    anywhere = np.clip(cv2.resize(rough, (side, side), interpolation=cv2.INTER_CUBIC), 0, 1)
    near = ndimage.gaussian_filter((labels > 0).astype(float), random.uniform(2, 8), mode="mirror")
    around = np.clip(2 * near, 0, 1)
    haze = np.maximum(random.uniform(0, config.haze) * anywhere, random.uniform(0, config.halo) * around)
    result = np.empty(background.shape)
    for channel in range(3):
        result[..., channel] = background[..., channel] * (max(float(colour[channel]), 1.0) / 255) ** haze
    return result


def painted(random, side, number, radii, spikiness, config):
    """Mask (side, side) of polygons anywhere, 0.0 or 1.0."""
    mask = np.zeros((side, side), np.uint8)
    for _ in range(number):
        shape = polygon(random, random.uniform(*radii), spikiness, config) + random.uniform(0, side, 2)
        cv2.fillPoly(mask, [np.rint(shape).astype(np.int32)], 1)
    return mask.astype(float)


# Row "nuclear texture"


def nuclear_texture(random, labels, edge, source, config):
    """Eosin in [0, 1.3] times nuclear colour, plus noise, at times blurred, times a smooth field."""
    side = len(labels)
    field = smooth_field(random, side, config.field)
    image = np.empty((side, side, 3))
    density = optical_density(random, labels, edge, source, config) * field if config.optical else None
    kernel = random_kernel(random, random.choice((3, 5))) if random.random() < config.texture_blur else None
    crop = source.detail.astype(float)
    fine = np.stack([crop[..., channel] - coarse(crop[..., channel]) for channel in range(3)])
    strength = np.sqrt(fine.var((1, 2)).mean())
    share = config.detail * random.uniform(0.7, 1.3) * min(1, 25 / max(strength, 1))  # damped to that of nuclei; ours
    for channel in range(3):
        level = float(source.colour[channel])
        if config.optical:
            plane = 255 * (max(level, 1.0) / 255) ** density
        else:
            plane = source.eosin / 255 * config.eosin_top * level
        plane = plane + share * (crop[..., channel] - coarse(crop[..., channel]))
        plane = plane + config.texture_noise * NOISE[channel] * random.uniform(-1, 1, (side, side))
        if kernel is not None:
            plane = ndimage.correlate(plane, kernel, mode="mirror")
        image[..., channel] = plane if config.optical else plane * field
    if config.covered:
        share = random.uniform(config.covered, 1)
        for channel in range(3):
            tissue = np.maximum(coarse(source.background[..., channel].astype(float)), 1) / 255
            image[..., channel] = np.minimum(image[..., channel], 255 * tissue**share)
    return image


def optical_density(random, labels, edge, source, config):
    """Density around 1 instead of the eosin: coarse eosin, a tone and chromatin for every nucleus; ours."""
    eosin = coarse(source.eosin.astype(float)) / source.eosin.mean() - 1
    density = 1 - config.eosin_contrast * eosin
    if config.chromatin:
        depth = depths(labels, edge)
        width = random.uniform(1, 2.5)
        lumps, grains = (smooth_noise(random, len(labels), random.uniform(*size)) for size in ((3, 7), (1.5, 4)))
    owner = np.where(labels > 0, labels, ndimage.grey_dilation(labels, (9, 9)))  # boundaries blur beyond the nuclei
    for nucleus in range(labels.max() + 1):
        inside = owner == nucleus
        density[inside] *= random.uniform(config.tone_low, config.tone_high)
        if config.chromatin:
            large = (labels == nucleus).sum() > config.vesicular_area
            membrane = np.exp(-((depth[inside] / width) ** 2))
            density[inside] *= chromatin(random, membrane, lumps[inside], grains[inside], large, config)
    return density


def depths(labels, edge):
    """Distance of every pixel from the contour of its nucleus, which goes on beyond the patch; 0 outside."""
    interior = np.pad((labels > 0) & ~edge, 1, mode="edge")
    return ndimage.distance_transform_edt(interior)[1:-1, 1:-1]


def chromatin(random, membrane, lumps, grains, large, config):
    """Density at the pixels of one nucleus: dark membrane and clumps on a ground that is pale if it is vesicular."""
    vesicular = large and random.random() < config.vesicular
    ground = random.uniform(0.1, 0.6) if vesicular else random.uniform(0.7, 1)
    membrane = random.uniform(0.5, 1.3) * membrane
    lumps = np.clip(lumps - random.uniform(-0.2, 1.3), 0, 1)
    density = ground + (1 - ground) * np.maximum(membrane, lumps)
    density += ground * np.maximum(membrane - 1, 0)  # a membrane darker than 1 stays so
    return density * np.maximum(1 + random.uniform(0, config.chromatin) * grains, 0.3)


def smooth_noise(random, side, size):
    """Normal numbers on a grid of `size` pixels, cubic in between."""
    knots = math.floor(side / size) + 1
    return cv2.resize(random.normal(size=(knots, knots)), (side, side), interpolation=cv2.INTER_CUBIC)


def coarse(plane):
    """A plane without structures of under about 8 pixels: shrunk by area means, enlarged by cubic splines; ours."""
    side = len(plane)
    small = cv2.resize(plane, (side // COARSE, side // COARSE), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)


def smooth_field(random, side, amplitude):
    """Random values on a coarse grid of about 24 pixels, in 1 +- amplitude, bilinear in between."""
    knots = max(2, side // 24)
    return cv2.resize(random.uniform(1 - amplitude, 1 + amplitude, (knots, knots)), (side, side))


def random_kernel(random, size):
    """Positive random kernel of sum 1."""
    kernel = random.uniform(0, 1, (size, size))
    return kernel / kernel.sum()


# Rows "chromatin clearing" and "boundary blur"


def cleared(random, labels, edge, texture, config):
    """Opacity: 0 outside nuclei and in cleared interiors. The membrane is the contour, at places 3 pixels wide.

    Nothing is cleared where the texture has chromatin; ours.
    """
    side, number = len(labels), labels.max()
    percentile = clearing(random, labels, config)
    stays = cells(random, side, config.recall_cell, random.uniform(0, 0.5))
    if config.membrane:
        thick = ndimage.binary_dilation(edge, np.ones((3, 3)))
        stays |= edge | (thick & cells(random, side, config.recall_cell, 0.5))
    opacity = np.zeros((side, side))
    for nucleus in range(1, number + 1):
        inside = labels == nucleus
        opacity[inside] = random.uniform(config.opacity_low, 1)
        if not config.chromatin:
            opacity[inside & ~stays & ((texture + 0.5) / 256 < percentile / 100)] = 0  # textures are ranks
    return opacity


def clearing(random, labels, config):
    """Percentile of the texture under which nuclei are cleared: U(0, 15), 10 + U(0, 42) if they are large, or a mix."""
    if config.area_accumulated:
        return clearing_of_the_program(random, labels, config)
    mean = (labels > 0).sum() / max(labels.max(), 1)
    large_share = min(max((mean - config.area_small) / (config.area_large - config.area_small), 0), 1)
    small, large = random.uniform(0, config.clear_small), random.uniform(config.clear_base, config.clear_large)
    return large_share * large + (1 - large_share) * small


def clearing_of_the_program(random, labels, config):
    """Its percentile: the mean over the nuclei, in order, of the area of all so far, on the canvas, decides."""
    areas = [(labels > 0)[labels <= nucleus].sum() for nucleus in range(1, labels.max() + 1)]
    canvas_share = (len(labels) + 2 * config.margin) ** 2 / len(labels) ** 2
    mean = np.mean(areas) * canvas_share if areas else 0
    if mean > config.area_large:
        return random.uniform(config.clear_base, config.clear_large)
    if mean < config.area_small or random.random() < 0.4:
        return random.uniform(0, config.clear_small)
    return random.uniform(0, config.clear_large - config.clear_base)


def parted(random, labels, opacity, config):
    """Opacity that loses one share on all pixels with another nucleus among their eight neighbours; ours."""
    stays, result = 1 - random.uniform(0, config.gap), opacity.copy()
    for nucleus in range(1, labels.max() + 1):
        others = ndimage.binary_dilation((labels > 0) & (labels != nucleus), np.ones((3, 3)))
        result[(labels == nucleus) & others] *= stays
    return result


def cells(random, side, cell, probability):
    """Mask (side, side) of square cells, each set with a probability."""
    mask = np.zeros((side, side), bool)
    for top in range(0, side, cell):
        for left in range(0, side, cell):
            mask[top : top + cell, left : left + cell] = random.random() < probability
    return mask


def blurred(random, opacity, config):
    """Opacity under a random 3x3 ... 9x9 kernel; with probability 0.85 two rectangles under a 5x5 one too."""
    side = len(opacity)
    opacity = ndimage.correlate(
        opacity, random_kernel(random, random.choice(range(3, config.blur_max + 1, 2))), mode="mirror"
    )
    if random.random() < config.blur_local:
        for _ in range(2):
            top, bottom = sorted(random.integers(0, side + 1, 2))
            left, right = sorted(random.integers(0, side + 1, 2))
            again = ndimage.correlate(opacity, random_kernel(random, 5), mode="mirror")
            opacity[top:bottom, left:right] = again[top:bottom, left:right]
    return opacity


# The camera; ours


def photographed(random, image, probability):
    """Patch out of focus, noisy, in fine or coarse grains, and through JPEG of quality 40 to 95."""
    if random.random() < probability:
        image = smeared(image, random.uniform(0.4, 1.4))
    if random.random() < probability:
        grains = random.normal(size=image.shape)
        if random.random() < 0.5:
            grains = 2 * smeared(grains, 0.7)
        image = image + random.uniform(0, 9) * grains
    file = io.BytesIO()
    PIL.Image.fromarray(np.rint(np.clip(image, 0, 255)).astype(np.uint8)).save(
        file, "jpeg", quality=int(random.integers(40, 96))
    )
    return np.array(PIL.Image.open(file)).astype(float)


def smeared(image, sigma):
    """Every channel under a Gaussian."""
    return np.stack([ndimage.gaussian_filter(image[..., channel], sigma, mode="mirror") for channel in range(3)], -1)


# Row "ground truth"


def contours(labels):
    """Pixels of a nucleus with another label, or none, among their eight neighbours in the patch."""
    edge = np.zeros(labels.shape, bool)
    for nucleus in range(1, labels.max() + 1):
        inside = labels == nucleus
        edge |= inside & ~ndimage.binary_erosion(inside, np.ones((3, 3)), border_value=1)
    return edge


def centres(labels):
    """Centre of each nucleus's bounding box, the upper left one of two."""
    marked = np.zeros(labels.shape, bool)
    for nucleus in range(1, labels.max() + 1):
        rows, columns = np.nonzero(labels == nucleus)
        marked[(rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2] = True
    return marked
