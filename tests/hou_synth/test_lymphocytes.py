import numpy as np
import pytest

from hou_synth import lymphocytes, released


def test_patches_lie_around_their_places():
    image = np.arange(100 * 120 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 120, 3)
    inner, corner = lymphocytes.patches(image, np.array([(60.4, 50.9), (0.0, 99.5)]))
    assert (inner == image[18:82, 28:92]).all()
    assert (corner[32, 32] == image[99, 0]).all() and (corner[33, 33] == image[98, 1]).all()  # mirrored beyond


def test_of_no_place_there_is_no_patch():
    assert lymphocytes.probabilities(None, np.zeros((64, 64, 3), np.uint8), np.zeros((0, 2))).shape == (0,)


def test_a_probability_is_the_mean_over_four_looks(monkeypatch):
    """A classifier that knows the upper left corner alone says something else of each look."""
    monkeypatch.setattr(lymphocytes, "BATCH", 2)
    image = np.zeros((64, 64, 3), np.uint8)
    image[0, 0], image[63, 0], image[0, 63] = 200, 100, 40
    places = np.array([(32, 32)] * 3)
    found = lymphocytes.probabilities(lambda cut: cut[:, 0, 0, 0] / np.float32(200), image, places)
    assert found == pytest.approx([(200 + 100 + 200 + 40) / 800] * 3)


def test_a_model_of_something_else_is_refused():
    with pytest.raises(ValueError, match="Expected a model with the output lymphocyte"):
        lymphocytes.load(released.model())
