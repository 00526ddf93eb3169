import csv
import json
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
from skimage.color import rgb2hed

import hou_synth.serving
from data import tissue
from hou_synth import config, inference, metrics, model, released, segment
from hou_synth.io import files, image_files
from tests.paths import ROOT
from train import evaluate
from train.loop.task_trainer import signed
from train.serving import assets, card

TABLE = ROOT / "docs" / "results" / "released.csv"
EXTRA = released.FOLDER / "assets.extra"
TILE = "balanced/0"


def test_its_folder_has_what_every_command_needs_and_at_most_30_megabytes():
    paths = [path for path in released.FOLDER.rglob("*") if path.is_file()]
    assert {path.relative_to(released.FOLDER).as_posix() for path in paths} == {
        "fingerprint.pb",
        "saved_model.pb",
        "variables/variables.data-00000-of-00001",
        "variables/variables.index",
        "assets.extra/config.json",
        "assets.extra/labels.json",
        "assets.extra/model_card.md",
        "assets.extra/run.json",
        "assets.extra/task.keras",
        "assets.extra/tf_serving_warmup_requests",
    }
    assert 1e6 < sum(path.stat().st_size for path in paths) <= 30e6
    assert released.FOLDER.parts[-3:] == ("saved_models", "universal_unet", "2")


def test_it_says_that_no_label_trained_it_and_how_it_was_trained():
    about, text = json.loads((EXTRA / "run.json").read_text()), (EXTRA / "model_card.md").read_text()
    assert about["kind"] == "label-free" and about["labelled_count"] == 0 and about["tile_count"] > 50
    assert not about["embedded"] and about["trained"]["minutes"] > 1 and "tensorflow" in about["versions"]
    assert text.startswith("# universal_unet\n") and "without a single label" in text
    settings = config.load(EXTRA / "config.json")
    assert settings.networks.network == "unet" and model.thresholds(released.model()) == settings.instances


def test_its_card_has_the_scores_of_the_table():
    assert card.measured(assets.read([TABLE])) in (EXTRA / "model_card.md").read_text()


@pytest.fixture(scope="module")
def tile():
    return tissue.tiles()[TILE]


@pytest.fixture(scope="module")
def segmented(tile, tmp_path_factory):
    """An empty folder in which `segment IMAGE` ran as a command of its own, what it printed, and imported modules."""
    folder = tmp_path_factory.mktemp("elsewhere")
    files.write_png(folder / "tile.png", tile)
    command = [sys.executable, "-X", "importtime", "-m", "hou_synth.segment", "tile.png"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return folder, done.stdout, {line.rsplit("|", 1)[-1].strip() for line in lines}


def test_the_shortest_command_writes_all_results_and_says_where(segmented):
    folder, printed, _ = segmented
    names = ["tile.csv", "tile.geojson", "tile_labels.png", "tile_overlay.png"]
    assert sorted(path.name for path in (folder / "segmented").iterdir()) == names
    assert printed == "overlay: segmented/tile_overlay.png\n"


def test_it_begins_without_what_a_savedmodel_does_not_need(segmented):
    assert "tensorflow" in segmented[2] and not segmented[2] & {"keras", "matplotlib"}


def test_the_nuclei_that_it_finds_are_the_blue_ones(segmented, tile):
    nuclei = image_files.read(segmented[0] / "segmented" / "tile_labels.png")
    haematoxylin = rgb2hed(tile)[..., 0]
    assert 30 < nuclei.max() < 1000 and 30 < np.median(np.bincount(nuclei.ravel())[1:]) < 2000
    assert haematoxylin[nuclei > 0].mean() > 2 * haematoxylin[nuclei == 0].mean()
    assert metrics.dice1(nuclei, inference.otsu_nuclei(tile)) > 0.5


def test_the_network_that_is_fine_tuned_is_the_one_that_is_served(tile):
    images = tile[None, :96, :128]
    logits = keras.saving.load_model(EXTRA / "task.keras", compile=False)(signed(images))
    served = hou_synth.load().network(images)
    for name in inference.OUTPUTS:
        np.testing.assert_allclose(1 / (1 + np.exp(-logits[name])), served[name], atol=1e-5)


def test_it_has_the_scores_of_the_table_to_the_last_digit(real_data, tmp_path):
    out = tmp_path / "scores.csv"
    command = ["--data", str(real_data / "labelled" / "kumar16"), "--limit", "2", "--out", str(out)]
    assert evaluate.main(command) == 0
    expected = {(row["set"], row["image"]): row for row in rows(TABLE)}
    found = rows(out)
    assert len(found) == 2
    for row in found:
        kept = expected[row["set"], row["image"]]
        assert row["type"] == kept["type"]
        for name in metrics.MEASURES:  # half a unit of the fourth digit, which tables print
            assert float(row[name]) == pytest.approx(float(kept[name]), abs=5e-5), (row["image"], name)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def missing(tmp_path, monkeypatch):
    """An image, where the released model is not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(released, "FOLDER", tmp_path / "saved_models" / "universal_unet" / "2")
    files.write_png(tmp_path / "a.png", np.zeros((64, 64, 3), np.uint8))
    image_files.write(tmp_path / "a", np.ones((64, 64), np.int32))
    return tmp_path


@pytest.mark.parametrize("command", [(segment.main, []), (evaluate.main, ["--data"])], ids=("segment", "evaluate"))
def test_without_it_a_command_says_what_to_do(missing, capsys, command):
    main, options = command
    assert main([*options, "." if options else "a.png"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(released.FOLDER) in said and "--model" in said
    assert not (missing / "segmented").exists()


def test_a_server_is_asked_for_its_name(missing, monkeypatch):
    asked = []

    def load(server, model, timeout, authorities):
        asked.append((server, model))
        raise ValueError("not there")

    monkeypatch.setitem(sys.modules, "hou_synth.serving.client", types.SimpleNamespace(load=load))
    monkeypatch.setattr(hou_synth.serving, "client", sys.modules["hou_synth.serving.client"], raising=False)
    assert segment.main(["a.png", "--server", "http://host:8501"]) == 2
    assert asked == [("http://host:8501", "universal_unet")]
