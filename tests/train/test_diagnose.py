import csv
import json

import cv2
import numpy as np
import pytest
import tensorflow as tf

from hou_synth import config
from train import diagnose
from train.loop.trainer import UniversalTrainer
from train.runs import universal_run
from train.runs.callbacks import Clock

TINY = {"refiner_blocks": 1, "unet_widths": (4, 8), "unet_down": (1, 1), "unet_up": (1,), "patch": 64, "pool": 8}


@pytest.fixture(scope="module")
def settings():
    return config.preset("quick", **TINY)


@pytest.fixture(scope="module")
def tissue(tmp_path_factory, tissue_image):
    """Folder of tiles of two types."""
    folder = tmp_path_factory.mktemp("tissue")
    for name, image in {"lung": tissue_image[0], "skin": tissue_image[0][::-1]}.items():
        (folder / name).mkdir()
        cv2.imwrite(str(folder / name / "a.png"), image[..., ::-1])
    return folder


@pytest.fixture
def run(tmp_path, tissue, settings):
    """A run folder that has begun: no checkpoint, no networks."""
    folder = tmp_path / "run"
    folder.mkdir()
    config.save(settings, folder / "config.json")
    bank = tissue.parent / "banks" / "tissue.h5"
    (folder / "run.json").write_text(json.dumps({"tiles": str(tissue), "bank": str(bank)}))
    return folder


def trained(settings, run, seed, finished):
    """A trainer with its own weights, kept as a run keeps them."""
    tf.keras.utils.set_random_seed(seed)
    trainer = UniversalTrainer(settings)
    if finished:
        for name, network in trainer.plain().items():
            network.save(run / f"{name}.keras")
    else:
        universal_run.Progress(run, trainer, Clock()).save()
    return trainer


def same(one, other):
    pairs = [
        zip(getattr(one, n).get_weights(), getattr(other, n).get_weights(), strict=True) for n in universal_run.NETWORKS
    ]
    return all(np.array_equal(a, b) for pair in pairs for a, b in pair)


def test_table_is_printed_and_kept(run, settings, capsys):
    trained(settings, run, 1, True)
    out = run / "table.csv"
    assert diagnose.main(["--run", str(run), "--count", "30", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["type"] for row in rows} == {"all", "lung", "skin"}
    contrast = next(row for row in rows if row["measure"] == "haematoxylin across the border")
    low, value, high = (float(contrast[name]) for name in ("initial_low", "initial", "initial_high"))
    assert low <= value <= high and f"{value:.3g} ({low:.3g} to {high:.3g})" in told
    assert (
        len(out.with_suffix(".md").read_text().splitlines())
        == len(rows) + 2
        == len(told.splitlines()[-len(rows) :]) + 2
    )
    assert diagnose.main(["--run", str(run), "--out", str(out)]) == 2
    assert "does not exist yet" in capsys.readouterr().err


def test_unfinished_run_is_taken_from_its_checkpoint(run, settings):
    trainer = trained(settings, run, 2, False)
    assert same(universal_run.trainer(run), trainer)
    trained(settings, run, 3, True)
    assert same(universal_run.trainer(run), trainer)


def test_finished_run_is_taken_from_its_networks(run, settings):
    trainer = trained(settings, run, 4, True)
    loaded = universal_run.trainer(run)
    assert same(loaded, trainer)
    image = tf.zeros((1, 64, 64, 3), tf.uint8)
    assert np.allclose(loaded.patch(image, image), trainer.patch(image, image), atol=1e-5)


def test_tiles_of_another_folder_replace_the_runs(run, settings, tmp_path, tissue_image):
    other = tmp_path / "other" / "colon"
    other.mkdir(parents=True)
    cv2.imwrite(str(other / "b.png"), tissue_image[0][:, ::-1, ::-1])
    assert universal_run.bank(run).types == ["lung", "skin"]
    assert universal_run.bank(run, other.parent).types == ["colon"]


@pytest.mark.parametrize("more,what", [([], "Expected a checkpoint or the networks"), (["--count", "0"], "--count")])
def test_mistakes_are_one_line(run, more, what, capsys):
    assert diagnose.main(["--run", str(run), *more]) == 2
    assert what in capsys.readouterr().err
    assert diagnose.main(["--run", str(run.parent)]) == 2
    assert "no config.json" in capsys.readouterr().err
