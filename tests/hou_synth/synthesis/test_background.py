import dataclasses

import cv2
import numpy as np
import pytest

from hou_synth import config
from hou_synth.synthesis import background

CPU = config.preset("cpu").synthesis
RELEASE = config.preset("release").synthesis
COLOUR = np.array([90, 60, 120], np.float32)
SIDE = 128


def disc():
    """Label map of one round nucleus in the middle."""
    labels = np.zeros((SIDE, SIDE), np.uint16)
    cv2.circle(labels, (SIDE // 2, SIDE // 2), 12, 1, -1)
    return labels


def density(seed, labels, **changes):
    """Optical density, (s, s, 3), that haze adds to a grey background."""
    image = np.full((SIDE, SIDE, 3), 200, np.float32)
    settings = dataclasses.replace(CPU, **changes)
    return -np.log(background.hazed(np.random.default_rng(seed), image, labels, COLOUR, settings) / 200.0)


def test_haze_has_the_hue_of_the_nuclei_and_is_bounded():
    added = np.stack([density(seed, disc()) for seed in range(20)])
    share = added / -np.log(COLOUR / 255.0)  # of the nuclear density
    assert np.allclose(share, share[..., :1], atol=1e-4)
    assert share.min() > -1e-5 and share.max() <= 0.6 + 1e-4
    assert share.max() > 0.4


def test_halo_surrounds_the_nuclei_alone():
    labels = disc()
    distance = cv2.distanceTransform((labels == 0).astype(np.uint8), cv2.DIST_L2, 5)
    added = np.mean([density(seed, labels, haze=0.0)[..., 0] for seed in range(20)], axis=0)
    assert added[distance > 40] == pytest.approx(0.0, abs=1e-5)
    assert added[(distance > 0) & (distance < 4)].mean() > 4 * added[(distance > 14) & (distance < 18)].mean() > 0
    assert density(0, np.zeros_like(labels), haze=0.0) == pytest.approx(0.0, abs=1e-5)


def test_haze_alone_takes_no_notice_of_nuclei():
    assert np.array_equal(density(3, disc(), halo=0.0), density(3, np.zeros_like(disc()), halo=0.0))


@pytest.mark.parametrize("side", [64, 75])
def test_haze_is_smooth_at_even_and_odd_sides(side):
    image, labels = np.full((side, side, 3), 200, np.float32), np.zeros((side, side), np.uint16)
    made = background.hazed(np.random.default_rng(1), image, labels, COLOUR, CPU)
    assert made.shape == image.shape and made.dtype == np.float32
    assert made.std() > 1 and np.abs(np.diff(made, axis=0)).max() < 12


def test_jitter_stays_within_its_bounds():
    image = np.full((SIDE, SIDE, 3), 200, np.uint8)
    settings = dataclasses.replace(CPU, background_haematoxylin=0.0, background_gain=0.01, background_shift=0.5)
    made = np.array([background.jittered(np.random.default_rng(seed), image, settings)[0, 0] for seed in range(200)])
    assert np.abs(made - 200).max() <= 2.5 and np.abs(made - 200).max() > 2.0


def test_distractors_are_of_the_nuclear_colour():
    image = np.full((SIDE, SIDE, 3), 220, np.float32)
    settings = dataclasses.replace(CPU, between=0, distractors=2000)
    made = background.distracted(np.random.default_rng(0), image.copy(), COLOUR, settings)
    assert (made <= 220).all() and (made >= COLOUR - 1e-3).all()
    share = (220 - made) / (220 - COLOUR)
    assert np.allclose(share, share[..., :1], atol=1e-4) and share.max() > 0.5
    without = dataclasses.replace(settings, distractors=0)
    assert (background.distracted(np.random.default_rng(0), image.copy(), COLOUR, without) == image).all()


def test_stars_of_the_release_keep_the_set_share_of_their_pixels():
    image, texture = np.full((460, 460, 3), 230, np.float32), np.full((460, 460), 100, np.uint8)
    shares = []
    for kept in (0.15, 1.0):
        settings = dataclasses.replace(RELEASE, distractor_kept=kept, distractors=99)
        made = [background.starred(np.random.default_rng(s), image, texture, COLOUR, settings) for s in range(10)]
        shares.append(np.mean([(230 - each[..., 0]).mean() for each in made]))
    assert shares[0] == pytest.approx(0.15 * shares[1], rel=0.15) and shares[0] > 0
