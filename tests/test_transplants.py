import cv2
import numpy as np
import pytest

from data import patches, transplants
from data.labelled import Labelled
from data.patches import UNKNOWN
from data.synthetic import NUCLEUS
from hou_synth import config


def drawn(side, places, radius=9):
    """A patch of dark discs on white, with their ids."""
    labels = np.zeros((side, side), np.int32)
    for number, place in enumerate(places, 1):
        cv2.circle(labels, place, radius, number, -1)
    image = np.where(labels[..., None] > 0, np.array([90, 40, 110]), 250).astype(np.uint8)
    return image, labels


@pytest.fixture
def pair():
    hosts = drawn(128, [(40, 40), (90, 80)])
    given = drawn(256, [(x, y) for x in range(20, 256, 40) for y in range(20, 256, 40)], 7)
    return (*hosts, *given)


def test_moved_nuclei_come_into_contact_and_keep_their_truth(pair):
    gaps, most = [], 0
    for seed in range(60):
        image, labels = transplants.crowded(np.random.default_rng(seed), *pair, 10)
        count = len(np.unique(labels)) - 1
        most = max(most, count)
        assert count >= 2 and labels.max() >= count
        assert np.isin(pair[1][labels == 0], 0).all()  # no nucleus is lost to the background
        dark = image[..., 1] < 145
        assert (dark == (labels > 0)).mean() > 0.99
        areas = np.bincount(labels.ravel())[1:]
        assert areas[2:][areas[2:] > 0].min(initial=999) > 0.5 * 149
        for number in np.unique(labels[labels > 2]):
            away = cv2.distanceTransform((labels != number).astype(np.uint8), cv2.DIST_L2, 3)
            gaps.append(away[(labels > 0) & (labels != number)].min())
    assert most > 6
    assert np.mean(np.array(gaps) <= 1.5) > 0.4 and max(gaps) < 6


def test_a_moved_nucleus_covers_little(pair):
    for seed in range(40):
        image, labels = transplants.crowded(np.random.default_rng(seed), *pair, 10)
        before = np.bincount(pair[1].ravel(), minlength=3)[1:3]
        after = np.bincount(labels.ravel(), minlength=3)[1:3]
        assert (after > 0.4 * before).all()


def test_the_same_seed_moves_the_same_and_inputs_stay(pair):
    kept = [array.copy() for array in pair]
    one, other = (transplants.crowded(np.random.default_rng(3), *pair, 10) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(pair, kept, strict=True))
    assert not np.array_equal(one[1], pair[1])


def test_without_nuclei_nothing_changes(pair):
    empty = np.zeros_like(pair[1])
    random = np.random.default_rng(0)
    assert transplants.crowded(random, pair[0], empty, *pair[2:], 10)[1] is empty
    assert transplants.crowded(random, pair[0], pair[1], pair[2], np.zeros_like(pair[3]), 10)[1] is pair[1]


def test_nuclei_that_are_cut_off_or_tiny_are_not_moved():
    _, labels = drawn(64, [(32, 32), (3, 30), (60, 60)])
    cv2.circle(labels, (50, 10), 2, 9, -1)
    assert [number for number, _ in transplants.whole(labels)] == [1]


def test_there_may_be_no_room():
    _, labels = drawn(24, [(12, 12)], 10)
    assert transplants.beside(np.random.default_rng(0), labels, np.ones((20, 20), np.uint8)) is None


def test_patches_of_a_run_receive_nuclei_and_unknown_pixels_stay_or_are_covered():
    image, labels = drawn(300, [(x, y) for x in range(30, 300, 60) for y in range(30, 300, 60)])
    labels[:, 150:] = np.where(labels[:, 150:] > 0, UNKNOWN, 0)
    item = [Labelled("a", "lung", image, labels, 0.25)]
    plain, moving = (config.preset("quick", transplants=most) for most in (0, 10))
    shares = []
    for settings in (plain, moving):
        targets = [patches.training(item, settings, index)[1] for index in range(60)]
        shares.append(np.mean([(target & NUCLEUS).mean() for target in targets]))
    assert shares[1] > 1.3 * shares[0]
