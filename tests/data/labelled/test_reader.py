import json
import shutil

import cv2
import numpy as np
import pytest
import scipy.io

from data.labelled import reader
from hou_synth import inference, instances, metrics
from hou_synth.io import command, geojson, image_files


@pytest.fixture
def folder(tmp_path, circles, stained):
    """A set with one image of each format, named after it."""
    for name in reader.FORMATS:
        cv2.imwrite(str(tmp_path / f"{name}.png"), stained[..., ::-1])
    image_files.write(tmp_path / "plain", circles * 3)
    height, width = circles.shape
    (tmp_path / "miccai_mask.txt").write_text("\n".join(map(str, [width, height, *circles.ravel()])))
    scipy.io.savemat(tmp_path / "matlab.mat", {"inst_map": circles.astype(float)})
    written = geojson.collection(instances.polygons(circles).values())
    (tmp_path / "qupath.geojson").write_text(written)
    regions = "".join(_region(feature) for feature in json.loads(written)["features"])
    (tmp_path / "aperio.xml").write_text(f'<Annotations MicronsPerPixel="0.5">{regions}</Annotations>')
    return tmp_path


def _region(feature):
    points = np.array(feature["geometry"]["coordinates"][0]) - 0.5  # Aperio's count from the first pixel's centre
    return "<Region>" + "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in points) + "</Region>"


def test_every_format_gives_the_same(folder, circles, stained):
    items = list(reader.read_folder(folder))
    assert [item.name for item in items] == sorted(reader.FORMATS)
    for item in items:
        np.testing.assert_array_equal(item.image, stained)
        np.testing.assert_array_equal(item.labels, circles)
        assert item.labels.dtype == np.int32
        assert item.type == folder.name
        assert item.microns_per_pixel == (0.5 if item.name == "aperio" else 0.25)


def test_format_is_forced(folder):
    shutil.copy(folder / "qupath.png", folder / "other.png")
    errors = []
    assert [entry.name for entry in reader.find(folder, "qupath", on_error=errors.append)] == ["qupath"]
    assert len(errors) == len(reader.FORMATS)
    with pytest.raises(ValueError, match="qupath.*'svg'"):
        reader.find(folder, "svg")


def test_resolution_by_argument_then_table_then_file(folder):
    def resolutions(**more):
        return {item.name: item.microns_per_pixel for item in reader.read_folder(folder, **more)}

    (folder / "images.csv").write_text("image,type,microns_per_pixel\naperio,brain,0.4\nplain.png,,1\n")
    assert resolutions() == {"aperio": 0.4, "matlab": 0.25, "miccai": 0.25, "plain": 1, "qupath": 0.25}
    assert [entry.type for entry in reader.find(folder)] == ["brain", *[folder.name] * 4]
    assert set(resolutions(microns_per_pixel=0.3).values()) == {0.3}
    (folder / "other.csv").write_text("image,type\nplain,breast\n")
    assert resolutions(table=folder / "other.csv")["aperio"] == 0.5
    with pytest.raises(ValueError, match="microns_per_pixel"):
        reader.find(folder, microns_per_pixel=0)
    with pytest.raises(OSError, match="none.csv"):
        reader.find(folder, table=folder / "none.csv")


def test_nested_types(tmp_path, stained, circles):
    for kind, name in (("breast", "a"), ("kidney", "b")):
        (tmp_path / kind).mkdir()
        cv2.imwrite(str(tmp_path / kind / f"{name}.png"), stained)
        image_files.write(tmp_path / kind / name, circles)
    assert [(entry.name, entry.type) for entry in reader.find(tmp_path)] == [("a", "breast"), ("b", "kidney")]
    shutil.copy(tmp_path / "breast" / "a.png", tmp_path / "kidney")
    with pytest.raises(ValueError, match="several a,"):
        reader.find(tmp_path)


def test_folder_without_images(tmp_path):
    with pytest.raises(ValueError, match="Expected PNG"):
        reader.read_folder(tmp_path)
    with pytest.raises(ValueError, match="nowhere"):
        reader.read_folder(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["plain_labels.png", "miccai_mask.txt", "aperio.xml", "matlab.mat", "qupath.geojson"])
def test_empty_file_is_fatal_or_skipped(folder, name, capsys):
    (folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match=name):
        list(reader.read_folder(folder))
    rest = [item.name for item in reader.read_folder(folder, on_error=command.complain)]
    assert len(rest) == len(reader.FORMATS) - 1 and name.split(".")[0].split("_")[0] not in rest
    error = capsys.readouterr().err
    assert error.startswith("error: Expected") and name in error and error.count("\n") == 1


