import json

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


def test_the_released_one_is_small_and_learned_without_a_label():
    paths = [path for path in released.lymphocyte().rglob("*") if path.is_file()]
    assert 1e5 < sum(path.stat().st_size for path in paths) <= 5e6
    about = json.loads((released.lymphocyte() / "assets.extra" / "run.json").read_text())
    assert about["kind"] == "label-free" and about["labelled_count"] == 0 and about["tile_count"] > 50


def test_the_released_one_knows_lymphocytes(real_data):
    from data.labelled import points
    from train.judging import auroc

    marked = points.read_folder(real_data / "points" / "crchisto" / "validation", microns_per_pixel=0.5)[:3]
    judged = auroc.judged(lymphocytes.load(), marked)
    assert auroc.area(judged.scores, judged.positive) > 0.75


def test_centroids_and_scores_of_a_label_map():
    labels = np.zeros((80, 90), np.int32)
    labels[10:20, 30:34], labels[40:42, 50:60] = 1, 3  # no 2
    ids, places = lymphocytes.centroids(labels)
    assert ids.tolist() == [1, 3] and places.tolist() == [[32.0, 15.0], [55.0, 41.0]]
    image = np.zeros((80, 90, 3), np.uint8)
    image[:, 45:] = 255
    classifier = lymphocytes.Classifier(lambda cut: cut[:, 31:33, 31:33, 0].mean((1, 2)) / 255)
    told = classifier.scores(image, labels, normalise=False)["lymphocyte"]
    assert np.isnan(told[[0, 2]]).all() and told[[1, 3]].tolist() == [0.0, 1.0]
    enlarged = classifier.scores(image, labels, 0.5, normalise=False)["lymphocyte"]
    assert enlarged[[1, 3]].tolist() == [0.0, 1.0]
