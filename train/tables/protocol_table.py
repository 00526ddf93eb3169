"""The table of a protocol: means over the images of all cells of a row."""

import numpy as np

from hou_synth.io import files, tables
from train.judging import scores
from train.tables import protocols, sweep


def measured(cell, out, name, entries):
    """Scores of a cell's model on its test images of a set, one row an image.

    Args:
        cell: a `protocols.Cell` that is trained.
        out: folder of the cells.
        name: of the set.
        entries: list of `data.labelled.reader.Entry`; if the cell names test images, those alone are measured.
    """
    tested = [entry for entry in entries if entry.name in cell.test or not cell.test]
    return [{"row": cell.row, "cell": cell.name, **row} for row in sweep.measured(out, cell.name, name, tested)]


def write(out, protocol, rows, trained):
    """Writes `<protocol>.csv`, a row an image, and `<protocol>.md`, the table, a row a kind of training.

    Args:
        out: folder.
        protocol: its name.
        rows: list of dicts as `measured` returns them.
        trained: list of `protocols.Cell`, those that they are of.
    """
    files.write_csv(out / f"{protocol}.csv", rows, ("row", "cell", *scores.COLUMNS))
    column = "set" if protocol == "dataset" else "type"
    groups = sorted({row[column] for row in rows})
    head = [
        "training",
        "images",
        "minutes",
        *scores.SHOWN,
        *(f"dice {group}" for group in groups),
        "paper, DICE average",
    ]
    by_row = scores.grouped(rows, "row")
    lines = []
    for name, cells in _by_row(trained).items():
        own = scores.grouped(by_row.get(name, []), column)
        minutes = np.mean([sweep.minutes(out, cell.name) for cell in cells])
        counts = sorted({len(cell.training) for cell in cells})
        values = [f"{sweep.mean(by_row.get(name, []), measure):.3f}" for measure in scores.SHOWN]
        values += [f"{sweep.mean(own.get(group, []), 'dice'):.3f}" for group in groups]
        about = [protocols.title(name), "-".join(map(str, counts)), f"{minutes:.1f}"]
        lines.append([*about, *values, protocols.PAPER.get((protocol, name), "")])
    files.write_text(out / f"{protocol}.md", tables.markdown([head, *lines], len(head)) + "\n")


def _by_row(cells):
    """Row of the table -> its cells, in order of appearance."""
    rows = {}
    for cell in cells:
        rows.setdefault(cell.row, []).append(cell)
    return rows
