"""The four measures that are shown of a model, their means, and the table of images behind them."""

import numpy as np

from hou_synth import metrics
from hou_synth.io import files

SHOWN = {"dice1": "DICE 1", "dice": "DICE average", "aji": "AJI", "pq": "PQ"}  # measure -> its title
HEAD = ("set", "type", "image")  # of a row of the table, before all measures
COLUMNS = (*HEAD, *metrics.MEASURES)


def mean(rows):
    """Means of the shown measures over a list of dicts."""
    return {name: float(np.mean([row[name] for row in rows])) for name in SHOWN}


def text(values):
    """The shown measures of a dict in one line."""
    return ", ".join(f"{name} {values[name]:.3f}" for name in SHOWN)


def grouped(rows, column):
    """Rows of each value of a column, in order of appearance."""
    groups = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return groups


def means(rows, column):
    """Mean of every measure for each value of a column, and its number of images."""
    return [
        {column: name, "images": len(members), **metrics.mean(members)}
        for name, members in grouped(rows, column).items()
    ]


def write(path, rows):
    """Writes the table of images that `read` reads; without means, which would be taken for images.

    Args:
        path: the file's name.
        rows: list of dicts of `COLUMNS`; if several models were measured, of their `model` too.
    """
    files.write_csv(path, rows, (*(["model"] if rows and "model" in rows[0] else []), *COLUMNS))


def read(path):
    """Rows of a table of images that one model was measured on, a dict of `COLUMNS` each, measures as numbers.

    Raises:
        ValueError: naming the file, if it is no such table.
        OSError: naming the file, if it cannot be read.
    """
    rows = files.read_csv(path, COLUMNS)
    if rows and "model" in rows[0]:
        raise ValueError(f"Expected a table of one model. Received: {path}, which tells several apart.")
    try:
        return [{key: float(row[key]) if key in metrics.MEASURES else row[key] for key in COLUMNS} for row in rows]
    except ValueError as error:
        raise ValueError(f"Expected a table written by train.evaluate. Received: {path} ({error}).") from error
