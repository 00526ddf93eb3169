import cv2
import numpy as np
import pytest

from hou_synth import normalise


def lab(image):
    return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)


@pytest.fixture
def muted():
    """Image without saturated colours, so that nothing is clipped."""
    noise = np.random.default_rng(1).normal(0, 12, (64, 64, 3))
    return np.clip(np.array([150, 120, 160]) + noise, 0, 200).astype(np.uint8)


def test_statistics_become_the_targets(muted):
    got = lab(normalise.reinhard(muted))
    assert np.abs(got.mean(axis=0) - normalise.TARGET_MEAN).max() < 1.0
    assert np.abs(got.std(axis=0) - normalise.TARGET_STD).max() < 1.0


def test_normalised_image_hardly_changes_again(muted):
    once = normalise.reinhard(muted)
    assert np.abs(normalise.reinhard(once).astype(int) - once).mean() < 2.0


def test_colour_cast_is_taken_away(muted):
    cast = cv2.cvtColor((lab(muted).reshape(muted.shape) + np.float32([6, -5, 4])), cv2.COLOR_LAB2RGB)
    cast = np.clip(cast * 255, 0, 255).astype(np.uint8)
    assert np.abs(cast.astype(int) - muted).mean() > 5
    assert np.abs(normalise.reinhard(cast).astype(int) - normalise.reinhard(muted)).mean() < 2


def test_uniform_image_becomes_the_target_colour():
    got = lab(normalise.reinhard(np.full((8, 8, 3), 90, np.uint8)))
    assert np.abs(got - normalise.TARGET_MEAN).max() < 1.0


@pytest.mark.parametrize(("white_rows", "changed"), [(16, True), (17, False)])
def test_not_applied_where_over_a_quarter_is_white(muted, white_rows, changed):
    muted[:white_rows] = 250
    assert (normalise.reinhard(muted) is not muted) == changed


def test_white_pixels_do_not_count(muted):
    with_white = muted.copy()
    with_white[:10] = 255
    tissue = normalise.reinhard(with_white)[10:]
    assert np.abs(tissue.astype(int) - normalise.reinhard(muted[10:])).max() <= 1


def test_parts_of_a_slide_move_together_and_glass_stays(muted):
    mean, std = normalise.statistics(muted)
    assert np.array_equal(normalise.moved(muted, mean, std), normalise.reinhard(muted))
    slide = np.full((64, 128, 3), 240, np.uint8)
    slide[:, :64] = muted
    part = normalise.moved_tissue(slide, mean, std)
    assert np.array_equal(part[:, 64:], slide[:, 64:])
    assert np.array_equal(part[:, :64], normalise.moved(muted, mean, std))
    slide[:, 64:] = 210  # half-way between tissue and glass
    half = (normalise.moved(slide, mean, std)[0, 64].astype(int) + slide[0, 64]) / 2
    assert np.abs(normalise.moved_tissue(slide, mean, std)[0, 64] - half).max() <= 1


def test_no_tissue_has_no_statistics():
    assert normalise.statistics(np.full((5, 5, 3), 250, np.uint8)) is None


def test_wrong_image():
    with pytest.raises(ValueError, match="float64"):
        normalise.reinhard(np.zeros((4, 4, 3)))


def test_real_tile_moves_to_the_target(real_data):
    path = sorted((real_data / "tiles" / "real").glob("*.png"))[0]
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    got = lab(normalise.reinhard(image))[normalise.tissue(image).ravel()]
    assert np.abs(got.mean(axis=0) - normalise.TARGET_MEAN).max() < 0.5
    assert np.abs(got.std(axis=0) - normalise.TARGET_STD).max() < 0.5