def test_missing_partners_are_fatal_or_skipped(folder):
    (folder / "plain_labels.png").unlink()
    (folder / "matlab.png").unlink()
    with pytest.raises(ValueError, match="plain.png.*none"):
        reader.find(folder)
    errors = []
    assert len(list(reader.read_folder(folder, on_error=errors.append))) == 3
    assert ["plain.png" in str(errors[0]), "matlab.mat" in str(errors[1]), len(errors)] == [True, True, 2]


@pytest.mark.parametrize("name", ["plain", "miccai", "matlab"])
def test_size_that_does_not_match(folder, stained, name):
    cv2.imwrite(str(folder / f"{name}.png"), stained[:-1])
    with pytest.raises(ValueError, match=rf"{name}.*\(96, 128\).*{name}.png.*\(95, 128\)"):
        list(reader.read_folder(folder))


def test_image_that_is_damaged_or_gone(folder):
    (folder / "plain.png").write_bytes(b"no image")
    items = reader.read_folder(folder, on_error=(errors := []).append)
    (folder / "matlab.png").unlink()
    assert len(list(items)) == 3
    assert "matlab.png" in str(errors[0]) and isinstance(errors[0], OSError)
    assert "plain.png" in str(errors[1])


def test_images_without_nuclei(folder, circles):
    image_files.write(folder / "plain", circles * 0)
    (folder / "miccai_mask.txt").write_text("128 96\n" + "0\n" * circles.size)
    scipy.io.savemat(folder / "matlab.mat", {"inst_map": circles * 0.0})
    (folder / "qupath.geojson").write_text(geojson.collection([]))
    (folder / "aperio.xml").write_text("<Annotations/>")
    items = list(reader.read_folder(folder))
    assert len(items) == 5
    assert all(item.labels.shape == circles.shape and not item.labels.any() for item in items)


def test_huge_ids_become_consecutive(folder, circles):
    for background in (0, 1):  # without background the smallest id is a nucleus
        np.save(folder / "huge.npy", np.where(circles + background, circles * 400_000_000 + 7, 0))
        nuclei = reader._consecutive(image_files.read(folder / "huge.npy"))
        np.testing.assert_array_equal(nuclei, circles + background)


def test_20x_is_doubled_and_ids_are_kept(circles, stained):
    item = reader.Labelled("a", "brain", stained, circles, 0.5)
    double = reader.at_40x(item)
    np.testing.assert_array_equal(double.labels, circles.repeat(2, axis=0).repeat(2, axis=1))
    np.testing.assert_array_equal(double.image, inference.at_40x(stained, 0.5))
    assert (double.microns_per_pixel, double.name, double.type) == (0.25, "a", "brain")
    near = reader.Labelled("a", "brain", stained, circles, 0.262)
    assert reader.at_40x(near) is near


def test_nuclei_that_vanish_at_40x(stained, circles):
    speck = np.where(circles == 3, 0, circles)
    speck[0, 0] = 3
    small = reader.at_40x(reader.Labelled("a", "brain", stained, speck, 0.05)).labels
    assert np.unique(small).tolist() == [0, 1, 2, 3, 4]


def test_miccai_originals_equal_the_label_maps(real_data):
    for item in reader.read_folder(real_data / "originals" / "cpm15"):
        same = image_files.read(real_data / "labelled" / "cpm15" / f"{item.name}_labels.png")
        _, ids = np.unique(same, return_inverse=True)
        np.testing.assert_array_equal(item.labels, ids.reshape(same.shape))


def test_aperio_originals_equal_the_label_maps(real_data):
    items = list(reader.read_folder(real_data / "originals" / "monuseg"))
    assert [item.type for item in items] == ["breast", "breast", "kidney"]
    for item in items:
        same = image_files.read(real_data / "labelled" / "kumar16" / f"{item.name}_labels.png")
        np.testing.assert_array_equal(item.labels, same)
        assert metrics.aji(item.labels, same) == 1
        assert 0.24 < item.microns_per_pixel < 0.26


def test_types_of_the_real_sets(real_data):
    assert {entry.type for entry in reader.find(real_data / "labelled" / "kumar16")} == {
        "breast",
        "kidney",
        "lung",
        "prostate",
    }
    assert {entry.type for entry in reader.find(real_data / "labelled" / "lgg28")} == {"brain"}
