"""Background of a patch: tissue without nuclei, jittered, hazy, with things that are no nuclei."""

import dataclasses
import math

import cv2
import numpy as np

from hou_synth.synthesis import polygons
from hou_synth.synthesis.interior import random_kernel
from hou_synth.synthesis.stain import haematoxylin_shift

RELEASE_AREA = 460 * 460  # canvas on which the release counts its nuclei and distractors
STAR_TRIES = 10  # places of a star, of which the first that is seen is taken; release 100
STAR_BLURS = 3, 3, 3, 5, 5  # kernels on the stars' specks; release (7 in 2 % left out)


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


def hazed(random, background, labels, colour, config):
    """Background with haematoxylin outside of nuclei: what only looks at the colour must not pass for a nucleus [ours].

    A smooth haze anywhere, and one around the nuclei, as of basophilic cytoplasm and of nuclei out of focus, so that
    nuclei stand out from their surroundings by shape and contrast alone.

    Args:
        random: `numpy.random.Generator`.
        background: (s, s, 3) float32 grey levels.
        labels: (s, s) uint16 instance mask.
        colour: (3,) float32 nuclear colour.
        config: `Synthesis`.

    Returns:
        (s, s, 3) float32.
    """
    side, half = len(labels), -(-len(labels) // 2)  # at half the resolution: quicker, and as smooth
    knots = int(random.integers(3, 3 + side // 12))
    rough = random.random((knots, knots), np.float32) - np.float32(random.uniform(0.0, 0.7))
    field = np.clip(cv2.resize(rough, (half, half), interpolation=cv2.INTER_CUBIC), 0.0, 1.0)
    near = cv2.resize((labels > 0).astype(np.float32), (half, half), interpolation=cv2.INTER_AREA)
    near = np.minimum(2.0 * cv2.GaussianBlur(near, (0, 0), random.uniform(1.0, 4.0)), 1.0)
    field = np.maximum(random.uniform(0.0, config.haze) * field, random.uniform(0.0, config.halo) * near)
    field = cv2.resize(field, (side, side), interpolation=cv2.INTER_LINEAR)
    depths = np.log(np.maximum(colour, 1.0) / 255.0).tolist()
    return cv2.multiply(background, cv2.exp(cv2.merge([depth * field for depth in depths])))


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
    own = (8, 16, number), (config.distractor_low, config.distractor_high, stars)
    radii = np.concatenate([random.uniform(*each) for each in own]).astype(np.float32)
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


def starred(random, background, texture, colour, config):
    """Background with the darkest or brightest specks of ragged stars, which are no nuclei [release].

    Each star has its own quadrilateral. Of its pixels stay those where a texture with strong salt noise is highest.

    Args:
        random: `numpy.random.Generator`.
        background: (s, s, 3) float32 grey levels.
        texture: (s, s) uint8 eosin, which also paints the stars.
        colour: (3,) float32 nuclear colour.
        config: `Synthesis`.

    Returns:
        (s, s, 3) float32.
    """
    side = len(background)
    canvas = side + 2 * config.margin
    number = int(random.integers(config.distractors + 1) * (canvas * canvas / RELEASE_AREA) + random.random())
    if number == 0:
        return background
    mask = np.zeros((side, side), np.uint8)
    cv2.fillPoly(mask, list(_stars(random, number, canvas, config) - config.margin), 1)
    salt = np.frombuffer(random.bytes(side * side), np.uint8).reshape(side, side)
    salted = texture + np.float32(random.uniform(0.2, 0.5)) * salt
    kept = mask.view(bool) & (salted > np.quantile(salted, 1.0 - config.distractor_kept))
    kernel = random_kernel(random, STAR_BLURS[int(random.integers(len(STAR_BLURS)))])
    opacity = cv2.filter2D(kept.astype(np.float32), -1, kernel)[..., None]
    tone = colour * random.uniform(0.91, 1.09, 3) * (config.eosin_top / 255.0)
    paint = texture[..., None] * tone.astype(np.float32) + random.uniform(-6.0, 6.0, 3).astype(np.float32)
    return background * (1.0 - opacity) + paint * opacity


def _stars(random, number, canvas, config):
    """(number, p, 2) int32 outlines of stars that lie at least partly on the canvas."""
    ragged = dataclasses.replace(config, vertices_low=40, vertices_high=40, smoothing=0.0)
    tries = number * STAR_TRIES
    radii = random.uniform(config.distractor_low, config.distractor_high, tries).astype(np.float32)
    places = random.random((tries, 1, 2)) * canvas * (1.0 + config.quadrilateral)
    views = polygons.bilinear(random, canvas, number, config).repeat(STAR_TRIES, axis=0)
    points = polygons.seen(polygons.outlines(random, radii, ragged, (1.0, 1.0)) + places, views, canvas)
    visible = ((points >= 0) & (points < canvas)).all(-1).any(-1).reshape(number, STAR_TRIES)
    return points.reshape(number, STAR_TRIES, -1, 2)[np.arange(number), visible.argmax(axis=1)]


def _painted(outlines, side, sigma, broken=None):
    """(side, side) float32 blurred mask of polygons, without the broken pixels."""
    paint = np.zeros((side, side), np.float32)
    cv2.fillPoly(paint, list(outlines), 1.0)
    if broken is not None:
        paint[broken] = 0.0
    size = 2 * math.ceil(3 * sigma) + 1
    return cv2.GaussianBlur(paint, (size, size), sigma)
