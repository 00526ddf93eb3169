import dataclasses

import cv2
import numpy as np
import pytest

from hou_synth import config
from hou_synth.synthesis import initial_patch, lymphocytes
from tests.hou_synth.synthesis.test_initial_patch import source

SETTINGS = config.preset("lymphocyte").synthesis
RELEASE = dataclasses.replace(config.preset("release").synthesis, lymphocytes=0.5)
SIDE = 64


def patches(settings, count=60, **changes):
    settings = dataclasses.replace(settings, **changes)
    return [initial_patch.initial(np.random.default_rng(seed), source(SIDE), settings) for seed in range(count)]


def central(patch):
    """Whether a lymphocyte is at the centre of a patch."""
    return bool(patch.lymphocytes[patch.labels[SIDE // 2, SIDE // 2]])


@pytest.mark.parametrize("settings", [SETTINGS, RELEASE])
def test_kinds_belong_to_the_labels_of_a_patch(settings):
    made = patches(settings, 20)
    assert all(len(patch.lymphocytes) == patch.labels.max() + 1 and not patch.lymphocytes[0] for patch in made)
    assert any(patch.lymphocytes.any() and not patch.lymphocytes[1:].all() for patch in made)


@pytest.mark.parametrize("share,low,high", [(1.0, 60, 60), (0.5, 18, 42), (1e-9, 0, 12)])
def test_a_share_of_patches_has_a_lymphocyte_at_its_centre(share, low, high):
    assert low <= sum(map(central, patches(SETTINGS, lymphocytes=share))) <= high


def test_nothing_lies_over_a_lymphocyte_at_the_centre():
    """However crowded: it is drawn first, so it is whole, and as round and as large as it was drawn."""
    for patch in patches(SETTINGS, 20, lymphocytes=1.0, count_base=300.0):
        shape = (patch.labels == patch.labels[SIDE // 2, SIDE // 2]).astype(np.uint8)
        (outline,), _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        area, radius = cv2.countNonZero(shape), np.sqrt(cv2.countNonZero(shape) / np.pi)
        assert area > 0.94 * cv2.contourArea(cv2.convexHull(outline))
        assert 0.8 * SETTINGS.lymphocyte_low < radius < 1.2 * SETTINGS.lymphocyte_high + 1


def test_lymphocytes_are_darker_than_other_nuclei():
    plain = {"haze": 0.0, "halo": 0.0, "camera": 0.0, "distractors": 0, "between": 0}
    darker = []
    for patch in patches(SETTINGS, 30, **plain):
        inside = patch.lymphocytes[patch.labels]
        if inside.any() and (~inside & (patch.labels > 0)).any():
            darker.append(patch.image[~inside & (patch.labels > 0)].mean() - patch.image[inside].mean())
    assert len(darker) > 15 and np.mean(darker) > 15


@pytest.mark.parametrize("settings", [config.preset("paper").synthesis, config.preset("cpu").synthesis])
def test_without_the_kind_there_is_none(settings):
    patch = patches(settings, 1)[0]
    assert patch.lymphocytes is None


def test_patches_without_tissue_at_their_centre_have_no_lymphocyte_there():
    one = dataclasses.replace(source(SIDE), cells=np.zeros((5, 5), bool))
    labels, kinds = lymphocytes.begun(np.random.default_rng(0), 100, np.ones, one.cells, SETTINGS)
    assert not labels.any() and kinds.tolist() == [False]
