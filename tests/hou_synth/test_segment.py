import csv
import dataclasses
import json
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest
import tifffile

import hou_synth.serving
from hou_synth import inference, instances, lymphocytes, metrics, model, segment
from hou_synth.io import command, files, image_files, locks
from hou_synth.model import Model
from hou_synth.slides import large_image, whole_slide
from tests.paths import ROOT

NAMES = ["a.csv", "a.geojson", "a_labels.png", "a_overlay.png"]


@pytest.fixture
def folder(tmp_path, stained, monkeypatch):
    """Folder with image a.png; the model is what is dark in green."""

    def dark(images):
        mask = (images[..., 1:2] < 115).astype(np.float32)
        return {"segmentation": mask, "detection": np.zeros_like(mask)}

    monkeypatch.setattr(hou_synth, "load", lambda path, engine=None: Model(dark, identity="dark/1"))
    (tmp_path / "in").mkdir()
    files.write_png(tmp_path / "in" / "a.png", stained)
    return tmp_path


def run(folder, *more):
    return segment.main(["--model", "m", "--out", str(folder / "out"), "--no-normalise", *map(str, more)])


def test_results_agree_with_one_another(folder, stained):
    assert run(folder, folder / "in", "--microns-per-pixel", 0.25) == 0
    out = folder / "out"
    assert sorted(path.name for path in out.iterdir()) == NAMES
    nuclei = image_files.read(out / "a_labels.png")
    assert nuclei.max() == 4
    rows = list(csv.DictReader((out / "a.csv").read_text().splitlines()))
    assert [int(row["area_pixels"]) for row in rows] == np.bincount(nuclei.ravel())[1:].tolist()
    assert float(rows[0]["area_um2"]) == pytest.approx(int(rows[0]["area_pixels"]) / 16)
    drawn = image_files.image(out / "a_overlay.png")
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
        told = feature["properties"].pop("measurements")
        assert feature["properties"] == {"objectType": "detection", "classification": {"name": "Nucleus"}}
        assert told["probability"] == 1 and told["at_border"] in (0, 1) and "agreement" not in told


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


def test_the_same_command_goes_on_where_it_was_stopped(folder, monkeypatch, capsys):
    files.write_png(folder / "in" / "b.png", image_files.image(folder / "in" / "a.png"))

    def stopped(path):
        if pathlib.Path(path).name.startswith("b_"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        write_png = files.write_png
        patched.setattr(files, "write_png", lambda path, image: stopped(path) or write_png(path, image))
        assert run(folder, folder / "in") == command.INTERRUPTED
    first, left = ({path.name for path in (folder / "out").glob(f"{stem}*")} for stem in "ab")
    assert first == set(NAMES) and left == {"b.geojson"}
    written = (folder / "out" / "a.csv").stat().st_mtime_ns
    capsys.readouterr()
    assert run(folder, folder / "in") == 0
    assert "1 of 2 images are segmented already" in capsys.readouterr().err
    assert (folder / "out" / "a.csv").stat().st_mtime_ns == written
    for name in NAMES[0], *NAMES[2:]:
        assert (folder / "out" / name).read_bytes() == (folder / "out" / f"b{name[1:]}").read_bytes()


@pytest.mark.parametrize("changed", ["model", "image", "microns_per_pixel"])
def test_results_of_another_request_are_refused_by_name(folder, monkeypatch, capsys, changed):
    assert run(folder, folder / "in") == 0
    before = (folder / "out" / "a.csv").read_bytes()
    load = hou_synth.load
    if changed == "model":
        monkeypatch.setattr(
            hou_synth, "load", lambda path, engine=None: dataclasses.replace(load(path), identity="dark/2")
        )
    elif changed == "image":
        files.write_png(folder / "in" / "a.png", image_files.image(folder / "in" / "a.png")[::-1])
    more = ["--microns-per-pixel", 0.5] if changed == "microns_per_pixel" else []
    assert run(folder, folder / "in", *more) == 2
    error = capsys.readouterr().err
    assert f"with another {changed}" in error and "--overwrite" in error
    assert (folder / "out" / "a.csv").read_bytes() == before
    assert run(folder, folder / "in", *more, "--overwrite") == 0


def test_a_file_that_cannot_be_read_does_not_stop_the_others(folder, capsys):
    (folder / "in" / "0.png").symlink_to(folder / "gone.png")
    (folder / "in" / "b.tif").symlink_to(folder / "gone.tif")
    (folder / "in" / "c.svs").symlink_to(folder / "gone.svs")
    (folder / "in" / "d.png").mkdir()
    assert run(folder, folder / "in") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert [error.split(":")[1].strip() for error in errors] == ["0.png", "b.tif", "c.svs", "d.png"]
    assert sorted(path.name for path in (folder / "out").iterdir()) == NAMES


@pytest.mark.parametrize("error", [MemoryError(), cv2.error("Insufficient memory"), MemoryError("TensorFlow has none")])
def test_an_image_without_enough_memory_does_not_stop_the_others(folder, monkeypatch, capsys, error):
    files.write_png(folder / "in" / "b.png", np.zeros((40, 50, 3), np.uint8))
    dark = hou_synth.load("m").network

    def network(images):
        if images.max() == 0:
            raise error
        return dark(images)

    if isinstance(error, cv2.error):
        error.code = cv2.Error.StsNoMem
    monkeypatch.setattr(hou_synth, "load", lambda path, engine=None: Model(network, identity="dark/1"))
    assert run(folder, folder / "in") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0].startswith("error: b.png: Expected enough memory")
    assert sorted(path.name for path in (folder / "out").iterdir()) == NAMES


