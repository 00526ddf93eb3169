import contextlib
import dataclasses
import math
import threading
import time

import cv2
import numpy as np
import pytest

from hou_synth import config, inference, metrics


def blur_network(images):
    """Fully convolutional, receptive field 9x9, mirrored borders."""
    blurred = np.stack([cv2.GaussianBlur(image.astype(np.float32) / 255, (9, 9), 2) for image in images])
    return {"segmentation": blurred[..., :1], "detection": blurred[..., 1:2]}


def dark_network(images):
    """Nuclei are what is dark in green."""
    dark = (images[..., 1:2] < 115).astype(np.float32)
    return {"segmentation": dark, "detection": np.zeros_like(dark)}


class Recorder:
    def __init__(self, network):
        self.network, self.shapes = network, []

    def __call__(self, images):
        self.shapes.append(images.shape)
        return self.network(images)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (150, 233, 3), np.uint8)


@pytest.mark.parametrize(("window", "overlap"), [(64, 32), (96, 40), (128, 64), (512, 64)])
def test_tiles_equal_whole(noise, window, overlap):
    whole = blur_network(noise[None])
    segmentation, detection = inference.probabilities(blur_network, noise, window, overlap)
    assert segmentation.shape == detection.shape == (150, 233)
    np.testing.assert_allclose(segmentation, whole["segmentation"][0, ..., 0], atol=1e-5)
    np.testing.assert_allclose(detection, whole["detection"][0, ..., 0], atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 5), (15, 300), (65, 64)])
@pytest.mark.parametrize("overlap", [0, 1, 2, 3, 32])
def test_every_pixel_is_covered_at_any_size(shape, overlap):
    constant = np.full((*shape, 3), 51, np.uint8)
    for mapped in inference.probabilities(blur_network, constant, window=64, overlap=overlap):
        np.testing.assert_allclose(mapped, np.full(shape, 0.2), atol=1e-6)


def test_all_calls_have_one_shape(noise):
    network = Recorder(blur_network)
    inference.probabilities(network, noise, window=64, overlap=16, batch=3)  # 20 windows
    assert len(network.shapes) > 2 and len(set(network.shapes)) == 1
    assert network.shapes[0][0] == 3 and network.shapes[0][1:] == (64, 64, 3)


@pytest.mark.parametrize("parallel", [2, 7, 40])
def test_maps_do_not_depend_on_the_calls_at_once(noise, parallel):
    """Calls end in another order than they begin, and add up in the same."""
    random = np.random.default_rng(0)

    def uneven(images):
        time.sleep(random.uniform(0, 0.01))
        return blur_network(images)

    one = inference.probabilities(blur_network, noise, window=64, overlap=32, batch=2)
    other = inference.probabilities(uneven, noise, window=64, overlap=32, batch=2, parallel=parallel)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_so_many_calls_at_once_and_no_more(noise):
    barrier, running, most = threading.Barrier(3), [], []

    def network(images):
        running.append(1)
        most.append(len(running))
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(5)  # passes only when three are here
        running.pop()
        return blur_network(images)

    inference.probabilities(network, noise[:, :192], window=64, overlap=0, batch=1, parallel=3)  # 9 calls
    assert not barrier.broken and max(most) == 3


@pytest.mark.parametrize("parallel", [1, 3])
def test_first_error_ends_the_calls_and_passes_through(noise, parallel):
    calls = []

    def failing(images):
        calls.append(1)
        if len(calls) > 2:
            raise ConnectionError("gone")
        return blur_network(images)

    with pytest.raises(ConnectionError, match="^gone$"):
        inference.probabilities(failing, noise, window=64, overlap=32, batch=1, parallel=parallel)
    count = len(calls)
    assert count <= 2 + 3 * parallel
    time.sleep(0.05)
    assert len(calls) <= count + parallel


