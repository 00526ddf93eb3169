import csv
import importlib
import json
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from hou_synth import config, metrics
from hou_synth.io import files, image_files
from train import experiments
from train.runs import epochs, labelled_options
from train.tables import budget, protocols, speed, sweep

REAL_POPEN = subprocess.Popen
TINY = (
    "--preset quick --unet-widths 4,8 --unet-down 1,1 --unet-up 1 --patch 64 --batch 2 --pool 8 --refiner-blocks 1 "
    "--refiner-steps 0 --discriminator-steps 0 --adversarial-rounds 0 --task-steps 3 --joint-rounds 0 --final-steps 0"
).split()


@pytest.fixture(scope="module")
def data(tmp_path_factory, tissue_image):
    """Four labelled images of two tissue types, and a folder of tiles."""
    folder = tmp_path_factory.mktemp("experiments")
    image, nuclei = tissue_image
    for name, (y, x) in {"lung/a": (0, 0), "lung/b": (0, 128), "brain/c": (128, 0), "brain/d": (128, 128)}.items():
        (folder / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        files.write_png(folder / "set" / f"{name}.png", image[y : y + 128, x : x + 128])
        image_files.write(folder / "set" / name, nuclei[y : y + 128, x : x + 128])
    (folder / "tiles").mkdir()
    cv2.imwrite(str(folder / "tiles/a.png"), image[..., ::-1])
    return folder


class InProcess:
    """In place of subprocess.Popen: the same command in this process."""

    trained = []

    def __init__(self, words):
        module, argv = words[2], words[3:]
        InProcess.trained.append(argv[argv.index("--out") + 1].rsplit("/", 1)[1])
        self.code = importlib.import_module(module).main(argv)

    def wait(self):
        return self.code


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    InProcess.trained = []
    monkeypatch.setattr(sweep.subprocess, "Popen", InProcess)
    monkeypatch.setattr(sweep, "alone", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(labelled_options, "FINETUNE_UPDATES", 2)
    monkeypatch.setattr(epochs, "EPOCH", 2)


def start(data, out, protocol, *more):
    argv = [protocol, "--data", str(data / "set"), "--tiles", str(data / "tiles"), "--out", str(out), *TINY]
    return experiments.main([*argv, *map(str, more)])


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_protocol_is_trained_measured_and_continued(data, tmp_path, capsys):
    rows = ["--rows", "supervised", "universal", "finetune", "--shots", "1", "--networks", "unet"]
    assert start(data, tmp_path, "across", *rows) == 0
    cells = ["supervised-unet-across-brain", "supervised-unet-across-lung", "universal-unet"]
    cells += ["finetune1-unet-across-brain", "finetune1-unet-across-lung"]
    assert InProcess.trained == cells
    images = table(tmp_path / "across.csv")
    tested = {row: {r["image"] for r in images if r["cell"] == row} for row in cells}
    assert tested[cells[0]] == {"c", "d"} and tested[cells[1]] == {"a", "b"} and len(tested["universal-unet"]) == 4
    about = json.loads((tmp_path / cells[0] / "run.json").read_text())
    assert sorted(about["training"] + about["validation"]) == ["a", "b"]
    assert json.loads((tmp_path / "universal-unet/run.json").read_text())["labelled"] == []
    assert json.loads((tmp_path / cells[3] / "run.json").read_text())["model"] == str(tmp_path / "universal-unet")
    lines = (tmp_path / "across.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| Type-specific U-net",
        "| Universal U-net, no labels",
        "| Universal U-net, fine-tuned with 1",
    ]
    dice = np.mean([float(r["dice"]) for r in images if r["row"] == "supervised-unet"])
    assert f"{dice:.3f}" in lines[2] and "0.8010 / 0.7179" in lines[2]
    assert lines[2] in capsys.readouterr().out
    assert start(data, tmp_path, "across", *rows) == 0
    assert InProcess.trained == cells and (tmp_path / "across.md").read_text().splitlines() == lines


def test_universal_and_real_learns_from_the_other_side_of_the_split(data, tmp_path):
    assert start(data, tmp_path, "within", "--rows", "real", "--networks", "unet", "--folds", 2) == 0
    for fold, test in ((1, {"a", "c"}), (2, {"b", "d"})):
        run = tmp_path / f"real-unet-within-fold{fold}"
        assert set(json.loads((run / "run.json").read_text())["labelled"]) == set("abcd") - test
        assert {row["image"] for row in table(run / "set.csv")} == test


def test_across_data_sets(data, tmp_path, tissue_image):
    other = tmp_path / "other"
    other.mkdir()
    files.write_png(other / "x.png", tissue_image[0][:100, :100])
    image_files.write(other / "x", tissue_image[1][:100, :100])
    out = tmp_path / "out"
    tests = ["--test", other, data / "set"]
    assert start(data, out, "dataset", "--rows", "supervised", "--networks", "cnn", *tests) == 0
    assert InProcess.trained == ["supervised-cnn-dataset-all"]
    assert config.load(out / "supervised-cnn-dataset-all/config.json").networks.network == "cnn"
    rows = table(out / "dataset.csv")
    assert [row["image"] for row in rows if row["set"] == "other"] == ["x"] and len(rows) == 5
    assert "dice other | dice set" in (out / "dataset.md").read_text()


def test_other_settings_want_another_folder(data, tmp_path, capsys):
    wanted = ["across", "--rows", "universal", "--networks", "unet"]
    assert start(data, tmp_path, *wanted) == 0
    assert start(data, tmp_path, *wanted, "--minutes", 3) == 2
    assert "minutes: None != 3.0" in capsys.readouterr().err


def test_a_cell_that_fails_is_named(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(InProcess, "wait", lambda self: 2)
    assert start(data, tmp_path, "across", "--rows", "supervised", "--networks", "unet") == 2
    assert "supervised-unet-across-brain" in capsys.readouterr().err


def test_interrupted_cells_stop_the_protocol(data, tmp_path, monkeypatch):
    monkeypatch.setattr(InProcess, "wait", lambda self: 130)
    assert start(data, tmp_path, "across", "--rows", "supervised", "--networks", "unet") == 130
    assert len(InProcess.trained) == 1


@pytest.mark.parametrize("reached", [True, False])
def test_ctrl_c_ends_the_training_in_either_case(reached, interruptible, monkeypatch):
    monkeypatch.setattr(sweep, "PATIENCE", 0.2)
    code = "import time\ntry:\n  print('on', flush=True)\n  time.sleep(60)\n"
    code += "except KeyboardInterrupt:\n  raise SystemExit(130)"
    process = REAL_POPEN([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    if reached:
        process.send_signal(signal.SIGINT)
    sweep.stop(process)
    assert process.returncode == 130
    process.stdout.close()


@pytest.mark.parametrize("protocol,more", [("dataset", []), ("within", ["--test", "x"])])
def test_test_sets_belong_to_the_protocol_dataset(data, tmp_path, capsys, protocol, more):
    assert start(data, tmp_path, protocol, *more) == 2
    assert "--test" in capsys.readouterr().err


def test_images_are_told_apart_by_their_names(data, tmp_path, capsys):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        for path in (data / "set/lung").iterdir():
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    argv = ["across", "--data", str(tmp_path / "one"), str(tmp_path / "other"), "--out", str(tmp_path / "out")]
    assert experiments.main(argv) == 2 and "a, b twice" in capsys.readouterr().err


def cell(kind="supervised"):
    return protocols.Cell(kind, f"{kind}-unet", "unet", kind, (), ())


def test_minutes_cut_all_counts_by_one_factor(tmp_path):
    rounds = {"refiner_steps": 40, "discriminator_steps": 100, "adversarial_rounds": 50, "task_steps": 500}
    updates = {"refiner_updates": 2, "discriminator_updates": 1, "task_updates": 6}
    settings = config.preset("cpu", **rounds, **updates, joint_rounds=80, final_steps=1020)
    cost = {"refiner": 2.0, "discriminator": 1.0, "task": 0.5}
    files.write_text(tmp_path / "speed.json", json.dumps(dict.fromkeys(["unet alone", "unet universal"], cost)))
    seconds = budget.SHARE * (300 - budget.OVERHEAD)
    assert budget.affordable(tmp_path, 5, settings, cell(), {"task": 2000}) == {"task": round(seconds / 0.5)}
    assert budget.affordable(tmp_path, 5, settings, cell(), {"task": 10}) == {"task": 10}
    counts = {name: getattr(settings.schedule, name) for name in budget.COUNTS}
    cut = budget.affordable(tmp_path, 5, settings, cell("universal"), counts)
    total = 40 * 2 + 100 * 1 + 50 * (2 * 2 + 1) + 500 * 0.5 + 80 * (2 * 2 + 6 * 0.5 + 1) + 1020 * 0.5
    assert cut == {name: round(count * seconds / total) for name, count in counts.items()}


def test_a_speed_that_is_missing_is_named(tmp_path):
    (tmp_path / "speed.json").write_text('{"unet alone": {"refiner": 1.0, "task": 1.0}}')
    with pytest.raises(ValueError, match=r"speed\.json \(unet alone\.discriminator: field required"):
        budget.affordable(tmp_path, 5, config.preset("cpu"), cell(), {"task": 10})


def test_speed_is_measured_once_for_each_network(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "MEASURED", 2)
    settings = config.preset("quick", **{"unet_widths": (4, 8), "unet_down": (1, 1), "unet_up": (1,)})
    first = budget.affordable(tmp_path, 5, settings, cell(), {"task": 10**6})
    assert 0 < json.loads((tmp_path / "speed.json").read_text())["unet alone"]["task"] < 60
    free = config.preset("quick", refiner_blocks=1, pool=8, patch=64, batch=2)
    assert speed.seconds(free)["refiner"] > 0 == speed.seconds(free, label_free=False)["refiner"]
    monkeypatch.setattr(speed, "seconds", lambda *_: pytest.fail("measured twice"))
    assert budget.affordable(tmp_path, 5, settings, cell(), {"task": 10**6}) == first


def test_the_table_s_measures_are_the_mean_over_images():
    rows = [dict.fromkeys(metrics.MEASURES, value) for value in (0.2, 0.6)]
    assert sweep.mean(rows, "dice") == pytest.approx(0.4)
