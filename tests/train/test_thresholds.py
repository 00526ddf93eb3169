import csv
import dataclasses
import json
import types

import cv2
import numpy as np
import pytest
import tensorflow as tf

from hou_synth import config, instances, metrics
from train import thresholds
from train.judging import criterion, threshold_search
from train.loop.task_trainer import signed
from train.loop.trainer import UniversalTrainer
from train.runs import kept_state, self_training
from train.runs.universal_run import Run

SETTINGS = config.preset("quick", unet_widths=(4, 8), unet_down=(1, 1), unet_up=(1,), refiner_blocks=1, batch=2)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Few patches and few combinations."""
    monkeypatch.setattr(threshold_search, "PAINTED", 3)
    monkeypatch.setattr(
        threshold_search, "TRIED", {"seed_height": (0.2, 0.4), "mean_min": (0.3, 0.999), "line": (0, 1)}
    )


@pytest.fixture
def dark():
    """A trainer whose network finds dark pixels, the darker the surer."""

    def probabilities(images):
        probability = tf.sigmoid(-12.0 * tf.reduce_mean(images, axis=-1, keepdims=True))
        return {"segmentation": probability, "detection": probability}

    return types.SimpleNamespace(
        probabilities=probabilities, patch=lambda image, reference: signed(image), config=SETTINGS
    )


def test_every_combination_is_judged_by_criterion_and_painted_patches(bank, dark):
    rows = threshold_search.judged(Run(None, bank, dark))
    assert len({tuple(row[name] for name in threshold_search.TRIED) for row in rows}) == len(rows) == 8
    order = [(row["agreement"], row["product"]) for row in rows]
    assert order == [(row["agreement"], row["product"]) for row in threshold_search.ranked(rows[::-1])]
    assert rows[0]["product"] > 0.1 > rows[-1]["product"]  # nearly no nucleus has a mean of 0.999
    row = rows[0]
    assert row["product"] == pytest.approx(row["criterion"] * row["painted_pq"])
    tried = dataclasses.replace(SETTINGS.instances, **{name: row[name] for name in threshold_search.TRIED})
    crops = [
        kept_state.crops(bank, SETTINGS.schedule.seed + number, SETTINGS.synthesis.by_type)
        for number in range(threshold_search.SETS)
    ]
    found = [criterion.criterion(self_training.callable_of(dark), each, tried) for each in crops]
    for name in ("agreement", "criterion"):
        assert row[name] == pytest.approx(np.mean([parts[name] for parts in found]))
    maps, truths = threshold_search.painted(Run(None, bank, dark), 256)
    pairs = zip(maps, truths, strict=True)
    quality = [metrics.panoptic(instances.nuclei(m[..., 0], m[..., 1], tried), truth).pq for m, truth in pairs]
    assert row["painted_pq"] == pytest.approx(np.mean(quality))


def test_of_those_that_are_not_certainly_worse_the_one_that_agrees_best_is_first():
    values = [(0.9, 0.7, 0.56), (0.8, 0.7, 0.575), (0.95, 0.7, 0.54), (0.85, 0.7, 0.562), (0.85, 0.7, 0.565)]
    rows = [dict(zip(("agreement", "painted_pq", "product"), value, strict=True)) for value in values]
    assert kept_state.ERROR == 0.02  # 0.575 - 0.02 x 0.7 = 0.561
    assert [row["product"] for row in threshold_search.ranked(rows)] == [0.565, 0.562, 0.575, 0.56, 0.54]


def test_painted_patches_are_not_those_of_training(bank, dark):
    maps, truths = threshold_search.painted(Run(None, bank, dark), 128)
    assert np.shape(maps) == (3, 128, 128, 2) and np.shape(truths) == (3, 128, 128)
    assert all(truth.max() > 0 for truth in truths)
    inside, outside = (
        np.mean([m[..., 0][(t > 0) == part].mean() for m, t in zip(maps, truths, strict=True)]) for part in (1, 0)
    )
    assert inside > outside + 0.2


def test_the_table_of_a_run(tmp_path, tissue_image, capsys):
    run, tissue = tmp_path / "run", tmp_path / "tissue"
    run.mkdir()
    tissue.mkdir()
    cv2.imwrite(str(tissue / "a.png"), tissue_image[0][..., ::-1])
    config.save(SETTINGS, run / "config.json")
    (run / "run.json").write_text(json.dumps({"tiles": str(tissue), "bank": "gone"}))
    for name, network in UniversalTrainer(SETTINGS).plain().items():
        network.save(run / f"{name}.keras")
    out = tmp_path / "thresholds.csv"
    assert thresholds.main(["--run", str(run), "--out", str(out)]) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    printed = capsys.readouterr().out.splitlines()
    assert tuple(rows[0]) == threshold_search.COLUMNS == tuple(printed[-9].split()) and len(rows) == 8
    assert thresholds.main(["--run", str(run), "--out", str(out)]) == 2
    assert "Expected an output that does not exist yet." in capsys.readouterr().err


def test_tiles_that_are_too_small_for_a_crop(dark):
    small = types.SimpleNamespace(tiles=[types.SimpleNamespace(image=np.zeros((100, 300, 3), np.uint8))])
    with pytest.raises(ValueError, match="at least 128x128 pixels. Received: none."):
        threshold_search.judged(Run(None, small, dark))
