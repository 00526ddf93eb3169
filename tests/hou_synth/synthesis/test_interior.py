import dataclasses

import numpy as np
import pytest

from hou_synth import config
from hou_synth.synthesis import initial_patch, interior

PAPER = config.preset("paper").synthesis
CPU = config.preset("cpu").synthesis
RELEASE = config.preset("release").synthesis
SIDE = 128


def source():
    random = np.random.default_rng(5)
    return initial_patch.Source(
        background=np.full((SIDE, SIDE, 3), 220, np.uint8),
        eosin=random.integers(120, 160, (SIDE, SIDE)).astype(np.uint8),
        clearing=random.integers(0, 256, (SIDE, SIDE)).astype(np.uint8),
        detail=random.integers(90, 110, (SIDE, SIDE, 3)).astype(np.uint8),
        colour=np.array([90, 60, 120], np.float32),
        density=2.0,
        cells=np.ones((5, 5), bool),
    )


def squares(width=20):
    """Label map of 4x4 square nuclei that do not touch."""
    labels = np.zeros((SIDE, SIDE), np.uint16)
    for number, (row, column) in enumerate(np.ndindex(4, 4), 1):
        y, x = 32 * row + 6, 32 * column + 6
        labels[y : y + width, x : x + width] = number
    return labels


def texture(labels, settings, seed=0):
    edge = initial_patch.contours(labels)
    return interior.nuclear_texture(np.random.default_rng(seed), labels, edge, source(), settings)


def chromatin(labels, settings, seed=0):
    edge = initial_patch.contours(labels)
    return interior.chromatin(np.random.default_rng(seed), labels, edge, labels, settings)


def test_nuclear_colour_times_eosin_is_the_texture():
    made = texture(np.zeros((SIDE, SIDE), np.uint16), PAPER)
    expected = source().eosin[..., None] / 255.0 * 1.3 * source().colour
    assert np.allclose(made, expected, atol=1e-3)


def test_optical_texture_keeps_the_hue():
    made = texture(squares(), dataclasses.replace(CPU, texture_noise=0.0))[squares() > 0]
    density = -np.log(np.clip(made.mean(0), 1, 254) / 255)
    wanted = -np.log(source().colour / 255)
    assert np.allclose(density / density.sum(), wanted / wanted.sum(), atol=0.03)


def test_noise_has_the_release_amplitude():
    empty = np.zeros((SIDE, SIDE), np.uint16)
    noise = texture(empty, dataclasses.replace(PAPER, texture_noise=1.0)) - texture(empty, PAPER)
    assert np.allclose(np.abs(noise).max((0, 1)), [1.6, 1.3, 2.6], atol=0.02)


def test_depth_counts_pixels_from_the_contour():
    labels = np.zeros((20, 20), np.uint16)
    labels[4:11, :8] = 1  # goes on beyond the border, so its middle row is 3 pixels deep there too
    depth = interior.depth(labels, initial_patch.contours(labels))
    assert depth[4:11, 0] == pytest.approx([0, 1, 2, 3, 2, 1, 0], abs=0.2)
    assert depth[7, 6:10] == pytest.approx([1, 0, 0, 0], abs=0.2)


def middle_to_rim(labels, settings):
    """Mean density in the middle of each nucleus over that of its contour."""
    edge = initial_patch.contours(labels)
    middle = interior.depth(labels, edge) > 5
    ratios = []
    for seed in range(5):
        density = chromatin(labels, settings, seed)
        ratios += [density[(labels == n) & middle].mean() / density[(labels == n) & edge].mean() for n in range(1, 17)]
    return np.array(ratios)


def test_vesicular_nuclei_are_paler_in_the_middle_than_at_the_membrane():
    quiet = dataclasses.replace(CPU, chromatin=1e-6)
    vesicular = middle_to_rim(squares(), dataclasses.replace(quiet, vesicular=1.0))
    even = middle_to_rim(squares(), dataclasses.replace(quiet, vesicular=0.0))
    assert np.mean(vesicular < 0.7) > 0.5 > 0.1 > np.mean(even < 0.7)
    assert vesicular.mean() < even.mean() - 0.15


def test_small_nuclei_are_not_vesicular():
    settings = dataclasses.replace(CPU, vesicular=1.0, vesicular_area=400.0)
    for width, differs in ((20, False), (21, True)):
        inside = squares(width) > 0
        made = (chromatin(squares(width), each)[inside] for each in (settings, dataclasses.replace(CPU, vesicular=0.0)))
        assert np.array_equal(*made) != differs


