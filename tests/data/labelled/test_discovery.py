import pathlib

import pytest

from data.labelled import discovery

ROOT = pathlib.Path("/sets/kumar")


def touched(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder, format=None):
    errors = []
    pairs = discovery.pairs(folder, format, errors.append)
    names = [
        (image.relative_to(folder).as_posix(), truth and truth.relative_to(folder.parent).as_posix(), kind)
        for image, truth, kind in pairs
    ]
    return names, [str(error) for error in errors]


@pytest.mark.parametrize(
    ("image", "truth", "kind"),
    [
        ("a.png", "a_labels.tif", "plain"),
        ("a.PNG", "a_labels.npy", "plain"),
        ("a.png", "a_mask.txt", "miccai"),
        ("a.tif", "a.XML", "aperio"),
        ("a.b.jpg", "a.b.mat", "matlab"),
        ("a.png", "a.geojson", "qupath"),
        ("Tissue Images/a.tif", "Annotations/a.xml", "aperio"),
        ("Images/a.png", "Labels/a.mat", "matlab"),
        ("train/images/a.png", "train/MASKS/a_labels.png", "plain"),
        ("breast/a.png", "breast/labels/a_labels.png", "plain"),
        ("a.png", "labels/a_labels.png", "plain"),
    ],
)
def test_label_file_of_every_format_and_place(tmp_path, image, truth, kind):
    folder = tmp_path / "set"
    touched(folder, image, truth, "notes.txt", "a_overlay.png", "Overlay/a.png", ".hidden/b.png", "._a.xml")
    assert found(folder) == ([(image, f"set/{truth}", kind)], [])


def test_folder_of_images_has_its_label_files_beside_it(tmp_path):
    touched(tmp_path, "Tissue Images/a.tif", "Annotations/a.xml", "Annotations/b.xml")
    names, (error,) = found(tmp_path / "Tissue Images")
    assert names == [("a.tif", "Annotations/a.xml", "aperio")]
    assert "b.xml" in error
    touched(tmp_path, "set/c.png", "set/c.mat")
    assert found(tmp_path / "set") == ([("c.png", "set/c.mat", "matlab")], [])


def test_rendered_outlines_of_the_challenge_are_no_image(tmp_path):
    touched(tmp_path, "image01.png", "image01_mask.txt", "image01_poly.png", "other_poly.png", "other_poly.mat")
    names, errors = found(tmp_path)
    assert [image for image, _, _ in names] == ["image01.png", "other_poly.png"]
    assert errors == []


def test_what_has_no_partner(tmp_path):
    touched(tmp_path, "a.png", "b_labels.png", "c.png", "c.mat")
    names, (image, truth) = found(tmp_path)
    assert names == [("a.png", None, None), ("c.png", f"{tmp_path.name}/c.mat", "matlab")]
    assert "label file (a_labels.png" in image
    assert "b_labels.png without one" in truth
    names, errors = found(tmp_path, "aperio")
    assert [truth for _, truth, _ in names] == [None, None]
    assert "(aperio)" in errors[0]


def test_two_formats_of_one_image(tmp_path):
    touched(tmp_path, "a.png", "a_labels.png", "a.geojson")
    _, (error,) = found(tmp_path)
    assert "a_labels.png (plain)" in error and "a.geojson (qupath)" in error and "Pass a format" in error
    assert found(tmp_path, "qupath") == ([("a.png", f"{tmp_path.name}/a.geojson", "qupath")], [])
    touched(tmp_path, "a_labels.tif")
    _, (error,) = found(tmp_path, "plain")
    assert "a_labels.png" in error and "a_labels.tif" in error and "Pass" not in error


def test_names_are_unique(tmp_path):
    touched(tmp_path, "x/a.png", "x/a.mat", "y/a.png", "y/a.mat", "y/b.png", "y/b.mat")
    names, errors = found(tmp_path)
    assert [truth for _, truth, _ in names] == [None, None, f"{tmp_path.name}/y/b.mat"]
    assert len(errors) == 2 and all("different stems" in error for error in errors)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("TCGA-A7-A13E-01Z-00-DX1.tif", "breast"),
        ("train/Images/TCGA-HE-7128-01Z-00-DX1.png", "kidney"),
        ("Tissue Images/x_TCGA-38-6178-01Z-00-DX1.png", "lung"),
        ("TCGA-HT-8564-01Z-00-DX1.png", "brain"),
        ("glands/TCGA-A7-A13E.tif", "glands"),
        ("glands/deep/a.tif", "glands"),
        ("images/glands/a.tif", "glands"),
        ("TCGA-??-A13E.tif", "kumar"),
        ("NOTCGA-A7-A13E.tif", "kumar"),
        ("a.tif", "kumar"),
    ],
)
def test_tissue_type(image, expected):
    assert discovery.tissue(ROOT / image, ROOT) == expected


def test_tissue_type_of_a_folder_of_images():
    assert discovery.tissue(ROOT / "Tissue_Images" / "a.tif", ROOT / "Tissue_Images") == "kumar"


def test_every_site_has_one_organ():
    codes = " ".join(discovery.SITES.values()).split()
    assert len(codes) == len(set(codes)) == len(discovery.ORGANS)


def test_table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\ufeffimage, type,notes, microns_per_pixel\na,brain,,0.5\nb.png,,x,\n", encoding="utf-8")
    images = [pathlib.Path("x/a.png"), pathlib.Path("x/b.png"), pathlib.Path("c.png")]
    assert discovery.table(path, images) == {"a": ("brain", 0.5), "b": (None, None)}
    path.write_text("image,type\nc.png,\n")
    assert discovery.table(path, images) == {"c": (None, None)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "column image"),
        (b"name,type\na,brain\n", "column image"),
        (b"image\nd\n", "'d'"),
        (b"image,type\n,brain\n", "''"),
        (b"image\na\na.png\n", "'a.png'"),
        (b"image,microns_per_pixel\na,20X\n", "20X.*image a"),
        (b"image,microns_per_pixel\na,0\n", "image a"),
        (b"image,type\na,\xff\n", "UTF-8"),
        (b"image,type\na\n", "2 cells in row 1"),
        (b'image,type\na,"cut off', "CSV"),
    ],
)
def test_table_that_is_wrong(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        discovery.table(tmp_path / "t.csv", [pathlib.Path("a.png")])
    assert "t.csv" in str(error.value)
