import csv

import numpy as np
import pytest

from hou_synth import files, inference, instances, labels, metrics
from train import evaluate


@pytest.fixture
def folder(tmp_path, stained, circles):
    """Folder with two labelled images."""
    (tmp_path / "data").mkdir()
    for stem in "ab":
        files.write_png(tmp_path / "data" / f"{stem}.png", stained)
        labels.write(tmp_path / "data" / stem, circles)
    return tmp_path


def run(folder, *more):
    return evaluate.main(["--data", str(folder / "data"), *map(str, more)])


def test_otsu_baseline_table_is_the_scores(folder, stained, circles, capsys):
    assert run(folder, "--model", "otsu", "--out", folder / "table.csv") == 0
    rows = list(csv.DictReader((folder / "table.csv").read_text().splitlines()))
    expected = metrics.scores(inference.otsu_nuclei(stained), circles)
    assert [row["image"] for row in rows] == ["a", "b", "mean"]
    for name, value in expected.items():
        assert [float(row[name]) for row in rows] == pytest.approx([value] * 3)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split() == ["mean", *(f"{value:.4f}" for value in expected.values())]
    assert len({len(line) for line in lines}) == 1


def test_model_and_overlays_side_by_side(folder, stained, monkeypatch):
    monkeypatch.setattr(inference, "thresholds", lambda path: instances.DEFAULT)
    monkeypatch.setattr(
        inference,
        "load",
        lambda path: lambda images: {"segmentation": images[..., :1] * 0.0} | {"detection": images[..., :1] * 0.0},
    )
    assert run(folder, "--model", "m", "--overlays", folder / "o", "--limit", 1, "--out", folder / "t.csv") == 0
    assert [path.name for path in (folder / "o").iterdir()] == ["a_overlay.png"]
    drawn = labels.image(folder / "o" / "a_overlay.png")
    assert drawn.shape == (96, 256, 3)
    np.testing.assert_array_equal(drawn[:, 128:], stained)  # the network finds nothing
    assert ((drawn[:, :128] == evaluate.TRUE_OUTLINE).all(axis=2).sum()) > 100
    assert float(list(csv.DictReader((folder / "t.csv").read_text().splitlines()))[0]["dice1"]) == 0.0


def test_mismatch_and_missing_labels_are_named(folder, circles, capsys):
    labels.write(folder / "data" / "a", circles[:50])
    files.write_png(folder / "data" / "c.png", np.zeros((9, 9, 3), np.uint8))
    assert run(folder, "--model", "otsu") == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error")]
    assert len(errors) == 2
    assert "a.png" in errors[0] and "(96, 128)" in errors[0] and "(50, 128)" in errors[0]
    assert "c.png" in errors[1] and "c_labels" in errors[1]
    assert [line.split()[0] for line in captured.out.splitlines()] == ["image", "b", "mean"]


@pytest.mark.parametrize("more", [["--model", "nowhere"], ["--model", "otsu", "--limit", "0"]])
def test_mistakes_are_one_line(folder, capsys, more):
    assert run(folder, *more) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_folder_without_images(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    assert run(tmp_path, "--model", "otsu") == 2
    assert "none" in capsys.readouterr().err


def test_otsu_on_real_tissue(real_data, tmp_path):
    data = real_data / "labelled" / "kumar16"
    assert evaluate.main(["--model", "otsu", "--data", str(data), "--limit", "1", "--out", str(tmp_path / "t")]) == 0
    (row, mean) = csv.DictReader((tmp_path / "t").read_text().splitlines())
    assert 0.5 < float(row["dice"]) < 0.8 and row["dice"] == mean["dice"]


def test_older_results_are_not_overwritten(folder, capsys):
    (folder / "t.csv").write_text("precious")
    assert run(folder, "--model", "otsu", "--out", folder / "t.csv") == 2
    assert "t.csv" in capsys.readouterr().err and (folder / "t.csv").read_text() == "precious"
