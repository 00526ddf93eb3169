import cv2
import numpy as np
import pytest

from train.judging import criterion

PLACES = [(32, 32), (96, 32), (32, 96), (96, 96)]  # x, y of a disc in every quarter


@pytest.fixture(scope="module")
def images():
    """Two images (128, 128, 3) uint8 of four purple discs on pink."""
    image = np.full((128, 128, 3), (225, 170, 205), np.uint8)
    for place in PLACES:
        cv2.circle(image, place, 11, (110, 60, 140), -1)
    return np.stack([image, image])


def network(called):
    """Network that calls the pixels nucleus for which a function of images gives True."""

    def maps(images):
        found = called(images).astype(np.float32)[..., None]
        return {"segmentation": found, "detection": found}

    return maps


def dark(images):
    return images[..., 0] < 160


def upper(images):
    return dark(images) & (np.arange(images.shape[1]) < images.shape[1] / 2)[:, None]


def everything(images):
    return np.ones(images.shape[:3])


def nothing(images):
    return np.zeros(images.shape[:3])


def test_a_network_that_finds_every_disc_in_every_view(images):
    found = criterion.criterion(network(dark), images)
    assert tuple(found) == criterion.PARTS
    assert found["turned"] == found["paler"] == 1
    assert 0.95 < found["smaller"] < 1 and 0.95 < found["larger"] < 1
    assert found["amount"] > 0.95 and found["criterion"] > 0.93
    assert found["agreement"] == pytest.approx(np.mean([found[name] for name in criterion.VIEWS]))
    assert found["criterion"] == pytest.approx(found["agreement"] * found["amount"])


def test_a_network_that_depends_on_the_direction_by_hand(images):
    found = criterion.criterion(network(upper), images)
    assert found["turned"] == pytest.approx((1 / 2 + 1) / 2)  # one of two discs on pixels, the same in both pairs
    assert found["paler"] == 1 and found["smaller"] > 0.95
    assert found["amount"] == pytest.approx(2 / 3, abs=0.03)  # half of the discs: 2 x 1 / (1 + 2)


@pytest.mark.parametrize("called", [everything, nothing])
def test_agreeing_with_oneself_is_not_enough(images, called):
    found = criterion.criterion(network(called), images)
    assert found["agreement"] == 1 and found["amount"] == 0 and found["criterion"] == 0


def test_too_much_and_too_little_are_both_worse(images):
    def grown(pixels):
        def called(images):
            side = 2 * abs(pixels) + 1
            change = cv2.dilate if pixels > 0 else cv2.erode
            return np.stack([change(d.view(np.uint8), np.ones((side, side), np.uint8)) for d in dark(images)])

        return criterion.criterion(network(called), images)["criterion"]

    assert grown(-5) < grown(-3) < grown(0) > grown(3) > grown(5)


def test_maps_of_every_view_come_back_to_their_place():
    random = np.random.default_rng(0)
    image = cv2.GaussianBlur(random.integers(0, 256, (128, 256, 3)).astype(np.uint8), (0, 0), 4)
    shapes = {"turned": (256, 128), "paler": (128, 256), "smaller": (96, 192), "larger": (160, 320)}
    for name, view in criterion.VIEWS.items():
        there = view.there(image)
        assert there.shape == (*shapes[name], 3) and there.dtype == np.uint8
        back = view.back(there[..., 1].astype(np.float32), (128, 256))
        assert back.shape == (128, 256)
        if name != "paler":
            assert np.abs(back - image[..., 1]).mean() < 1


def test_paler_nuclei_are_lighter(images):
    found = criterion.restained(images[0], criterion.PALER)
    place = PLACES[0][::-1]
    assert found[place][0] > images[0][place][0] + 20


def test_amount_by_hand():
    found, expected = np.array([0.1, 0.4]), np.array([0.2, 0.3])
    assert criterion.amount(found, expected) == pytest.approx(2 * (0.1 + 0.3) / 1.0)
    assert criterion.amount(1 - found, 1 - expected) == pytest.approx(0.8)  # the worse one of nuclei and the rest
    assert criterion.amount(expected, expected) == 1
    assert criterion.amount(np.zeros(2), np.zeros(2)) == 1


def test_overlap_is_by_image():
    assert criterion.overlap(np.array([0.3, 0.0]), np.array([0.0, 0.3])) == 0


@pytest.mark.parametrize("shape", [(0, 128, 128, 3), (128, 128, 3), (1, 100, 128, 3)])
def test_images_that_do_not_fit(shape):
    with pytest.raises(ValueError, match="multiples of 128. Received: uint8"):
        criterion.criterion(network(dark), np.zeros(shape, np.uint8))


def test_what_a_mask_explains_by_hand():
    values, mask = np.array([[0.0, 0.0], [1.0, 3.0]]), np.array([[False, False], [True, True]])
    assert criterion.explained(mask, values) == pytest.approx(0.5 * 0.5 * (2 - 0) ** 2 / 1.5)
    assert criterion.explained(mask, 2 * mask + 1.0) == pytest.approx(1)
    assert criterion.explained(mask, np.ones((2, 2))) == 0
    assert criterion.explained(mask | True, values) == criterion.explained(mask & False, values) == 0


def test_separation_falls_with_nuclei_that_are_missed_or_elsewhere(images):
    found, half = (list(called(images).astype(np.int32)) for called in (dark, upper))
    elsewhere = [np.roll(labels, 32, axis=0) for labels in found]
    parts = [criterion.separation(labelled, images) for labelled in (elsewhere, half, found)]
    assert parts == sorted(parts) and parts[0] < 0.1 and parts[2] > 0.8
    assert criterion.criterion(network(dark), images)["separation"] == pytest.approx(parts[2], abs=0.05)