def test_windows_are_made_as_they_are_needed(monkeypatch):
    made, used = [], []
    stack = np.stack
    monkeypatch.setattr(inference.np, "stack", lambda windows: made.append(1) or stack(windows))

    def network(images):
        used.append(1)
        time.sleep(0.002)
        assert len(made) - len(used) <= inference.AHEAD * 2
        return {name: np.zeros((*images.shape[:3], 1), np.float32) for name in inference.OUTPUTS}

    inference.probabilities(network, np.zeros((640, 640, 3), np.uint8), window=64, overlap=0, batch=1, parallel=2)
    assert len(made) == len(used) == 100


def test_wrong_number_of_calls_at_once(noise):
    with pytest.raises(ValueError, match="parallel=0"):
        inference.probabilities(blur_network, noise, parallel=0)


def test_small_images_take_small_windows(noise):
    network = Recorder(blur_network)
    inference.probabilities(network, noise[:40, :50])
    assert network.shapes == [(1, 128, 128, 3)]  # 40 + 64 and 50 + 64, rounded up to 32


def test_no_seam_where_windows_disagree(noise):
    """A network whose answer depends on the window only: steps between neighbours stay small."""
    calls = iter(np.tile([0.0, 1.0], 50))

    def moody(images):
        value = np.full((*images.shape[:3], 1), next(calls), np.float32)
        return {"segmentation": value, "detection": value}

    segmentation, _ = inference.probabilities(moody, noise, window=128, overlap=64, batch=1)
    assert np.ptp(segmentation) > 0.9
    assert max(np.abs(np.diff(segmentation, axis=axis)).max() for axis in (0, 1)) < 0.1


def test_all_windows_begin_at_the_same_pixel_of_a_pool(noise):
    def pooled(images):
        """What 32 x 32 pixels have in common, as five pools see it."""
        blocks = [cv2.resize(each[..., 0], None, fx=1 / 32, fy=1 / 32, interpolation=cv2.INTER_AREA) for each in images]
        maps = np.stack([np.kron(block, np.ones((32, 32))) for block in blocks])[..., None].astype(np.float32) / 255
        return {"segmentation": maps, "detection": maps}

    image = cv2.resize(noise, (700, 500))
    whole = inference.probabilities(pooled, image, window=1088)
    assert whole[0].std() > 0.01
    for window in (160, 256, 576):
        parts = inference.probabilities(pooled, image, window=window)
        np.testing.assert_allclose(parts[0][:400, :600], whole[0][:400, :600], atol=1e-6)  # the rest is mirrored


@pytest.mark.parametrize("wrong", [{"window": 100}, {"window": 0}, {"overlap": -1}, {"overlap": 600}, {"batch": 0}])
def test_wrong_tiling(noise, wrong):
    with pytest.raises(ValueError, match="window"):
        inference.probabilities(blur_network, noise, **wrong)


@pytest.mark.parametrize("maps", [{}, {"segmentation": np.zeros((1, 5, 5, 1)), "detection": 0}])
def test_network_that_returns_something_else(noise, maps):
    with pytest.raises(ValueError, match="output segmentation of shape"):
        inference.probabilities(lambda images: maps, noise)


@pytest.mark.parametrize("image", [np.zeros((9, 9, 3)), np.zeros((9, 9), np.uint8), np.zeros((0, 9, 3), np.uint8)])
def test_what_is_no_image(image):
    with pytest.raises(ValueError, match="uint8 RGB"):
        inference.probabilities(blur_network, image)


def test_segment_finds_the_discs(stained, circles):
    nuclei = inference.segment(dark_network, stained, normalise=False)
    assert nuclei.shape == circles.shape and nuclei.max() == 4  # two discs touch and nothing detects them
    assert metrics.dice1(nuclei, circles) > 0.95


