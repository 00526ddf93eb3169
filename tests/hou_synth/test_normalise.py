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


def scanned(white):
    """Images of tissue, the first with some glass, as a scanner of that white records them."""
    random = np.random.default_rng(2)
    images = [random.uniform(0.3, 0.8, (64, 64, 3)) for _ in range(5)]
    images[0][:16, :16] = 1.0
    return [np.rint(image * white).astype(np.uint8) for image in images]


@pytest.mark.parametrize("white", [(250, 250, 250), (157, 149, 150), (255, 240, 230)])
def test_the_white_of_a_scanner_is_that_of_the_glass_on_few_of_its_images(white):
    images = scanned(np.array(white))
    found = normalise.white_point([images[0], images[0], *images[1:]])
    np.testing.assert_allclose(found, white, atol=1)
    standard = [normalise.balanced(image, found).astype(int) for image in images]
    assert np.abs(standard[0][:16, :16] - 250).max() <= 2
    assert all(np.abs(a - b).max() <= 2 for a, b in zip(standard, scanned(np.full(3, 250)), strict=True))


def test_white_is_neither_dark_nor_tinted_where_no_image_shows_glass():
    eosin = np.full((64, 64, 3), (200, 90, 140), np.uint8)
    np.testing.assert_allclose(normalise.white_point([eosin]), (200, 200, 200))
    pale = np.full((64, 64, 3), (200, 170, 190), np.uint8)
    np.testing.assert_allclose(normalise.white_point([pale]), (200, 190, 190), rtol=1e-6)
    np.testing.assert_allclose(normalise.white_point([eosin // 4]), (140, 140, 140))


def test_specks_do_not_pass_for_white():
    image = np.full((64, 64, 3), 200, np.uint8)
    image[5, 5:11] = 255
    assert (normalise.white_point([image]) == 200).all()
    assert (normalise.white_point([image] * 19 + [np.full_like(image, 255)]) == 200).all()


def test_balanced_channels_by_hand():
    image = np.array([[[100, 150, 60]], [[200, 255, 0]]], np.uint8)
    assert normalise.balanced(image, (200, 250, 125)).tolist() == [[[125, 150, 120]], [[250, 255, 0]]]
