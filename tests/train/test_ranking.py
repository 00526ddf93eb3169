import csv

import numpy as np
import pytest

import hou_synth
from hou_synth import inference
from hou_synth.io import files, image_files
from hou_synth.model import Model
from train import ranking
from train.judging import criterion
from train.judging.ranking import correlations, crops


@pytest.fixture
def tiles(tmp_path, tissue_image):
    """Folder with two tiles (256, 256) and a small one."""
    (tmp_path / "tiles" / "lung").mkdir(parents=True)
    image = tissue_image[0]
    for name, pixels in {"a": image, "lung/b": image[::-1], "small": image[:200]}.items():
        files.write_png(tmp_path / "tiles" / f"{name}.png", np.ascontiguousarray(pixels))
    return tmp_path / "tiles"


@pytest.fixture
def models(monkeypatch):
    """Models by name: the dark pixels of an image, those of its upper half, and every pixel."""

    def load(name):
        def network(images):
            found = images[..., 0] < np.median(images[..., 0]) - 30
            found[:, images.shape[1] // 2 :] &= name != "upper"
            found |= name == "everything"
            return dict.fromkeys(inference.OUTPUTS, found.astype(np.float32)[..., None])

        return Model(network)

    monkeypatch.setattr(hou_synth, "load", load)
    return ["everything", "dark", "upper"]


def test_models_are_ranked_and_compared_with_labels(tiles, models, tissue_image, tmp_path, capsys):
    (tmp_path / "set").mkdir()
    files.write_png(tmp_path / "set" / "x.png", tissue_image[0])
    image_files.write(tmp_path / "set" / "x", tissue_image[1])
    out = tmp_path / "ranks.csv"
    words = ["--model", *models, "--tiles", str(tiles), "--data", str(tmp_path / "set"), "--out", str(out)]
    assert ranking.main(words) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["model"] for row in rows] == ["dark", "upper", "everything"]
    assert list(rows[0]) == ["model", *criterion.PARTS, "set dice", "set aji"]
    assert float(rows[0]["criterion"]) > 0.8 and float(rows[2]["criterion"]) == 0
    assert float(rows[0]["set dice"]) > 0.9
    found = criterion.criterion(hou_synth.load("upper").network, crops(tiles))
    assert {name: float(rows[1][name]) for name in criterion.PARTS} == pytest.approx(found)
    printed = capsys.readouterr().out
    assert "rank correlation over 3 models" in printed
    (line,) = (line.split() for line in printed.splitlines() if line.startswith("criterion"))
    assert line == ["criterion", "1.0000", "1.0000"]


def test_without_labels_there_is_no_correlation(tiles, models, capsys):
    assert ranking.main(["--model", "dark", "--tiles", str(tiles)]) == 0
    printed = capsys.readouterr().out
    assert printed.split()[:2] == ["model", "criterion"] and "correlation" not in printed


def test_correlations_by_hand():
    rows = [dict.fromkeys(criterion.PARTS, value) | {"score": score} for value, score in [(1, 2), (2, 1), (3, 3)]]
    rows = [{"model": "m", **row, "amount": 5, "paler": -row["paler"]} for row in rows]
    found = {row["part"]: row["score"] for row in correlations(rows)}
    assert found["criterion"] == pytest.approx(0.5) and found["paler"] == pytest.approx(-0.5)  # 1 - 6 x 2 / 24
    assert np.isnan(found["amount"])


def test_crops_come_from_every_large_tile(tiles, tissue_image):
    found = crops(tiles, count=4, seed=1)
    assert found.shape == (4, 256, 256, 3) and found.dtype == np.uint8
    assert not np.array_equal(found[0], found[1])
    assert {crop.tobytes() for crop in found} == {crop.tobytes() for crop in found[:2]}
    assert np.array_equal(found, crops(tiles, count=4, seed=1))


def test_tiles_that_are_too_small(tiles, models, capsys):
    for name in ("a.png", "lung/b.png"):
        (tiles / name).unlink()
    assert ranking.main(["--model", "dark", "--tiles", str(tiles)]) == 2
    assert capsys.readouterr().err.startswith("error: Expected tiles of at least 256x256 pixels.")


def test_an_older_table_is_kept(tiles, models, tmp_path, capsys):
    (tmp_path / "ranks.csv").write_text("precious")
    words = ["--model", "dark", "--tiles", str(tiles), "--out", str(tmp_path / "ranks.csv")]
    assert ranking.main(words) == 2
    assert (tmp_path / "ranks.csv").read_text() == "precious"
