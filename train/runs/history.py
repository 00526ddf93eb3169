"""The values of every round of a phase, as a CSV file that a resumed run goes on with."""

import csv

import keras
import numpy as np

from hou_synth.io import files
from train.runs.callbacks import spared


class Rounds(keras.callbacks.Callback):
    """Writes a row a round: how many rounds of the phase are done, and what the training step returned.

    To be named before what saves checkpoints, so that no checkpoint knows of a round that the file lacks: a run
    that goes on from it drops the rows of later rounds and writes them anew. A full disk ends the file and not
    the training.
    """

    def __init__(self, path, first):
        """Writes nothing yet.

        Args:
            path: of the file; its folder is made.
            first: number of rounds of this phase that were done before.
        """
        super().__init__()
        self.path, self.first = path, first

    def on_train_begin(self, logs=None):
        """Keeps the rows of the rounds that the run goes on from."""
        kept = [line for line in lines(self.path) if line[0] == "round" or int(line[0]) <= self.first]
        self.open = False
        with spared():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.write_text(self.path, "".join(",".join(line) + "\n" for line in kept))
            self.open = True
        self.headed = bool(kept)

    def on_train_batch_end(self, batch, logs=None):
        """Writes the row of a round."""
        if not self.open:
            return
        self.open = False
        texts = [] if self.headed else [["round", *logs]]
        texts.append([str(self.first + batch + 1), *(f"{float(value):.6g}" for value in logs.values())])
        with spared(), open(self.path, "a", encoding="utf-8") as file:
            file.write("".join(",".join(text) + "\n" for text in texts))
            file.flush()
            self.open = self.headed = True


def lines(path):
    """Lines of a file of `Rounds` as lists of texts, its header first; without one that is half written.

    Raises:
        ValueError: naming the file, if it holds something else.
    """
    if not path.exists():
        return []
    try:
        whole = [text for text in path.read_text(encoding="utf-8").splitlines(keepends=True) if text.endswith("\n")]
        table = list(csv.reader(whole, strict=True))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"Expected the rounds of a phase in CSV. Received: {path} ({error}).") from None
    for number, line in enumerate(table):
        if len(line) != len(table[0]) or not (_numbers(line) if number else line[:1] == ["round"]):
            raise ValueError(
                f"Expected the rounds of a phase in CSV. Received: {path} with {line} in line {number + 1}."
            )
    return table


def _numbers(line):
    """Whether a line is the number of a round and its values."""
    try:
        return int(line[0]) > 0 and len([float(value) for value in line]) > 1
    except ValueError:
        return False


def read(path):
    """Columns of a file of `Rounds`: name -> (rounds,) float array; empty if there is no file."""
    header, *rows = lines(path) or [[]]
    return {name: np.array([float(row[column]) for row in rows]) for column, name in enumerate(header)}