@pytest.mark.parametrize("value", [7.0, -1e30, np.nan])
def test_what_is_no_probability_is_refused(folder, monkeypatch, capsys, value):
    def network(images):
        return dict.fromkeys(inference.OUTPUTS, np.full((*images.shape[:3], 1), value, np.float32))

    monkeypatch.setattr(hou_synth, "load", lambda path, engine=None: Model(network))
    assert run(folder, folder / "in") == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1 and "Expected probabilities from 0 to 1 in segmentation" in error
    assert list((folder / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["_labels.png", "_overlay.png", ".csv", ".geojson"])
def test_results_that_were_cut_off_are_not_finished(folder, capsys, name):
    assert run(folder, folder / "in") == 0
    path = folder / "out" / f"a{name}"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    capsys.readouterr()
    if name == ".geojson":  # which also tells whose results they are
        assert run(folder, folder / "in") == 2 and "which this request did not give" in capsys.readouterr().err
    else:
        assert run(folder, folder / "in") == 0 and "segmented already" not in capsys.readouterr().err
        assert path.read_bytes() == whole


def test_one_command_at_a_time_writes_into_a_folder(folder, capsys):
    with locks.exclusive(folder / "out"):
        assert run(folder, folder / "in") == 2
        assert [path.name for path in (folder / "out").iterdir()] == [locks.NAME]
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{folder / 'out'}, which another process is using" in said
    assert run(folder, folder / "in") == 0


@pytest.mark.parametrize("words", [[""], ["in", ""], ["--out", "", "in"], ["--model", "", "in"]])
def test_empty_names_are_refused(folder, monkeypatch, capsys, words):
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert segment.main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Received: an empty name." in said


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
    assert len(errors) == 1 and "No space left" in errors[0] and "a.geojson" in errors[0]
    assert list((folder / "out").iterdir()) == []


def test_wrong_model_is_one_line(tmp_path, stained, capsys):
    files.write_png(tmp_path / "a.png", stained)
    assert segment.main(["--model", str(tmp_path / "m"), "--out", str(tmp_path), str(tmp_path / "a.png")]) == 2
    assert capsys.readouterr().err.startswith("error: Expected a SavedModel")


@pytest.fixture
def pyramid(folder, monkeypatch):
    """Slide s.tif of four tiles, each with the image's discs; the model is what is dark in green."""
    image = np.tile(image_files.image(folder / "in" / "a.png"), (2, 2, 1))
    with tifffile.TiffWriter(folder / "s.tif") as file:
        for level in range(2):
            pixels = np.ascontiguousarray(image[:: 2**level, :: 2**level])
            file.write(pixels, tile=(64, 64), photometric="rgb", subfiletype=level)
    monkeypatch.setattr(whole_slide, "TILE", 128)
    return folder / "s.tif"


RESOLUTION = ("--microns-per-pixel", 0.25)
SLIDE_OUTPUTS = ["s.csv", "s.geojson", "s.tiles", "s_overlay.png"]


def test_tables_as_parquet(folder, pyramid):
    read = pytest.importorskip("pyarrow.parquet").read_table
    assert run(folder, folder / "in", pyramid, *RESOLUTION, "--parquet") == 0
    for stem, count in (("a", 4), ("s", 16)):
        rows = list(csv.DictReader((folder / "out" / f"{stem}.csv").read_text().splitlines()))
        table = read(folder / "out" / f"{stem}.parquet")
        assert table.num_rows == len(rows) == count and table.column_names == list(rows[0])
        assert table["centroid_x"].to_pylist() == [float(row["centroid_x"]) for row in rows]
        assert float(rows[0]["centroid_x_um"]) == pytest.approx(float(rows[0]["centroid_x"]) / 4, abs=0.01)


def test_slides_and_images_in_one_command(folder, pyramid):
    assert run(folder, folder / "in", pyramid, *RESOLUTION) == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == NAMES + SLIDE_OUTPUTS
    rows = list(csv.DictReader((folder / "out" / "s.csv").read_text().splitlines()))
    assert len(rows) == 16 and {row["eccentricity"] != "" for row in rows} == {True}
    assert len(list((folder / "out" / "s.tiles").glob("*-features.csv"))) == 4


def test_slide_without_a_resolution_does_not_stop_the_others(folder, pyramid, capsys):
    assert run(folder, pyramid, folder / "in") == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "s.tif" in errors[0] and "--microns-per-pixel" in errors[0]
    assert sorted(path.name for path in (folder / "out").iterdir()) == NAMES


def test_a_slide_of_which_a_tile_cannot_be_read_ends_with_code_3(folder, pyramid, monkeypatch, capsys):
    pixels = whole_slide.Slide.pixels

    def damaged(slide, place, level=0):
        if place.x and place.y:
            raise whole_slide.Unreadable("Expected a readable slide.")
        return pixels(slide, place, level)

    monkeypatch.setattr(whole_slide, "MARGIN", 24)
    with monkeypatch.context() as patched:
        patched.setattr(whole_slide.Slide, "pixels", damaged)
        patched.setattr(whole_slide.Slide, "overview", lambda slide: np.full((50, 60, 3), 200, np.uint8))
        assert run(folder, pyramid, folder / "in", *RESOLUTION) == segment.INCOMPLETE == 3
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and errors[1] == "error: s.tif: 1 of 4 tiles could not be read."
    assert sorted(path.name for path in (folder / "out").iterdir()) == NAMES + SLIDE_OUTPUTS
    assert 8 < (folder / "out" / "s.csv").read_text().count("\n") < 17
    assert run(folder, pyramid, *RESOLUTION) == 0  # the next start tries the tile again
    assert (folder / "out" / "s.csv").read_text().count("\n") == 17


def test_a_region_of_a_slide(folder, pyramid, capsys):
    assert run(folder, pyramid, *RESOLUTION, "--region", 0, 0, 128, 96) == 0
    assert (folder / "out" / "s.csv").read_text().count("\n") == 5
    assert run(folder, pyramid, *RESOLUTION) == 2 and "region: " in capsys.readouterr().err
    for wrong in ((folder / "in", 0, 0, 5, 5), (pyramid, -1, 0, 5, 5), (pyramid, 0, 0, 5, 500)):
        assert run(folder, wrong[0], *RESOLUTION, "--overwrite", "--region", *wrong[1:]) == 2
        assert capsys.readouterr().err.count("region") >= 1


def test_finished_slide_is_left_alone_and_begun_anew_on_demand(folder, pyramid, monkeypatch, capsys):
    assert run(folder, pyramid, *RESOLUTION) == 0
    before = {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}
    calls = []

    def counted(images):
        calls.append(1)
        return {name: np.zeros((*images.shape[:3], 1), np.float32) for name in inference.OUTPUTS}

    monkeypatch.setattr(hou_synth, "load", lambda path, engine=None: Model(counted, identity="dark/1"))
    assert run(folder, pyramid, *RESOLUTION) == 0 and not calls
    assert {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()} == before
    monkeypatch.setattr(hou_synth, "load", lambda path, engine=None: Model(counted, identity="dark/2"))
    assert run(folder, pyramid, *RESOLUTION) == 2
    assert "model: dark/1 != dark/2" in capsys.readouterr().err
    assert run(folder, pyramid, *RESOLUTION, "--overwrite") == 0 and calls
    assert (folder / "out" / "s.csv").read_text().count("\n") == 1


def test_a_slides_output_that_was_cut_off_is_made_again(folder, pyramid, monkeypatch):
    assert run(folder, pyramid, *RESOLUTION) == 0
    monkeypatch.setattr(
        hou_synth, "load", lambda path, engine=None: Model(None, identity="dark/1")
    )  # the tiles are enough
    for name in ("s.csv", "s.geojson", "s_overlay.png", "s.tiles/finished.json"):
        whole = (folder / "out" / name).read_bytes()
        (folder / "out" / name).write_bytes(whole[:500] if len(whole) > 500 else whole[:5])
        assert run(folder, pyramid, *RESOLUTION) == 0
        assert (folder / "out" / name).read_bytes() == whole


def test_older_output_of_something_else_is_not_replaced_by_a_slides(folder, pyramid, capsys):
    (folder / "out").mkdir()
    (folder / "out" / "s.csv").write_text("mine")
    assert run(folder, pyramid, *RESOLUTION) == 2
    assert "s.csv exists" in capsys.readouterr().err
    assert [path.name for path in (folder / "out").iterdir()] == ["s.csv"]


@pytest.fixture
def large(folder, monkeypatch):
    """Image l.png of four tiles, each with the image's discs, that is too large to be segmented at once."""
    files.write_png(folder / "l.png", np.tile(image_files.image(folder / "in" / "a.png"), (2, 2, 1)))
    monkeypatch.setattr(whole_slide, "TILE", 128)
    monkeypatch.setattr(large_image, "LARGE", 20_000)
    return folder / "l.png"


def test_a_large_image_goes_tile_by_tile_and_ends_as_an_image(folder, large, monkeypatch, capsys):
    assert run(folder, large) == 0
    assert "l.png: 0 megapixels at 40X, segmented tile by tile" in capsys.readouterr().err
    assert sorted(path.name for path in (folder / "out").iterdir()) == [f"l{name[1:]}" for name in NAMES]
    tiled = image_files.read(folder / "out" / "l_labels.png")
    assert run(folder, large) == 0 and "1 of 1 images are segmented already" in capsys.readouterr().err
    monkeypatch.setattr(large_image, "LARGE", 10**6)
    assert run(folder, large, "--overwrite") == 0
    whole = image_files.read(folder / "out" / "l_labels.png")
    assert tiled.max() == whole.max() == 16
    scores = metrics.scores(tiled, whole)
    assert scores["dice1"] > 0.98 and scores["pq"] > 0.95


def test_a_large_image_goes_on_where_it_was_stopped(folder, large, serve, capsys):
    serve(failing={3})
    assert run(folder, large, *SERVER, "--parallel", 1) == 2
    assert "2 of 4 tiles are kept" in capsys.readouterr().err
    server = serve()
    assert run(folder, large, *SERVER) == 0 and server.calls == 2
    assert image_files.read(folder / "out" / "l_labels.png").max() == 16
    assert not (folder / "out" / "l.tiles").exists()


@pytest.fixture
def classifier(monkeypatch):
    """What is green at a nucleus's centre is a lymphocyte with that share of 255 as its probability."""

    def network(patches):
        return patches[:, 31:33, 31:33, 1].mean((1, 2)) / np.float32(255)

    monkeypatch.setattr(lymphocytes, "load", lambda path: lymphocytes.Classifier(network, f"green/{path}"))


def read_probabilities(out, stem):
    """Those of the table, which are those of the outlines."""
    rows = list(csv.DictReader((out / f"{stem}.csv").read_text().splitlines()))
    features = json.loads((out / f"{stem}.geojson").read_text())["features"]
    told = [float(row["lymphocyte"]) for row in rows]
    assert [feature["properties"]["measurements"]["lymphocyte"] for feature in features] == pytest.approx(told)
    return np.array(told)


def test_lymphocytes_of_an_image(folder, classifier, stained, capsys):
    assert run(folder, folder / "in", "--lymphocytes") == 0
    nuclei, told = image_files.read(folder / "out" / "a_labels.png"), read_probabilities(folder / "out", "a")
    for number, probability in enumerate(told, 1):
        rows, columns = np.nonzero(nuclei == number)
        y, x = int(rows.mean() + 0.5), int(columns.mean() + 0.5)
        assert probability == pytest.approx(stained[y - 1 : y + 1, x - 1 : x + 1, 1].mean() / 255, abs=0.02)
    assert run(folder, folder / "in", "--lymphocytes") == 0 and "segmented already" in capsys.readouterr().err
    assert run(folder, folder / "in", "--lymphocytes", "--classifier", "other") == 2
    assert "exists, with another lymphocytes." in capsys.readouterr().err


def test_lymphocytes_of_a_large_image_are_those_of_its_nuclei(folder, classifier, large):
    assert run(folder, large, "--lymphocytes") == 0
    told = read_probabilities(folder / "out", "l")
    assert len(told) == 16 and (told < 0.45).all() and (told > 0.1).all()  # of nuclei green is 60 of 255, in the mean


def test_lymphocytes_of_a_slide(folder, classifier, pyramid, monkeypatch, capsys):
    assert run(folder, pyramid, *RESOLUTION, "--lymphocytes") == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted([*SLIDE_OUTPUTS, "s_lymphocytes.png"])
    assert len(read_probabilities(folder / "out", "s")) == 16
    drawn, every = (image_files.image(folder / "out" / f"s_{name}.png") for name in ("lymphocytes", "overlay"))
    assert drawn.shape == every.shape and (drawn[:-40] != every[:-40]).any()  # none is probable here
    assert run(folder, pyramid, *RESOLUTION, "--lymphocytes", "--classifier", "other") == 2
    assert "lymphocytes: green/None != green/other" in capsys.readouterr().err


def test_a_classifier_alone_is_a_mistake(folder, capsys):
    assert run(folder, folder / "in", "--classifier", "c") == 2
    assert "Expected --lymphocytes with --classifier" in capsys.readouterr().err


def test_enlarging_an_image_of_coarse_pixels_does_not_take_the_memory(folder, monkeypatch):
    monkeypatch.setattr(inference, "found", limited(inference.found))
    monkeypatch.setattr(whole_slide, "TILE", 128)
    monkeypatch.setattr(large_image, "LARGE", 10**6)
    assert run(folder, folder / "in", "--microns-per-pixel", 5) == 0  # 5 megapixels
    assert image_files.read(folder / "out" / "a_labels.png").shape == (96, 128)


def limited(found):
    def checked(network, image, *more, **options):
        assert image.size < 10**6
        return found(network, image, *more, **options)

    return checked


class Served:
    """Stands in for `hou_synth.serving.client`; the network fails in the calls of `failing`."""

    class Unserved(ValueError):
        pass

    def __init__(self, version=1, failing=()):
        self.settings, self.identity = instances.DEFAULT, f"http://host:8501 cpu/{version}"
        self.failing, self.calls, self.loaded, self.closed, self.largest = failing, 0, None, False, 0

    def document(self, name):
        return ""

    def load(self, server, model, timeout, authorities):
        self.loaded = (server, model, timeout)
        return self

    def __call__(self, images):
        self.calls += 1
        if self.calls in self.failing:
            raise self.Unserved("Expected an answer in 60 seconds. Received: none.")
        self.largest = max(self.largest, *images.shape[1:3])
        mask = (images[..., 1:2] < 115).astype(np.float32)
        return {"segmentation": mask, "detection": np.zeros_like(mask)}

    def close(self):
        self.closed = True


@pytest.fixture
def serve(monkeypatch):
    def serve(**more):
        server = Served(**more)
        monkeypatch.setitem(sys.modules, "hou_synth.serving.client", server)
        monkeypatch.setattr(hou_synth.serving, "client", server, raising=False)
        return server

    return serve


SERVER = ("--server", "http://host:8501")


def test_server_does_what_the_model_does(folder, pyramid, serve):
    assert run(folder, folder / "in", pyramid, *RESOLUTION) == 0
    (folder / "out").rename(folder / "local")
    server = serve()
    assert run(folder, folder / "in", pyramid, *RESOLUTION, *SERVER, "--timeout", 7) == 0
    assert server.loaded == ("http://host:8501", "m", 7.0) and server.closed
    for path in (folder / "local").rglob("*.*"):
        if path.is_file() and path.name != "request.json":
            other = folder / "out" / path.relative_to(folder / "local")
            if path.name == "a.geojson":
                one, two = (json.loads(each.read_text()) for each in (path, other))
                assert one.pop("hou_synth")["model"] == "dark/1" and two.pop("hou_synth")["model"] == server.identity
                assert one == two
            else:
                assert path.read_bytes() == other.read_bytes()


def test_a_server_gets_windows_that_fit_a_batch(folder, tmp_path, serve):
    files.write_png(tmp_path / "large.png", np.full((100, 900, 3), 255, np.uint8))
    server = serve()
    assert run(folder, tmp_path / "large.png", *SERVER) == 0
    assert 512 < server.largest <= model.SENT < inference.WINDOW


def test_slide_goes_on_after_the_server_fails(folder, pyramid, serve, capsys):
    serve(failing={3})
    assert run(folder, pyramid, folder / "in", *RESOLUTION, *SERVER, "--parallel", 1) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "tile/s" not in line and line.strip()]
    assert lines[-2].startswith("2 of 4 tiles are kept in") and "same command" in lines[-2]
    assert lines[-1] == "error: Expected an answer in 60 seconds. Received: none."
    assert [path.name for path in (folder / "out").iterdir()] == ["s.tiles"]  # nothing else was tried
    serve(version=2)
    assert run(folder, pyramid, *RESOLUTION, *SERVER) == 2
    assert "model: http://host:8501 cpu/1 != http://host:8501 cpu/2" in capsys.readouterr().err
    server = serve()
    assert run(folder, pyramid, *RESOLUTION, *SERVER) == 0 and server.calls == 2
    assert sorted(path.name for path in (folder / "out").iterdir()) == SLIDE_OUTPUTS


