import pytest

from data import tile_table

NAMES = ["lung/a.png", "lung/deep/b.png", "skin/a.png", "skin/c.jpg", "d.tif"]


def read(tmp_path, *rows):
    (tmp_path / "images.csv").write_text("\n".join(["image,type,microns_per_pixel", *rows]) + "\n")
    return tile_table.read(tmp_path / "images.csv", NAMES)


def test_rows_name_tiles_by_path_file_or_stem(tmp_path):
    rows = read(tmp_path, "lung/a.png,clinic,0.5", "skin/a,,0.2", "b,other,", "c.jpg,,1", "d.tif,,")
    assert rows == {
        "lung/a.png": ("clinic", 0.5),
        "skin/a.png": (None, 0.2),
        "lung/deep/b.png": ("other", None),
        "skin/c.jpg": (None, 1.0),
        "d.tif": (None, None),
    }


def test_a_folder_stands_for_its_tiles_that_have_no_row(tmp_path):
    rows = read(tmp_path, "lung/a.png,,0.3", "lung/,clinic,0.5", "skin,,0.25")
    assert rows["lung/deep/b.png"] == ("clinic", 0.5) and rows["lung/a.png"] == (None, 0.3)
    assert rows["skin/a.png"] == rows["skin/c.jpg"] == (None, 0.25) and "d.tif" not in rows


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (["a.png,,0.5"], r"a\.png.*images\.csv.*2 tiles"),
        (["nowhere,,0.5"], r"nowhere.*images\.csv.*0 tiles"),
        (["c,,0.5", "skin/c.jpg,,0.5"], "skin/c.jpg"),
        (["skin,,0.5", "skin/,,0.5"], "skin/"),
        (["lung,,0.5", "lung/deep,,0.5"], "lung/deep"),
        (["c,,20X"], "20X.*image c"),
        (["c,,0"], "image c"),
    ],
)
def test_wrong_rows_are_named(tmp_path, rows, told):
    with pytest.raises(ValueError, match=told):
        read(tmp_path, *rows)
