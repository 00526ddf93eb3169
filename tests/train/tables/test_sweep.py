import os
import subprocess
import sys

import pytest

from hou_synth import metrics
from hou_synth.io import files, image_files
from tests.paths import ROOT
from train.judging import scores
from train.tables import sweep

# A sweep whose trainings, and what runs alone, take no time; it ends with 1 if it has imported TensorFlow.
SWEEP = """
import sys
from hou_synth import metrics
from train import ablation, experiments
from train.tables import sweep

def alone(function, *arguments):
    assert function.__name__ in ("_check", "_measured")
    about = {"set": "set", "type": "", **dict.fromkeys(metrics.MEASURES, 0.5)}
    return [{**about, "image": entry.name} for entry in arguments[-1]] if "_measured" in function.__name__ else None

def train(name, words):
    folder = words[words.index("--out") + 1]
    pathlib.Path(folder).mkdir(parents=True)
    pathlib.Path(folder, "scores.json").write_text('{"minutes": 1.0}')

import pathlib
sweep.alone, sweep.train = alone, train
data, out = sys.argv[1:]
assert ablation.main(["--data", data, "--out", out + "/a", "--seeds", "0"]) == 0
assert experiments.main(["within", "--data", data, "--out", out + "/e", "--folds", "2", "--shots", "1"]) == 0
sys.exit("tensorflow" in sys.modules)
"""


def test_what_starts_the_trainings_of_a_sweep_does_without_tensorflow(tmp_path, stained, circles):
    (tmp_path / "set").mkdir()
    for name in "ab":
        files.write_png(tmp_path / "set" / f"{name}.png", stained)
        image_files.write(tmp_path / "set" / name, circles)
    words = [sys.executable, "-c", SWEEP, str(tmp_path / "set"), str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| all | 1 | 1.0 | 0.500 |" in (tmp_path / "a" / "ablation.md").read_text()
    assert "Universal U-net, fine-tuned with 1 | 1 | 1.0 | 0.500 |" in (tmp_path / "e" / "within.md").read_text()


def test_what_runs_alone_has_a_process_that_ends(tmp_path):
    first, second = sweep.alone(os.getpid), sweep.alone(os.getpid)
    assert len({first, second, os.getpid()}) == 3
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    with pytest.raises(ValueError, match="nowhere"):
        sweep.alone(scores.read, refused(tmp_path / "nowhere.csv"))


def refused(path):
    path.write_text("no,table\n")
    return path


def test_measured_cells_are_read_again(tmp_path, monkeypatch):
    rows = [{"set": "a/b", "type": "", "image": "=x", **dict.fromkeys(metrics.MEASURES, 1 / 3)}]
    (tmp_path / "cell").mkdir()
    monkeypatch.setattr(sweep, "alone", lambda function, *arguments: rows)
    assert sweep.measured(tmp_path, "cell", "a/b", []) == rows
    monkeypatch.setattr(sweep, "alone", lambda *_: pytest.fail("measured twice"))
    assert sweep.measured(tmp_path, "cell", "a/b", []) == rows


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '{"minutes": "long"}'])
def test_damaged_scores_of_a_cell_are_named(tmp_path, text):
    (tmp_path / "cell").mkdir()
    (tmp_path / "cell/scores.json").write_text('{"minutes": 2.5, "dice": 0.5}')
    assert sweep.minutes(tmp_path, "cell") == 2.5
    (tmp_path / "cell/scores.json").write_text(text)
    with pytest.raises(ValueError, match="cell/scores.json"):
        sweep.minutes(tmp_path, "cell")


def test_a_damaged_record_of_the_cells_is_named(tmp_path):
    sweep.same(tmp_path / "sweep.json", {"tiles": "x"})
    (tmp_path / "sweep.json").write_text("[1]")
    with pytest.raises(ValueError, match="sweep.json"):
        sweep.same(tmp_path / "sweep.json", {"tiles": "x"})