def test_interrupted_slide_says_how_to_go_on(folder, pyramid, serve, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(inference, "views", interrupted)
    server = serve()
    assert run(folder, pyramid, *RESOLUTION, *SERVER) == 130
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "interrupted" and lines[-2].startswith("0 of 4 tiles are kept") and server.closed


@pytest.mark.parametrize("wrong", [("--parallel", 0), ("--timeout", 5), (*SERVER, "--timeout", 0)])
def test_wrong_options(folder, capsys, wrong):
    assert run(folder, folder / "in", *wrong) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_with_a_server_tensorflow_is_not_imported(folder):
    code = """
import sys, types
import numpy as np
import hou_synth.serving
from hou_synth import instances, segment

class Network:
    settings, identity, document = instances.DEFAULT, "x", None
    def __call__(self, images):
        mask = (images[..., 1:2] < 115).astype(np.float32)
        return {"segmentation": mask, "detection": mask * 0}
    def close(self):
        pass

hou_synth.serving.client = types.ModuleType("hou_synth.serving.client")
hou_synth.serving.client.load, hou_synth.serving.client.Unserved = (lambda *_, **__: Network()), ValueError
sys.modules["hou_synth.serving.client"] = hou_synth.serving.client
assert segment.main(sys.argv[1:]) == 0
sys.exit(any(name in sys.modules for name in ("tensorflow", "openslide")))
"""
    arguments = ["--server", "x", "--model", "m", "--out", str(folder / "out"), str(folder / "in")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "a_labels.png").is_file()
