"""A run as a model of TensorFlow Serving, saved_models/<name>/<version>/: `python -m train.export --model RUN`."""

import argparse
import contextlib
import errno
import fcntl
import os
import pathlib
import shutil
import sys
import tempfile

import keras
import tensorflow as tf

from hou_synth import command, config, files
from models.task import folded
from train import documents, runs, warmup
from train.checkpoints import reason
from train.signatures import Served

FORMATS = ("savedmodel", "onnx")
PARTIAL = ".part-"  # how the folder of an export begins until it is complete; Serving takes integers alone
TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)  # answers to a rename to what exists


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.export", description="Export a run as a model of TensorFlow Serving."
    )
    parser.add_argument("--model", required=True, type=pathlib.Path, help="run folder of a training")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="saved_models/<name>")
    parser.add_argument("--version", type=int, help="number of the version (default: the next one)")
    parser.add_argument("--scores", nargs="+", default=[], metavar="CSV", help="of train.evaluate, for the model card")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="onnx: the task network as <out>.onnx")
    args = parser.parse_args(argv)
    if args.format == "onnx" and (args.version is not None or args.scores):
        raise ValueError("Expected --version and --scores with --format savedmodel alone. Received: --format onnx.")
    if args.out.name.isdecimal():
        raise ValueError(f"Expected --out saved_models/<name>, which holds versions. Received: {args.out}.")
    return args


@command.command
def main(argv=None):
    """Exports; returns the exit code."""
    args = arguments(argv)
    settings, scores = runs.settings(args.model), documents.read(args.scores)
    if args.format == "onnx":
        print(f"model: {write_onnx(args.model, settings, args.out)}")
        return 0
    vacant(args.out, args.version)
    print(f"model: {export(args.model, args.out, *networks(args.model, settings), scores, args.version)}")
    return 0


def write_onnx(run, settings, folder):
    """Writes the task network of a run to `<folder>.onnx`, where TensorFlow Serving does not see it; returns the path.

    Raises:
        ValueError: if the file exists.
        OSError: if it cannot be written.
    """
    from train import onnx  # here, as its libraries are an extra

    path = folder.with_name(f"{folder.name}.onnx")
    files.refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.write(networks(run, settings)[0], path)
    return path


def networks(run, settings):
    """The task network of a run and its `Refinement`, None if it has none or its weights are not known any more.

    Args:
        run: folder of `train.universal`, `train.supervised` or `train.finetune`.
        settings: its `Config`.

    Raises:
        ValueError: if there are no networks.
    """
    if runs.adversarial(run):
        trainer = runs.load(run, settings)
        plain = trainer.plain()
        return plain["task"], runs.refinement(trainer, plain)
    if not (run / "task.keras").exists():
        raise ValueError(f"Expected the network of a run in {run}. Received: a folder without task.keras.")
    return keras.saving.load_model(run / "task.keras", compile=False), None


def export(run, folder, task, refinement=None, scores=(), version=None, result=None):
    """Writes a version of a served model, atomically (temporary name, then rename).

    Args:
        run: folder with `config.json` and `run.json`.
        folder: `saved_models/<name>`.
        task: task network, logits out.
        refinement: `train.signatures.Refinement`, or None for a model without `refine`.
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
    texts = documents.written(run, folder.name, task, refinement, scores, result)
    with partial(folder) as path:
        try:
            Served(folded(task, settings.networks), texts, refinement).save(path)
            extra = path / "assets.extra"
            extra.mkdir()
            for name, text in texts.items():
                files.write_text(extra / name, text)
            task.save(extra / documents.TASK)
            patch = settings.schedule.patch if refinement else None
            warmup.write(extra / warmup.NAME, folder.name, documents.CONFIG, patch)
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


if __name__ == "__main__":
    sys.exit(main())
