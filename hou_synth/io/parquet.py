"""Tables of nuclei as Parquet, which statistics programs read by column."""

from hou_synth import instances
from hou_synth.io import files

WHOLE = ("label", "area_pixels", "at_border")  # columns of whole numbers


def library():
    """The module pyarrow; ValueError if it cannot be imported."""
    try:
        import pyarrow.csv
        import pyarrow.parquet  # here, as it is an extra
    except ImportError as error:
        raise ValueError(f"Expected pyarrow, which the extra [parquet] installs. Received: {error}.") from None
    return pyarrow


def write(path, table):
    """Writes a table of nuclei as Parquet, atomically, with a part of it in memory at a time.

    Args:
        path: the file's name.
        table: path of the table in CSV, with `instances.COLUMNS`; empty cells become nulls.
    """
    pyarrow = library()
    types = {name: pyarrow.int64() if name in WHOLE else pyarrow.float64() for name in instances.COLUMNS}
    options = pyarrow.csv.ConvertOptions(column_types=types)
    with files.replacing(path) as partial, pyarrow.csv.open_csv(table, convert_options=options) as batches:
        with pyarrow.parquet.ParquetWriter(partial, batches.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