@pytest.mark.parametrize(("microns_per_pixel", "side"), [(0.5, 2.0), (0.2, 0.8), (0.26, 1.0), (None, 1.0)])
def test_segment_works_at_40x_and_returns_the_images_pixels(stained, circles, microns_per_pixel, side):
    network = Recorder(dark_network)
    nuclei = inference.segment(network, stained, False, microns_per_pixel, overlap=0)
    height, width = (int(np.ceil(round(s * side) / 32)) * 32 for s in circles.shape)
    assert network.shapes == [(1, height, width, 3)]
    assert nuclei.shape == circles.shape
    assert metrics.dice1(nuclei, circles) > 0.9
    assert np.array_equal(np.unique(nuclei), np.arange(nuclei.max() + 1))


@pytest.mark.parametrize(("radius", "scale"), [(3, 2.0), (6, 1.63), (9, 1.0), (15, 1.0)])
def test_images_of_small_nuclei_are_looked_at_twice(radius, scale):
    image = np.full((128, 160, 3), 255, np.uint8)
    for y in range(16, 128, 32):
        for x in range(16, 160, 32):
            cv2.circle(image, (x, y), radius, (80, 40, 120), -1)
    network = Recorder(dark_network)
    settings = config.Instances(typical_area=300)
    nuclei = inference.segment(network, image, False, None, settings, overlap=0)
    sides = [tuple(math.ceil(round(side * factor) / 32) * 32 for side in (128, 160)) for factor in (1, scale)]
    assert [shape[1:3] for shape in network.shapes] == (sides if scale > 1 else sides[:1])
    both = Recorder(dark_network)
    inference.segment(both, image, False, None, dataclasses.replace(settings, transposed=True), overlap=0)
    last = network.shapes[-1][1:3]
    assert [shape[1:3] for shape in both.shapes] == [*(shape[1:3] for shape in network.shapes), last[::-1]]
    assert nuclei.shape == (128, 160) and nuclei.max() == 20
    assert metrics.dice1(nuclei, (image[..., 1] < 115).astype(np.int32)) > 0.9
    assert inference.segment(Recorder(dark_network), image, False).max() == 20  # off by default


def test_a_second_look_adds_no_fragments():
    def flickering(images):
        found = dark_network(images)
        if images.shape[1] > 128:
            found["segmentation"][:, 3:8, 3:8] = 1  # 25 pixels of the enlarged image, 7 of the image
        return found

    image = np.full((128, 128, 3), 255, np.uint8)
    for x in range(20, 120, 20):
        cv2.circle(image, (x, 64), 4, (80, 40, 120), -1)
    nuclei = inference.segment(flickering, image, False, None, config.Instances(typical_area=300), overlap=0)
    assert nuclei.max() == 5 and np.bincount(nuclei.ravel())[1:].min() >= 20


def uneven_network(images):
    """A network whose maps rise from the left to the right."""
    ramp = np.broadcast_to(np.linspace(0, 1, images.shape[2], dtype=np.float32)[None, None, :, None], images.shape)
    return {"segmentation": ramp[..., :1], "detection": ramp[..., :1]}


def test_symmetric_maps_are_those_of_both_views():
    one, other = inference.symmetric(uneven_network, np.zeros((64, 96, 3), np.uint8), overlap=0)
    rows, columns = np.linspace(0, 1, 64)[:, None], np.linspace(0, 1, 96)[None]
    np.testing.assert_allclose(one, (rows + columns) / 2, atol=1e-6)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("transposed", "slanted"), [(False, False), (True, True)])
def test_segment_looks_at_the_transposed_image_if_asked(transposed, slanted):
    nuclei = inference.segment(
        uneven_network,
        np.zeros((64, 96, 3), np.uint8),
        False,
        None,
        config.Instances(transposed=transposed, segmentation_threshold=0.5),
        overlap=0,
    )
    assert (nuclei[2, 50] > 0) != slanted and nuclei[60, 90] > 0 and nuclei[2, 5] == 0


