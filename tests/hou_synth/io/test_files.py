import csv

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


def test_what_is_as_recorded(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"12345")
    assert files.as_recorded({"a.csv": 5}, tmp_path)
    for record in ({}, None, {"a.csv": 4}, {"b.csv": 5}, {"a.csv": 5, "\0": 5}, ["a.csv"], 5):
        assert not files.as_recorded(record, tmp_path)


def test_formulas_in_texts_are_no_formulas_in_a_spreadsheet_and_come_back(tmp_path):
    texts = ["=cmd|' /C calc'!A0", "+1+1", "-x.png", "@SUM(A1)", "\t=1", "'=1", "''-1", "-0.5", "'a'", "a=b", "lung"]
    files.write_csv(tmp_path / "t.csv", [{"image": text, "n": -1.5} for text in texts], ("image", "n"))
    with open(tmp_path / "t.csv", newline="") as file:
        cells = [line[0] for line in list(csv.reader(file))[1:]]
    assert cells == [*("'" + text for text in texts[:7]), *texts[7:]]
    assert files.read_csv(tmp_path / "t.csv") == [{"image": text, "n": "-1.5"} for text in texts]
