import pytest

from hou_synth.io import files


def test_table_comes_back_as_it_was_written(tmp_path):
    rows = [{"image": 'a, "b"', "n": "1"}, {"image": "c\nd", "n": ""}]
    files.write_csv(tmp_path / "t.csv", rows, ("image", "n"))
    assert files.read_csv(tmp_path / "t.csv", ("n",)) == rows
    files.write_csv(tmp_path / "t.csv", [], ("image", "n"))
    assert files.read_csv(tmp_path / "t.csv") == []


def test_table_of_a_spreadsheet(tmp_path):
    (tmp_path / "t.csv").write_bytes("\ufeffimage, n\r\nä.png, 2\r\n\r\n".encode())
    assert files.read_csv(tmp_path / "t.csv") == [{"image": "ä.png", "n": "2"}]


@pytest.mark.parametrize(
    "content",
    [b"", b"image\na\n", b"image,n\na\n", b"image,n\na,1,2\n", b'image,n\n"a,1\n', b"image,n\n\xff,1\n", b"\x00,n\n,1"],
)
def test_errors_name_the_table(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match="Expected.*t.csv"):
        files.read_csv(tmp_path / "t.csv", ("image", "n"))