def test_grains_grow_with_the_chromatin():
    spread = []
    for amplitude in (1e-6, 0.2, 0.8):
        made = chromatin(squares(), dataclasses.replace(CPU, chromatin=amplitude, vesicular=0.0))
        middle = interior.depth(squares(), initial_patch.contours(squares())) > 7
        spread.append(np.mean([made[middle & (squares() == n)].std() for n in range(1, 17)]))
    assert spread[0] + 0.02 < spread[1] < spread[2] - 0.1


def test_the_inside_of_a_nucleus_is_covered_by_what_lies_over_and_under_it():
    settings, pale = dataclasses.replace(CPU, covered=0.5), np.full((SIDE, SIDE, 3), 250, np.float32)
    tissue = dataclasses.replace(source(), background=np.full((SIDE, SIDE, 3), (220, 110, 55), np.uint8))
    shares = []
    for seed in range(40):
        got = interior.covered(np.random.default_rng(seed), pale, tissue, settings)
        densities = -np.log10(got / 255)
        share = densities / -np.log10(np.float32([220, 110, 55]) / 255)
        assert share.max() - share.min() < 0.02  # the same in each channel: the tissue's hue
        shares.append(share.mean())
    assert 0.5 <= min(shares) < 0.6 and 0.9 < max(shares) <= 1.01
    dark = np.full_like(pale, 40)
    assert (interior.covered(np.random.default_rng(0), dark, tissue, settings) == 40).all()


def test_nothing_is_cleared_where_chromatin_is_painted():
    labels, edge = squares(), initial_patch.contours(squares())
    for settings, least in ((CPU, CPU.opacity_low), (dataclasses.replace(CPU, chromatin=0.0), 0.0)):
        opacity = initial_patch.nuclear_opacity(np.random.default_rng(0), labels, edge, source(), settings)
        assert opacity[labels > 0].min() == pytest.approx(least, abs=0.02)
        assert (opacity[labels == 0] == 0).all()


def test_clearing_spares_the_membrane_and_grows_with_the_quantile():
    labels = np.zeros((100, 100), np.uint16)
    labels[20:80, 20:80] = 1
    edge = initial_patch.contours(labels)
    ranks = np.tile(np.arange(100, dtype=np.uint8) * 2, (100, 1))
    cleared_share = []
    for low in (5.0, 60.0):
        settings = dataclasses.replace(PAPER, clear_base=low, clear_large=low + 1)
        opacity = interior.cleared(np.random.default_rng(0), labels, edge, ranks, settings)
        assert (opacity[edge] == 1).all() and (opacity[labels == 0] == 0).all()
        cleared_share.append((opacity[labels > 0] == 0).mean())
    assert cleared_share[0] < 0.02 < 0.1 < cleared_share[1]


def test_opacity_is_lower_on_pixels_that_touch_another_nucleus_only():
    labels = np.zeros((9, 9), np.uint16)
    labels[1:8, 1:4], labels[1:8, 4:7] = 2, 1  # side by side
    labels[3:6, 8] = 3  # apart
    opacity = np.where(labels > 0, 0.9, 0.0).astype(np.float32)
    made = interior.parted(np.random.default_rng(0), labels, opacity, dataclasses.replace(CPU, gap=0.8))
    changed = np.zeros((9, 9), bool)
    changed[1:8, 3:5] = True
    assert ((made != opacity) == changed).all()
    assert len(np.unique(made[changed])) == 1 and 0.2 * 0.9 <= made[changed][0] < 0.9


def test_the_program_takes_accumulated_areas_for_the_mean():
    labels = np.zeros((200, 200), np.uint16)
    for number in range(16):
        row, column = divmod(number, 4)
        labels[50 * row + 10 : 50 * row + 40, 50 * column + 10 : 50 * column + 40] = number + 1
    settings = dataclasses.replace(RELEASE, margin=0)  # areas of 900: their mean is rather small, 900 * 8.5 is large
    levels = [interior.clearing_level(np.random.default_rng(seed), labels, settings) for seed in range(200)]
    assert min(levels) >= round(25.6) and max(levels) > 2.4 * 50
    few = np.where(labels == 1, labels, 0).astype(np.uint16)
    levels = np.array([interior.clearing_level(np.random.default_rng(seed), few, settings) for seed in range(400)])
    assert levels.max() <= round(2.56 * 42) and 0.45 < (levels < 2.56 * 15).mean() < 0.75  # 0.4 + 0.6 * 15 / 42
