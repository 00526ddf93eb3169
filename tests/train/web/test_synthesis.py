"""What the page paints: the patches of a seed, refined and weighed as by the model."""

import base64

import cv2
import numpy as np
import pytest

from data import synthetic
from hou_synth import config
from train.web import server
from train.web.synthesis import Painter, Wish, _painter


def pixels(address):
    content = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_patches_are_those_of_the_seed_refined_and_weighed(exported, bank, tmp_path):
    painter = Painter(exported.version, str(bank.path.parent), tmp_path)
    made = painter.patches(4, 2)
    settings = config.load(exported.version / "assets.extra/config.json")
    for index, patch in enumerate(made):
        expected = synthetic.example(painter.bank, 4, index, settings.schedule.patch, settings.synthesis)
        assert np.array_equal(pixels(patch["initial"]), expected.image)
        assert np.array_equal(pixels(patch["reference"]), expected.reference)
        assert patch["tile"] == expected.provenance["tile"] and patch["weight"] >= 0
    assert not np.array_equal(pixels(made[0]["refined"]), pixels(made[0]["initial"]))


def test_without_a_refiner_there_are_initial_patches(exported, bank, tmp_path, monkeypatch):
    monkeypatch.setattr("train.web.synthesis.refiner", lambda folder: None)
    painter = Painter(exported.version, str(bank.path.parent), tmp_path)
    (made,) = painter.patches(0, 1)
    assert made["refined"] is None and made["weight"] is None
    assert [len(row) for row in painter.styles(0)] == [2, 2, 2]


@pytest.mark.parametrize("change", [{"seed": -1}, {"count": 0}, {"count": 61}, {"model": "other"}])
def test_wishes_that_are_refused(tmp_path, change):
    wish = Wish(**{"model": "tiny/1", "tiles": "", "seed": 0, "count": 1, **change})
    with pytest.raises(ValueError, match="Expected"):
        _painter(server.State(server.Settings({"tiny/1": tmp_path}, tmp_path)), wish)
