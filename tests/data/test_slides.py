import cv2
import numpy as np
import pytest
import tifffile

from data import slides
from hou_synth.io import files, image_files


@pytest.fixture
def slide(tmp_path):
    """A slide of 0.5 microns per pixel in a folder `lung`: grainy tissue left, glass right."""
    image = np.full((300, 500, 3), 245, np.float32)
    image[:, :300] = (214, 160, 190)
    image = np.clip(image + np.random.default_rng(0).normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    (tmp_path / "lung").mkdir()
    tags = {"resolution": (20000, 20000), "resolutionunit": "CENTIMETER", "photometric": "rgb", "tile": (64, 64)}
    with tifffile.TiffWriter(tmp_path / "lung" / "s.tif") as file:
        file.write(image, subfiletype=0, **tags)
        file.write(cv2.resize(image, (250, 150)), subfiletype=1, **tags)
    return tmp_path / "lung" / "s.tif"


def run(slide, out, *more):
    return slides.main([str(slide), "--out", str(out), "--size", "101", *map(str, more)])


def test_tiles_are_tissue_at_40x_in_the_folder_of_their_type(slide, tmp_path):
    assert run(slide, tmp_path / "out", "--tiles-per-slide", 3) == 0
    rows = files.read_csv(tmp_path / "out" / slides.TABLE, slides.COLUMNS)
    assert len({row["tile"] for row in rows}) == 3 and {row["resampled"] for row in rows} == {"True"}
    for row in rows:
        tile = image_files.image(tmp_path / "out" / row["tile"])
        assert tile.shape == (101, 101, 3) and row["tile"].startswith("lung/s_") and row["width"] == "51"
        assert np.abs(tile.mean(axis=(0, 1)) - (214, 160, 190)).max() < 45


def test_the_seed_decides_and_what_is_there_stays(slide, tmp_path):
    names = []
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert run(slide, tmp_path / out, "--tiles-per-slide", 3, "--seed", seed) == 0
        names.append(sorted(path.name for path in (tmp_path / out / "lung").iterdir()))
    assert names[0] == names[1] != names[2]
    kept = tmp_path / "a" / "lung" / names[0][0]
    before = kept.stat().st_mtime_ns
    assert run(slide, tmp_path / "a", "--tiles-per-slide", 4) == 0
    assert kept.stat().st_mtime_ns == before and len(list((tmp_path / "a" / "lung").iterdir())) == 4


def test_a_slide_that_is_none_does_not_stop_the_others(slide, tmp_path, capsys):
    (tmp_path / "b.svs").write_bytes(b"none")
    assert slides.main([str(tmp_path / "b.svs"), str(slide), "--out", str(tmp_path / "out"), "--size", "101"]) == 2
    assert capsys.readouterr().err.count("error: ") == 1
    assert len(list((tmp_path / "out" / "lung").iterdir())) == 1
    assert run(slide, tmp_path / "out", "--tiles-per-slide", 99) == 2
    assert "Expected 99 tiles of tissue. Received: " in capsys.readouterr().err
    assert run(slide, tmp_path / "out", "--tiles-per-slide", 0) == 2
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", tmp_path / "out") == 2