def test_scores_are_means_over_each_nucleus_and_tell_how_far_the_views_agree(stained):
    """The second view, known by its height, is unsure of everything: 0.7 in place of 1."""

    def unsure(images):
        maps = dark_network(images)
        return {name: m * (0.7 if images.shape[1] > images.shape[2] else 1) for name, m in maps.items()}

    settings = config.Instances(segmentation_sigma=0, transposed=True)
    found = inference.found(unsure, stained, False, None, settings, overlap=0)
    assert found.labels.max() == 4
    np.testing.assert_allclose(found.scores()["probability"][1:], 0.85, atol=0.02)
    np.testing.assert_allclose(found.scores()["agreement"][1:], 0.7, atol=0.02)
    doubled = inference.found(unsure, stained, False, 0.5, settings, overlap=0)
    assert doubled.probability.shape == doubled.difference.shape == doubled.labels.shape == stained.shape[:2]
    np.testing.assert_allclose(doubled.scores()["agreement"][1:], 0.7, atol=0.05)
    one = inference.found(dark_network, stained, False, overlap=0)
    assert set(one.scores()) == {"probability"} and one.difference is None


def test_shares_of_windows_sum_to_one():
    for side, overlap in ((500, 64), (500, 0), (90, 32)):
        begins, length = inference.starts(side, 160, overlap)
        total = np.zeros(begins[-1] + length)
        for begin, share in zip(begins, inference.shares(begins, length, overlap), strict=True):
            total[begin : begin + length] += share
        inner = total[overlap // 2 : overlap // 2 + side]
        np.testing.assert_allclose(inner, 1, atol=1e-6)


def test_few_nuclei_say_nothing_about_their_size():
    labels = np.zeros((50, 50), np.int32)
    for number in range(1, 5):
        labels[10 * number : 10 * number + 4, :4] = number
    assert inference.enlargement(labels, 300) == 1.0
    labels[5:9, 20:24] = 5
    assert inference.enlargement(labels, 300) == 2.0
    assert inference.enlargement(labels, 0) == 1.0


def test_large_images_are_enlarged_as_far_as_memory_goes(monkeypatch):
    labels = np.zeros((50, 50), np.int32)
    labels[::5, ::5] = np.arange(1, 101).reshape(10, 10)
    monkeypatch.setattr(inference, "ENLARGED_MAX", 50 * 50 * 2.25)
    assert inference.enlargement(labels, 300) == 1.5
    monkeypatch.setattr(inference, "ENLARGED_MAX", 50 * 50 * 1.5)
    assert inference.enlargement(labels, 300) == 1.0


def test_resampled_labels_keep_their_place():
    labels = np.zeros((40, 60), np.int32)
    labels[10:20, 20:40] = 5
    half = inference.on_pixels(labels, (20, 30))
    assert (half == 1).sum() == 50 and (half[5:10, 10:20] == 1).all()


def test_normalisation_comes_before_tiling(stained):
    seen = []

    def network(images):
        seen.append(images)
        return dark_network(images)

    inference.segment(network, stained, overlap=0)
    np.testing.assert_array_equal(seen[0][0, :96, :128], inference.reinhard(stained))
    assert not np.array_equal(seen[0][0, :96, :128], stained)


@pytest.mark.parametrize("microns_per_pixel", [0.0, -0.25, float("nan"), 1000.0])
def test_wrong_resolution(stained, microns_per_pixel):
    with pytest.raises(ValueError, match="microns per pixel"):
        inference.segment(dark_network, stained, microns_per_pixel=microns_per_pixel)


def test_an_image_is_not_enlarged_beyond_the_memory(stained):
    with pytest.raises(ValueError, match="tile by tile. Received: 442, at 9.48 microns"):
        inference.segment(dark_network, np.tile(stained, (5, 5, 1)), microns_per_pixel=9.48)


def test_otsu_finds_discs_and_parts_the_touching_ones(stained, circles):
    nuclei = inference.otsu_nuclei(stained)
    assert nuclei.max() == 5 and nuclei[40, 58] != nuclei[40, 78]
    assert metrics.aji(nuclei, circles) > 0.75


def test_otsu_of_a_uniform_image():
    assert inference.otsu_nuclei(np.full((30, 30, 3), 200, np.uint8)).max() == 0
