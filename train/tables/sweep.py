"""Cells of a table: each is trained in a process and a run folder of its own, and measured once."""

import csv
import json
import signal
import subprocess
import sys

import numpy as np

from hou_synth import metrics
from hou_synth.io import command, files
from train import evaluate

PATIENCE = 10.0  # seconds in which an interrupted training ends by itself
COLUMNS = (*evaluate.COLUMNS, *metrics.MEASURES)
SHOWN = ("dice1", "dice", "aji", "pq")


def same(path, own):
    """Keeps what the cells of a folder have in common in a JSON file; makes the folder.

    Args:
        path: the file.
        own: dict of what can be written as JSON.

    Raises:
        ValueError: naming what differs from an earlier sitting.
    """
    if path.exists():
        earlier = json.loads(path.read_text())
        differing = [f"{key}: {earlier[key]} != {value}" for key, value in own.items() if earlier[key] != value]
        if differing:
            raise ValueError(f"Expected the settings of the cells in {path.parent}. Received: {'; '.join(differing)}.")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, json.dumps(own, indent=2) + "\n")


def finished(out, name):
    """Whether a cell is trained."""
    return (out / name / "scores.json").exists()


def places(out, name):
    """The options of a training's command line that say where a cell lies."""
    return ["--out", str(out / name), "--models", str(out / "models"), "--resume"]


def train(name, words):
    """Trains a cell in a process of its own.

    Args:
        name: of the cell.
        words: command line of its training, from the module's name on.

    Raises:
        ValueError: if the training fails; the cells before are kept.
    """
    process = subprocess.Popen([sys.executable, "-m", *words])
    try:
        code = process.wait()
    except KeyboardInterrupt:
        stop(process)
        raise
    if code == command.INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise ValueError(f"Expected cell {name} to train. Received: exit code {code}, see above.")


def stop(process):
    """Waits for a training that Ctrl-C reached too to keep its state; interrupts one that it did not reach."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        process.wait()


def measured(out, name, group, entries):
    """Scores of a cell's model on images of a set, one row an image; kept in the cell's folder.

    Args:
        out: folder of the cells.
        name: of a cell that is trained.
        group: name of the set.
        entries: list of `data.labelled.reader.Entry`.

    Returns:
        List of dicts of `COLUMNS`.
    """
    path = out / name / f"{group.replace('/', '_')}.csv"
    if not path.exists():
        segmented = evaluate.method(out / "models" / name)
        files.write_csv(path, evaluate.measured_set(segmented, group, entries), COLUMNS)
    with open(path, newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    return [{key: float(row[key]) if key in metrics.MEASURES else row[key] for key in COLUMNS} for row in found]


def minutes(out, name):
    """Minutes that a cell's training took."""
    return json.loads((out / name / "scores.json").read_text())["minutes"]


def mean(rows, measure):
    """Mean of a measure over rows, each of which is an image."""
    return float(np.mean([row[measure] for row in rows])) if rows else float("nan")
