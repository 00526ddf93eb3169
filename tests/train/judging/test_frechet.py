import cv2
import numpy as np
import pytest
import scipy.linalg

from hou_synth.synthesis import stain
from train.judging import features, frechet


def test_frechet_by_hand_in_one_dimension():
    """Means 1 and 5, variances 2 and 8: 16 + (sqrt 8 - sqrt 2)^2."""
    assert frechet.frechet([[0.0], [2.0]], [[3.0], [7.0]]) == pytest.approx(18.0)


def test_frechet_by_the_square_root_of_the_product():
    random = np.random.default_rng(0)
    one, other = random.normal(0, 1, (60, 5)), random.normal(0.5, 1, (60, 5)) @ random.normal(0, 1, (5, 5))
    first, second = np.cov(one.T), np.cov(other.T)
    root = scipy.linalg.sqrtm(first @ second).real
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(first + second - 2 * root)
    assert frechet.frechet(one, other) == pytest.approx(expected) == pytest.approx(frechet.frechet(other, one))


def test_frechet_of_few_patches_is_zero_to_themselves():
    one = np.random.default_rng(0).normal(0, 1, (8, 20))
    assert frechet.frechet(one, one) == pytest.approx(0, abs=1e-6)


def test_halves_split_tiles_of_every_type():
    types = np.repeat(["lung", "skin"], [20, 12])
    tiles = np.array([f"lung/{n % 5}" for n in range(20)] + [f"skin/{n % 4}" for n in range(12)])
    splits = frechet.halves(types, tiles, 30)
    assert splits.shape == (30, 32) and len(np.unique(splits, axis=0)) > 10
    for split in splits:
        assert not set(tiles[split]) & set(tiles[~split])
        assert {len({t for t in tiles[split] if t.startswith(kind)}) for kind in ("lung", "skin")} <= {2, 3}
    assert {len({t for t in tiles[split] if "lung" in t}) for split in splits} == {2, 3}


def scattered(random, count=200, tiles=20, size=3):
    """Features with a shift for each tile; the tiles."""
    of = np.arange(count) % tiles
    return random.normal(0, 1, (count, size)) + random.normal(0, 0.5, (tiles, size))[of], of


def test_distance_of_the_real_patches_is_that_of_the_halves():
    real, tiles = scattered(np.random.default_rng(0))
    splits = frechet.halves(["a"] * len(tiles), tiles, 4)
    found = frechet.distances(real, {"copy": real, "shifted": real + [1, 0, 0]}, splits)
    assert np.allclose(found["copy"], found["halves"])
    scaled = real / real.std(0)
    assert found["halves"][0] == pytest.approx(frechet.frechet(scaled[splits[0]], scaled[~splits[0]]))
    gain = found["shifted"] - found["halves"]
    # Both ways round the cross terms of the two shifted means cancel: what is left is the shift's square.
    assert np.allclose(gain, 1 / real[:, 0].std() ** 2)


def test_distances_do_not_depend_on_the_units_of_a_feature():
    real, tiles = scattered(np.random.default_rng(0))
    made, splits = real**2, frechet.halves(["a"] * len(tiles), tiles, 3)
    one = frechet.distances(real, {"made": made}, splits)["made"]
    units = np.array([1000.0, 1.0, 0.01])
    assert np.allclose(one, frechet.distances(real * units, {"made": made * units}, splits)["made"])


@pytest.mark.parametrize("measure", [features.convolutional, features.textural])
def test_blurred_shifted_and_noisy_patches_are_farther_than_real_ones(tissue_image, measure):
    random, image = np.random.default_rng(0), tissue_image[0]
    corners = [tuple(random.integers(0, 192, 2)) for _ in range(80)]
    real = [np.ascontiguousarray(image[y : y + 64, x : x + 64]) for y, x in corners]
    worse = {
        "blurred": [cv2.GaussianBlur(patch, (0, 0), 1.0) for patch in real],
        "shifted": [np.clip(patch + np.array([12, 0, -12]), 0, 255).astype(np.uint8) for patch in real],
        "noisy": [np.clip(patch + random.normal(0, 8, patch.shape), 0, 255).astype(np.uint8) for patch in real],
    }
    made = {name: np.array(list(map(measure, each))) for name, each in worse.items()}
    splits = frechet.halves(["a"] * 80, [n // 8 for n in range(80)], 6)
    found = frechet.distances(np.array(list(map(measure, real))), made, splits)
    for name in worse:
        assert (found[name] > 1.2 * found["halves"]).all(), name


DARK, PALE = (110, 60, 140), (225, 170, 205)


def painted(labels, inside=DARK, outside=PALE):
    return np.where(labels[..., None] > 0, inside, outside).astype(np.uint8)


def test_contrast_of_even_nuclei_is_that_of_their_colours(circles):
    pixels = np.array([[DARK, PALE]], np.uint8)
    dark, pale = stain.deconvolve(pixels)[0][0]
    assert np.allclose(frechet.contrasts(painted(circles), circles), [dark - pale] * 5, atol=1e-6) and dark > pale


def test_contrast_sees_three_pixels_on_either_side():
    labels = np.zeros((40, 40), np.int32)
    labels[10:30, 10:30] = 1
    image = painted(labels)
    before = frechet.contrasts(image, labels)
    image[13:27, 13:27] = 0
    image[:7], image[33:], image[:, :7], image[:, 33:] = 0, 0, 0, 0
    assert np.array_equal(frechet.contrasts(image, labels), before)
    for place in ((20, 12), (20, 7)):
        changed = image.copy()
        changed[place] = 0
        assert not np.allclose(frechet.contrasts(changed, labels), before)


def test_contrast_leaves_out_other_nuclei():
    """Two squares side by side: neither the other one nor the border between them counts."""
    labels = np.zeros((40, 60), np.int32)
    labels[10:30, 10:30], labels[10:30, 30:50] = 1, 2
    image = painted(labels)
    image[10:30, 30:50] = (60, 20, 90)
    (dark, darker, pale), _ = (layer[0] for layer in stain.deconvolve(np.array([[DARK, (60, 20, 90), PALE]], np.uint8)))
    assert np.allclose(frechet.contrasts(image, labels), [dark - pale, darker - pale], atol=1e-6)
    image[14:26, 28:32] = 0  # at the border between them, away from the background
    assert np.allclose(frechet.contrasts(image, labels), [dark - pale, darker - pale], atol=1e-6)


def test_contrast_needs_nuclei_and_background(circles):
    image, speck = painted(circles), np.zeros_like(circles)
    speck[50, 50:52] = 1
    for labels in (np.zeros_like(circles), np.ones_like(circles), speck):
        assert frechet.contrasts(image, labels).shape == (0,)
    both = np.where(circles == 4, 7, speck)
    assert len(frechet.contrasts(image, both)) == 1


def test_bootstrap_draws_whole_tiles():
    tiles = np.array(["a", "b", "a", "c", "b", "a"])
    drawn = frechet.resampled(tiles, 2000)
    assert drawn.shape == (2000, 6)
    assert (drawn[:, 0] == drawn[:, 2]).all() and (drawn[:, 1] == drawn[:, 4]).all()
    assert (drawn[:, [0, 1, 3]].sum(1) == 3).all()
    assert np.allclose(drawn.mean(0), 1, atol=0.1)
