import dataclasses

import numpy as np
import pytest

from hou_synth import config
from hou_synth.synthesis import initial_patch

PAPER = config.preset("paper").synthesis
RELEASE = config.preset("release").synthesis
CPU = config.preset("cpu").synthesis


def source(side=128, density=2.0, background=220):
    random, texture = np.random.default_rng(5), np.random.default_rng(6)
    return initial_patch.Source(
        background=texture.integers(background - 17, background + 18, (side, side, 3)).astype(np.uint8),
        eosin=random.integers(120, 160, (side, side)).astype(np.uint8),
        clearing=random.integers(0, 256, (side, side)).astype(np.uint8),
        detail=random.integers(90, 110, (side, side, 3)).astype(np.uint8),
        colour=np.array([90, 60, 120], np.float32),
        density=density,
        cells=np.ones((5, 5), bool),
    )


@pytest.mark.parametrize("settings", [PAPER, RELEASE, CPU])
@pytest.mark.parametrize("side", [64, 75, 200])
def test_patch_and_truth_agree(settings, side):
    patch = initial_patch.initial(np.random.default_rng(0), source(side), settings)
    number = int(patch.labels.max())
    assert number > 0 and sorted(np.unique(patch.labels[patch.labels > 0])) == list(range(1, number + 1))
    assert patch.image.shape == (side, side, 3) and patch.image.dtype == np.uint8
    assert 1 <= patch.centres.sum() <= number
    assert (patch.contours <= (patch.labels > 0)).all() and patch.contours.any()
    nuclei = patch.labels > 0
    assert patch.image[nuclei].mean() < patch.image[~nuclei].mean() - 10


@pytest.mark.parametrize("settings", [PAPER, RELEASE, CPU])
def test_same_seed_same_patch_and_another_seed_another(settings):
    one, same, other = (initial_patch.initial(np.random.default_rng(s), source(), settings) for s in (3, 3, 4))
    assert (one.image == same.image).all() and (one.labels == same.labels).all()
    assert (one.labels != other.labels).any()


def test_count_follows_the_release_formula():
    random = np.random.default_rng(0)
    counts = [initial_patch._count(random, 460, 2.0, RELEASE) for _ in range(4000)]
    expected = np.clip(np.random.default_rng(1).normal(80, 40, 100000), 0, 256)
    assert np.mean(counts) == pytest.approx(expected.mean(), rel=0.03)
    assert np.std(counts) == pytest.approx(expected.std(), rel=0.05)


def test_a_tenth_of_sparse_patches_is_empty():
    random = np.random.default_rng(0)
    settings = dataclasses.replace(RELEASE, count_base=100.0, count_spread=0.0)
    empty = np.mean([initial_patch._count(random, 460, 1.0, settings) == 0 for _ in range(4000)])
    assert empty == pytest.approx(0.10, abs=0.015)
    assert all(initial_patch._count(random, 460, 1.1, settings) > 0 for _ in range(200))


def test_count_scales_with_the_canvas():
    random = np.random.default_rng(0)
    counts = [initial_patch._count(random, 230, 2.0, RELEASE) for _ in range(4000)]
    assert np.mean(counts) == pytest.approx(81 / 4, rel=0.05)


def test_distractors_are_background_in_the_truth():
    settings = dataclasses.replace(RELEASE, count_base=-1000.0, count_density=0.0, distractors=99)
    patch = initial_patch.initial(np.random.default_rng(2), source(200), settings)
    assert patch.labels.max() == 0 and not patch.centres.any()
    plain = initial_patch.initial(
        np.random.default_rng(2), source(200), dataclasses.replace(settings, distractors=0, between=0)
    )
    assert patch.image.min() < plain.image.min() - 40


def crowding(probability):
    """Numbers of nuclei, and their largest areas, of twenty patches of sparse tissue."""
    settings = dataclasses.replace(CPU, crowd=probability, size_bias=1.4, size_spread=0.0, quadrilateral=0.0)
    masks = [initial_patch.mask(np.random.default_rng(seed), 128, source(), settings) for seed in range(20)]
    areas = [np.bincount(labels.ravel())[1:] for labels in masks]
    return np.array([len(each) for each in areas]), np.array([each.max(initial=0) for each in areas])


def test_a_crowded_patch_has_more_and_smaller_nuclei():
    counts, areas = crowding(0.0)
    crowded, small = crowding(1.0)
    assert crowded.mean() > 1.5 * counts.mean() and crowded.min() > 0
    assert small.max() < 1.25 * np.pi * CPU.radius_high**2 < areas.max()  # spiky polygons exceed their mean circle


def test_haze_and_camera_change_the_image_and_never_the_truth():
    clear = dataclasses.replace(CPU, haze=0.0, halo=0.0, camera=0.0)
    labels = initial_patch.mask(np.random.default_rng(0), 128, source(), CPU)
    one, other = (initial_patch.painted(np.random.default_rng(1), labels, source(), s) for s in (CPU, clear))
    assert (one.image != other.image).any()
    for name in ("labels", "centres", "contours"):
        assert (getattr(one, name) == getattr(other, name)).all()
    assert (one.labels == labels).all()


def test_cores_lie_deep_and_never_touch():
    labels = np.zeros((20, 24), np.uint16)
    labels[4:13, 3:12], labels[4:13, 12:21] = 1, 2
    cores = initial_patch.cores(labels)
    expected = np.zeros_like(cores)
    expected[7:10, 6:9] = expected[7:10, 15:18] = True  # the contour is 0, the middle 4 deep: beyond 2
    assert (cores == expected).all()


def test_contours_separate_touching_nuclei():
    labels = np.zeros((10, 10), np.uint16)
    labels[2:8, 2:5], labels[2:8, 5:8] = 1, 2
    edge = initial_patch.contours(labels)
    assert edge[3:7, 4:6].all() and not edge[4, 3] and not edge[labels == 0].any()


def test_centres_are_those_of_the_bounding_boxes():
    labels = np.zeros((20, 20), np.uint16)
    labels[2:7, 4:9] = 1
    labels[10, 10:15] = 2
    assert np.argwhere(initial_patch.centres(labels)).tolist() == [[4, 6], [10, 12]]


def test_centres_of_the_release_are_those_of_whole_nuclei():
    """Of the nuclei that the patch's border cuts, some have their centre beyond it; the others have theirs."""
    patches = [initial_patch.initial(np.random.default_rng(seed), source(200), RELEASE) for seed in range(5)]
    for patch in patches:
        inner = patch.labels * np.pad(np.ones((198, 198), np.uint16), 1)
        cut = np.isin(patch.labels, np.unique(patch.labels[inner == 0]))
        uncut = np.where(cut, 0, patch.labels).astype(np.uint16)
        assert uncut.any() and patch.centres[initial_patch.centres(uncut)].all()
    assert sum(patch.centres.sum() for patch in patches) < sum(int(patch.labels.max()) for patch in patches)


def test_the_density_of_the_release_is_one_whatever_the_tissue():
    one, other = (initial_patch.mask(np.random.default_rng(4), 128, source(density=d), RELEASE) for d in (0.5, 9.0))
    assert (one == other).all() and one.any()
