"""The states of a run on disk: each is complete or not there, and the one before is kept."""

import os
import pathlib
import re
import shutil
import sys

import numpy as np
import tensorflow as tf

KEPT = 2  # the latest, and the one before should the latest be damaged
UNREADABLE = (tf.errors.OpError, LookupError, RuntimeError, ValueError)  # what TensorFlow's reader raises


class Diverged(ValueError):
    """A loss or a weight is not finite; the last checkpoint is still good."""

    def __init__(self, text):
        """Takes what is not finite, and adds what can be done."""
        super().__init__(f"{text} The last good checkpoint is kept; a new run wants a lower rate or clip.")


class Checkpoints:
    """Numbered states in a folder, each a folder `ckpt-<number>` that appears by one rename."""

    def __init__(self, folder, **objects):
        """Reads and writes nothing yet.

        Args:
            folder: of the checkpoints.
            **objects: what they hold: models, modules, variables.
        """
        self.folder, self.state = pathlib.Path(folder), tf.train.Checkpoint(**objects)
        self.partial = self.folder / ".part"
        self.whole = []  # paths that can be gone back to, oldest first

    def restore(self):
        """Takes over the newest state that is whole, if there is any, and says which.

        A damaged one is told on stderr and passed over; it is removed when the next one is complete.

        Raises:
            ValueError: if all are damaged, or of other networks.
        """
        self.whole, faults = self._found(), []
        while self.whole and (fault := _fault(self.whole[-1])):
            faults.append(f"{self.whole.pop()} is damaged: {fault}")
        if faults and not self.whole:
            raise ValueError(
                f"Expected a checkpoint in {self.folder} that can be read. Received: {'; '.join(faults)}. Nothing was "
                "changed: put a copy of one back, or delete that folder and --resume to train from the beginning."
            )
        for fault in faults:
            print(f"warning: {fault}; going back to the one before", file=sys.stderr)
        if self.whole:
            self._take(self.whole[-1])

    def save(self):
        """Writes the state and reads it back; only then it gets its name, and those before the last are removed.

        Raises:
            Diverged: if a value is not finite.
            OSError: if it cannot be written. Either way nothing of it stays, and those before it are kept.
        """
        path = self.folder / f"ckpt-{max(map(_number, self._found()), default=0) + 1}"
        try:
            self._clear()
            self.partial.mkdir(parents=True)
            self.state.write(str(self.partial / "state"))
            _check(self.partial)
            _flush(self.partial)
            self.partial.rename(path)
        except (OSError, tf.errors.OpError) as error:
            raise OSError(
                f"Expected room for a checkpoint in {self.folder}. Received: {reason(error)}. The last complete one is "
                "kept; --resume goes on from it."
            ) from error
        finally:
            self._clear()
        self.whole = [*self.whole, path][-KEPT:]
        for old in self._found():
            if old not in self.whole:
                self._remove(old)

    def _found(self):
        """Paths, oldest first: folders, and the index files of version 0.1, which made no folders."""
        name = re.compile(r"ckpt-\d+(\.index)?")
        return sorted((path for path in self.folder.glob("ckpt-*") if name.fullmatch(path.name)), key=_number)

    def _take(self, path):
        try:
            self.state.read(_prefix(path)).assert_existing_objects_matched()
        except (AssertionError, ValueError) as error:
            raise ValueError(f"Expected the networks of this version in {path}. Received: {reason(error)}.") from error
        print(f"restored {path}")

    def _remove(self, path):
        """Removes a checkpoint; one that is half removed does not look like one."""
        if path.is_dir():
            path.rename(self.partial)
            self._clear()
        else:
            for file in self.folder.glob(f"{path.stem}.*"):
                file.unlink()

    def _clear(self):
        shutil.rmtree(self.partial, ignore_errors=True)


def _number(path):
    return int(re.search(r"\d+", path.name)[0])


def _prefix(path):
    return str(path.with_suffix("") if path.suffix == ".index" else path / "state")


def _fault(path):
    """What is wrong with a checkpoint, as a text; empty if nothing is."""
    try:
        _check(path)
    except (OSError, Diverged) as error:
        return reason(error)
    return ""


def _check(path):
    """Reads every tensor of a checkpoint, by which TensorFlow compares its checksum.

    Raises:
        OSError: if something is damaged or not there.
        Diverged: if a value is not finite.
    """
    try:
        reader = tf.train.load_checkpoint(_prefix(path))
        kinds = reader.get_variable_to_dtype_map().items()
        names = [name for name, kind in kinds if not _finite(reader.get_tensor(name), kind)]
    except UNREADABLE as error:
        raise OSError(reason(error)) from error
    if names:
        name = min(names).removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
        raise Diverged(f"Expected finite weights. Received: nan or infinity in {name} and {len(names) - 1} others.")


def _finite(value, kind):
    return not kind.is_floating or np.isfinite(value).all()


def _flush(folder):
    """Has the system write the files of a folder, so that a power cut does not empty them after the rename."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def reason(error):
    """First line of an exception's text, without TensorFlow's names of its nodes and without the full stop."""
    line = (str(error) or type(error).__name__).splitlines()[0]
    return re.sub(r"\{\{.*?\}\} *| *\[Op:.*", "", line).rstrip(".")
