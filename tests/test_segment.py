import csv
import json
import pathlib

import numpy as np
import pytest

from hou_synth import files, inference, instances, labels, segment

NAMES = ["a.csv", "a.geojson", "a_labels.png", "a_overlay.png"]


@pytest.fixture
def folder(tmp_path, stained, monkeypatch):
    """Folder with image a.png; the model is what is dark in green."""

    def dark(images):
        mask = (images[..., 1:2] < 115).astype(np.float32)
        return {"segmentation": mask, "detection": np.zeros_like(mask)}

    monkeypatch.setattr(inference, "load", lambda path: dark)
    monkeypatch.setattr(inference, "thresholds", lambda path: instances.DEFAULT)
    (tmp_path / "in").mkdir()
    files.write_png(tmp_path / "in" / "a.png", stained)
    return tmp_path


def run(folder, *more):
    return segment.main(["--model", "m", "--out", str(folder / "out"), "--no-normalise", *map(str, more)])


def test_results_agree_with_one_another(folder, stained):
    assert run(folder, folder / "in", "--microns-per-pixel", 0.25) == 0
    out = folder / "out"
    assert sorted(path.name for path in out.iterdir()) == NAMES
    nuclei = labels.read(out / "a_labels.png")
    assert nuclei.max() == 4
    rows = list(csv.DictReader((out / "a.csv").read_text().splitlines()))
    assert [int(row["area_pixels"]) for row in rows] == np.bincount(nuclei.ravel())[1:].tolist()
    assert float(rows[0]["area_um2"]) == pytest.approx(int(rows[0]["area_pixels"]) / 16)
    drawn = labels.image(out / "a_overlay.png")
    assert 0 < (drawn != stained).any(axis=2).mean() < 0.1
    assert (nuclei[(drawn != stained).any(axis=2)] > 0).all()


def test_geojson_is_what_qupath_reads(folder):
    run(folder, folder / "in" / "a.png")
    collection = json.loads((folder / "out" / "a.geojson").read_text())
    assert collection["type"] == "FeatureCollection" and len(collection["features"]) == 4
    for feature in collection["features"]:
        ring = feature["geometry"]["coordinates"][0]
        assert feature["type"] == "Feature" and feature["geometry"]["type"] == "Polygon"
        assert ring[0] == ring[-1] and len(ring) >= 5
        assert feature["properties"] == {"objectType": "detection", "classification": {"name": "Nucleus"}}


def test_image_that_cannot_be_decoded_does_not_stop_the_others(folder, capsys):
    (folder / "in" / "0_broken.png").write_bytes(b"no image")
    assert run(folder, folder / "in") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "0_broken.png" in errors[0]
    assert sorted(path.name for path in (folder / "out").iterdir()) == NAMES


def test_older_results_are_replaced_only_on_demand(folder, capsys):
    (folder / "out").mkdir()
    old = folder / "out" / "a_labels.tif"
    old.write_bytes(b"old")
    assert run(folder, folder / "in") == 2
    assert str(old) in capsys.readouterr().err
    assert [path.name for path in (folder / "out").iterdir()] == ["a_labels.tif"]
    assert run(folder, folder / "in", "--overwrite") == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == NAMES


def test_two_images_of_one_stem(folder, capsys):
    files.write_png(folder / "a.png", np.zeros((20, 20, 3), np.uint8))
    assert run(folder, folder / "in", folder / "a.png") == 2
    assert capsys.readouterr().err.startswith("error: Expected images with different stems")
    assert not (folder / "out").exists()


@pytest.mark.parametrize("name", ["nowhere.png", "empty"])
def test_nothing_to_segment(folder, capsys, name):
    (folder / "empty").mkdir()
    assert run(folder, folder / name) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_full_disk_is_one_line_and_leaves_no_half_file(folder, capsys, monkeypatch):
    def full(path, content):
        with path.open("wb") as file:
            file.write(content[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    assert run(folder, folder / "in") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1 and "No space left" in errors[0] and "a_labels.png" in errors[0]
    assert list((folder / "out").iterdir()) == []


def test_wrong_model_is_one_line(tmp_path, stained, capsys):
    files.write_png(tmp_path / "a.png", stained)
    assert segment.main(["--model", str(tmp_path / "m"), "--out", str(tmp_path), str(tmp_path / "a.png")]) == 2
    assert capsys.readouterr().err.startswith("error: Expected a SavedModel")
