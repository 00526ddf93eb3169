import cv2
import numpy as np
import pytest

from data import patches
from data.labelled.reader import Labelled
from data.synthetic import CENTRE, NUCLEUS
from hou_synth import config

SETTINGS = config.preset("quick")


def image_of(labels, name="a"):
    image = np.zeros((*labels.shape, 3), np.uint8)
    image[..., 0] = np.where(labels > 0, 200, 20)
    return Labelled(name, "lung", image, labels, 0.25)


@pytest.fixture
def discs():
    labels = np.zeros((150, 180), np.int32)
    for number, (y, x) in enumerate([(y, x) for y in range(15, 150, 30) for x in range(15, 180, 30)], 1):
        cv2.circle(labels, (x, y), 9, number, -1)
    return image_of(labels)


def test_a_patch_is_a_function_of_seed_and_index(discs):
    one, other = (patches.training([[discs]], SETTINGS, 7) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert not np.array_equal(one[0], patches.training([[discs]], SETTINGS, 8)[0])
    reseeded = config.preset("quick", seed=1)
    assert not np.array_equal(one[0], patches.training([[discs]], reseeded, 7)[0])


def test_image_and_target_are_turned_together(discs):
    for index in range(40):
        image, target = patches.training([[discs]], SETTINGS, index)
        assert image.shape == (64, 64, 3) and target.shape == (64, 64, 1) and image.dtype == target.dtype == np.uint8
        nucleus = (target[..., 0] & NUCLEUS) > 0
        assert ((image[..., 0] > 110) == nucleus).mean() > 0.99


def test_half_of_the_patches_keep_their_pixels(discs):
    exact = [set(np.unique(patches.training([[discs]], SETTINGS, i)[0][..., 0])) <= {20, 200} for i in range(200)]
    assert 70 < sum(exact) < 130


def test_magnification_and_area_stay_within_the_range(discs):
    matrices = [patches.transform(np.random.default_rng(i), (150, 180), 64) for i in range(300)]
    scales = np.array([1 / np.sqrt(abs(np.linalg.det(matrix[:, :2]))) for matrix in matrices])
    assert scales.min() > patches.SCALE[0] - 1e-6 and scales.max() < patches.SCALE[1] + 1e-6
    assert scales.std() > 0.05 and {np.sign(np.linalg.det(m[:, :2])) for m in matrices} == {-1.0, 1.0}


def test_the_middle_of_a_patch_lies_half_a_patch_inside():
    for index in range(200):
        matrix = patches.transform(np.random.default_rng(index), (100, 300), 64)
        x, y = matrix @ [31.5, 31.5, 1]
        assert 31 <= y <= 100 - 32 and 31 <= x <= 300 - 32


def test_images_smaller_than_a_patch_are_mirrored():
    labels = np.zeros((40, 30), np.int32)
    cv2.circle(labels, (15, 20), 8, 1, -1)
    image, target = patches.training([[image_of(labels)]], SETTINGS, 0)
    assert image.shape == (64, 64, 3) and ((image[..., 0] > 110) == ((target[..., 0] & NUCLEUS) > 0)).mean() > 0.98


def test_every_image_is_as_likely_whatever_its_size(discs):
    empty = image_of(np.zeros((70, 70), np.int32))
    blank = [not patches.training([[discs, empty]], SETTINGS, i)[1].any() for i in range(200)]
    assert 70 < sum(blank) < 130


def test_target_is_that_of_synthetic_patches(discs):
    core = patches.training([[discs]], SETTINGS, 3)[1]
    centre = patches.training([[discs]], config.preset("quick", detection="centre"), 3)[1]
    assert ((core & CENTRE) > 0).sum() > ((centre & CENTRE) > 0).sum() > 0
    assert np.array_equal(core & NUCLEUS, centre & NUCLEUS)


def test_ids_beyond_16_bits():
    labels = np.zeros((100, 100), np.int32)
    cv2.circle(labels, (50, 50), 20, 70_000, -1)
    cv2.circle(labels, (50, 50), 6, 70_001, -1)
    bits = patches.training([[image_of(labels)]], SETTINGS, 0)[1]
    assert ((bits & NUCLEUS) > 0).sum() > 500 and ((bits & CENTRE) > 0).any()
