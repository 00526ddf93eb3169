import cv2
import numpy as np
import pytest

from hou_synth import config
from hou_synth.synthesis import stain, texture

PAPER = config.preset("paper").synthesis
OURS = config.preset("cpu").synthesis


def test_deconvolution_of_pure_stains():
    blue, pink = np.full((4, 4, 3), (90, 80, 160), np.uint8), np.full((4, 4, 3), (230, 120, 200), np.uint8)
    assert stain.deconvolve(blue)[0].mean() > stain.deconvolve(pink)[0].mean()
    assert stain.deconvolve(pink)[1].mean() > stain.deconvolve(blue)[1].mean()


def test_haematoxylin_shift_adds_what_it_says():
    image = np.random.default_rng(0).integers(120, 250, (20, 20, 3)).astype(np.uint8)
    gain, offset = stain.haematoxylin_shift(0.01)
    shifted = np.clip(image * gain + offset, 0, 255).round().astype(np.uint8)
    difference = stain.deconvolve(shifted)[0] - stain.deconvolve(image)[0]
    assert difference.mean() == pytest.approx(0.01, abs=5e-4)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_deconvolution_takes_uint8_rgb_only(image):
    with pytest.raises(ValueError, match="uint8 RGB"):
        stain.deconvolve(image)


@pytest.mark.parametrize("settings", [PAPER, OURS])
def test_super_segmentation_contains_the_nuclei(tissue_image, settings):
    image, labels = tissue_image
    _, share, mask = texture.nuclear_regions(image, stain.deconvolve(image)[0], settings)
    assert share == pytest.approx((labels > 0).mean(), rel=0.2)
    assert mask[labels > 0].mean() > 0.97
    assert mask.mean() < 0.6


@pytest.mark.parametrize("settings", [PAPER, OURS])
def test_background_keeps_tissue_and_loses_nuclei(tissue_image, settings):
    image, labels = tissue_image
    prepared = texture.tissue(image, settings)
    nuclei = labels > 0
    tissue_level = np.median(image[~nuclei], axis=0)
    assert np.abs(prepared.background[nuclei].mean(0) - tissue_level).max() < 12
    untouched = (prepared.background == image).all(-1)
    assert untouched[~nuclei].mean() > 0.4


def test_nuclear_colour_is_the_nuclei_s(tissue_image):
    image, labels = tissue_image
    assert np.abs(texture.tissue(image, PAPER).colour - image[labels > 0].mean(0)).max() < 12


def test_retextured_fill_has_the_grain_of_the_background(tissue_image):
    image, labels = tissue_image
    nuclei = labels > 0
    filled = texture.tissue(image, OURS).background.astype(np.float32)
    grain = lambda mask: np.diff(filled, axis=1)[mask[:, 1:] & mask[:, :-1]].std()  # noqa: E731
    assert grain(nuclei) == pytest.approx(grain(~nuclei), rel=0.25)


def test_glass_is_no_tissue(tissue_image):
    image, _ = tissue_image
    image = image.copy()
    image[:, 100:] = 245
    cells = texture.tissue_cells(image, PAPER)
    assert cells[:, 0].all() and not cells[:, -1].any()


def test_blank_tile_is_refused():
    with pytest.raises(ValueError, match="blank"):
        texture.tissue(np.full((128, 128, 3), 244, np.uint8), PAPER)


def test_tile_without_nuclear_colour_is_refused():
    noise = np.random.default_rng(0).integers(150, 220, (128, 128, 3)).astype(np.uint8)
    with pytest.raises(ValueError, match="nuclear colour"):
        texture.tissue(noise, PAPER)


@pytest.fixture
def sparse():
    """Pink tissue and glass with few nuclei, (256, 256, 3) uint8, and the nuclei's mask."""
    random, nuclei = np.random.default_rng(0), np.zeros((256, 256), np.uint8)
    for place in ((60, 40), (150, 100), (40, 200)):
        cv2.circle(nuclei, place, 9, 1, -1)
    image = np.where(nuclei[..., None] > 0, (150, 120, 175), (228, 170, 200)).astype(np.float32)
    image[:, 190:] = 247
    image[128:, 190:] = (235, 190, 210)
    image = cv2.GaussianBlur(image, (0, 0), 0.8) + random.normal(0, 5, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), nuclei > 0


def test_few_pale_nuclei_are_told_from_tissue_that_is_no_glass(sparse):
    image, nuclei = sparse
    prepared = texture.tissue(image, OURS)
    assert np.abs(prepared.colour - (150, 120, 175)).max() < 12
    assert prepared.density * OURS.density_unit == pytest.approx(nuclei.mean(), rel=0.5)
    replaced = (prepared.background != image).any(-1)
    assert replaced[nuclei].mean() > 0.97 and replaced.mean() < 0.1


def test_tissue_of_eosin_alone_is_refused():
    image = np.full((128, 128, 3), (230, 150, 190), np.float32) + np.random.default_rng(0).normal(0, 12, (128, 128, 3))
    with pytest.raises(ValueError, match="at most 205 of red"):
        texture.tissue(np.clip(image, 0, 255).astype(np.uint8), OURS)


def test_local_mean_ignores_what_is_masked():
    values = np.ones((64, 64), np.float32)
    values[20:40, 20:40] = 100
    mask = values < 50
    assert np.allclose(texture.local_mean(values, mask, 8.0), 1.0, atol=1e-4)


def test_tissue_of_the_release_is_where_the_background_varies():
    settings = config.preset("release").synthesis
    image = np.full((140, 140, 3), 200, np.uint8)
    image[:, 80:] = np.random.default_rng(0).integers(150, 250, (140, 60, 3))
    mask = texture.tissue_mask(image, settings)
    assert mask.shape == (200, 200)
    assert not mask[:, :105].any() and mask[:, 105:].all()  # cells of 35; the third one has the edge at 110
