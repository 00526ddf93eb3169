import sys

import pytest

from hou_synth import instances
from hou_synth.io import files, parquet


def test_a_table_in_parquet_is_the_one_in_csv(tmp_path, circles):
    read = pytest.importorskip("pyarrow.parquet").read_table
    rows = instances.table(circles, more={"probability": [0, 0.5, 0.25, 1, 0.5, 0.75]})
    files.write_csv(tmp_path / "a.csv", rows, instances.COLUMNS)
    parquet.write(tmp_path / "a.parquet", tmp_path / "a.csv")
    assert read(tmp_path / "a.parquet").to_pylist() == rows and rows[0]["agreement"] is None
    files.write_csv(tmp_path / "b.csv", [], instances.COLUMNS)
    parquet.write(tmp_path / "b.parquet", tmp_path / "b.csv")
    assert read(tmp_path / "b.parquet").schema == read(tmp_path / "a.parquet").schema
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.parquet", "b.csv", "b.parquet"]


def test_without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match="which the extra"):
        parquet.library()
