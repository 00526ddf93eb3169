"""Cells of a table: each is trained in a process and a run folder of its own, and measured once.

Whatever needs TensorFlow happens in other processes, which end: one that goes on would keep the GPU's memory from the
trainings that it starts.
"""

import concurrent.futures
import dataclasses
import json
import multiprocessing
import signal
import subprocess
import sys

import numpy as np

from hou_synth.io import command, documents, files, quiet
from train.judging import scores

PATIENCE = 10.0  # seconds in which an interrupted training ends by itself


@dataclasses.dataclass(frozen=True)
class Duration:
    """What the scores of a run say of the time that it took."""

    minutes: float


def same(path, own):
    """Keeps what the cells of a folder have in common in a JSON file; makes the folder.

    Args:
        path: the file.
        own: dict of what can be written as JSON.

    Raises:
        ValueError: naming what differs from an earlier sitting.
    """
    if path.exists():
        earlier = documents.read(path, dict[str, object])
        differing = [f"{key}: {earlier.get(key)} != {value}" for key, value in own.items() if earlier.get(key) != value]
        if differing:
            raise ValueError(f"Expected the settings of the cells in {path.parent}. Received: {'; '.join(differing)}.")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, json.dumps(own, indent=2) + "\n")


def finished(out, name):
    """Whether a cell is trained."""
    return (out / name / "scores.json").exists()


def alone(function, *arguments):
    """What a function returns that runs in a process of its own, which then ends.

    Args:
        function: of a module, so that the other process finds it.
        *arguments: that can be pickled.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context, initializer=quiet.tensorflow) as process:
        return process.submit(function, *arguments).result()


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
        List of dicts of `train.judging.scores.COLUMNS`.
    """
    path = out / name / f"{group.replace('/', '_')}.csv"
    if not path.exists():
        scores.write(path, alone(_measured, out / "models" / name, group, entries))
    return scores.read(path)


def _measured(model, group, entries):
    """Rows of `train.judging.evaluation.measured_set`; what runs alone."""
    from train.judging import evaluation  # here, so that the process that starts trainings does not import it

    return evaluation.measured_set(evaluation.method(model), group, entries)


def check(settings):
    """Refuses a configuration that cannot be trained, see `train.loop.limits.check`."""
    alone(_check, settings)


def _check(settings):
    from train.loop import limits  # here, as in `_measured`

    limits.check(settings)


def minutes(out, name):
    """Minutes that a cell's training took."""
    return documents.read(out / name / "scores.json", Duration).minutes


def mean(rows, measure):
    """Mean of a measure over rows, each of which is an image."""
    return float(np.mean([row[measure] for row in rows])) if rows else float("nan")
