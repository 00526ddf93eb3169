"""A run as a version of a served model, saved_models/<name>/<version>/: complete or not there."""

import contextlib
import errno
import fcntl
import os
import pathlib
import shutil
import tempfile

import tensorflow as tf

from hou_synth import config
from hou_synth.io import files
from models.task import folded
from train.runs.checkpoints import reason
from train.serving import assets, warmup
from train.serving.signatures import Served

PARTIAL = ".part-"  # how the folder of an export begins until it is complete; Serving takes integers alone
TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)  # answers to a rename to what exists


def write(run, folder, task, refinement=None, scores=(), version=None, result=None):
    """Writes a version of a served model, atomically (temporary name, then rename).

    Args:
        run: folder with `config.json` and `run.json`.
        folder: `saved_models/<name>`.
        task: task network, logits out.
        refinement: `train.serving.signatures.Refinement`, or None for a model without `refine`.
        scores: rows as `documents.read` returns them.
        version: number; None for the next one.
        result: dict of what `scores.json` will say; None if the run's own is there, or it is not finished.

    Returns:
        The path of the version.

    Raises:
        ValueError: if the version exists.
        OSError: if it cannot be written; nothing of it stays.
    """
    folder, settings = pathlib.Path(folder), config.load(run / "config.json")
    vacant(folder, version)
    texts = assets.written(run, folder.name, task, refinement, scores, result)
    patch = settings.schedule.patch if refinement else None

    def warm(path):
        warmup.write(path, folder.name, assets.CONFIG, patch)

    return kept(folder, version, Served(folded(task, settings.networks), texts, refinement), texts, task, warm)


def kept(folder, version, served, texts, task, warm=None):
    """Writes a version of a served model, atomically.

    Args:
        folder: `saved_models/<name>`.
        version: number; None for the next one.
        served: `train.serving.signatures.Served`.
        texts: dict of file name -> text, that lie beside it.
        task: its network as it was trained, which lies there too.
        warm: function that writes a file of requests to a path; None for no such file.

    Returns:
        The path of the version.

    Raises:
        ValueError: if the version exists.
        OSError: if it cannot be written; nothing of it stays.
    """
    with partial(folder) as path:
        try:
            served.save(path)
            extra = path / "assets.extra"
            extra.mkdir()
            for name, text in texts.items():
                files.write_text(extra / name, text)
            task.save(extra / assets.TASK)
            if warm:
                warm(extra / warmup.NAME)
        except (OSError, tf.errors.OpError) as error:
            raise OSError(f"Expected room for a SavedModel in {folder}. Received: {reason(error)}.") from error
        return claimed(path, folder, version)


def next_version(folder):
    """The lowest integer that is above all versions of the folder, at least 1."""
    return max((int(path.name) for path in pathlib.Path(folder).glob("*") if path.name.isdecimal()), default=0) + 1


def vacant(folder, version):
    """Refuses a place for a model that is none.

    Args:
        folder: `saved_models/<name>`.
        version: number, or None for the next one.

    Raises:
        ValueError: if the folder is a version, or has this one.
    """
    if (folder / "saved_model.pb").exists():
        raise ValueError(f"Expected saved_models/<name>, which holds versions. Received: {folder}, which is one.")
    if version is not None and version < 1:
        raise ValueError(f"Expected a version of at least 1. Received: {version}.")
    if version is not None and (folder / str(version)).exists():
        raise ValueError(f"Expected a version that does not exist yet. Received: {folder / str(version)}.")


@contextlib.contextmanager
def partial(folder):
    """Context with a temporary folder beside the versions of a model, which is removed unless it was renamed.

    Those that killed exports left are removed too: while nobody else exports there, which a lock on the model's
    folder tells.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    path = None
    try:
        with contextlib.suppress(OSError):  # somebody else exports, or a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in folder.glob(f"{PARTIAL}*"):
                shutil.rmtree(left, ignore_errors=True)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH)
        path = pathlib.Path(tempfile.mkdtemp(dir=folder, prefix=PARTIAL))
        path.chmod(0o755)
        yield path
    finally:
        if path:
            shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def claimed(path, folder, version):
    """Renames a complete folder to a version's name, to the next free one if none is asked for; returns the path.

    A folder that holds something is never replaced: the system refuses that rename, so of two exports at once each
    gets a version of its own.

    Raises:
        ValueError: if the version asked for exists.
    """
    while True:
        vacant(folder, version)
        try:
            return path.rename(folder / str(version or next_version(folder)))
        except OSError as error:
            if error.errno not in TAKEN:
                raise
