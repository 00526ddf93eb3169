"""Task network -> SavedModel in TF Serving's layout, saved_models/<name>/<version>/."""

import os
import pathlib
import shutil
import tempfile

import keras
import tensorflow as tf

from models.task import multiple, padded
from train.checkpoints import reason


def next_version(folder):
    """The lowest integer version that no SavedModel of the folder has, at least 1."""
    versions = [int(p.name) for p in pathlib.Path(folder).glob("*") if p.name.isdigit()]
    return max(versions, default=0) + 1


def export(task, folder, files):
    """Writes the next version of a served model, atomically (temporary name, then rename).

    The signature `serving_default` takes `images`, (b, h, w, 3) uint8 RGB of any size, and returns
    `segmentation` and `detection`, (b, h, w, 1) float32 probabilities.

    Args:
        task: task network, logits out.
        folder: `saved_models/<name>`.
        files: paths that are copied into the version's `assets.extra`.

    Returns:
        The path of the version.

    Raises:
        OSError: if it cannot be written; nothing of it stays.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as partial:
        archive = keras.export.ExportArchive()
        archive.track(task)
        archive.add_endpoint(
            "serve",
            lambda images: probabilities(task, images),
            input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")],
        )
        try:
            archive.write_out(partial, verbose=False)
        except tf.errors.OpError as error:
            raise OSError(f"Expected room for a SavedModel in {folder}. Received: {reason(error)}.") from error
        (pathlib.Path(partial) / "assets.extra").mkdir()
        for file in files:
            shutil.copy(file, pathlib.Path(partial) / "assets.extra")
        target = folder / str(next_version(folder))
        os.chmod(partial, 0o755)
        os.rename(partial, target)
        os.mkdir(partial)  # for the context manager to remove
    return target


def probabilities(task, images):
    """Probabilities of a batch of images.

    Args:
        task: task network, logits out.
        images: (b, h, w, 3) uint8 RGB.

    Returns:
        dict of `segmentation` and `detection`, (b, h, w, 1) float32 in [0, 1].
    """
    logits = padded(task, tf.cast(images, tf.float32) / 127.5 - 1.0, multiple(task))
    return {name: tf.sigmoid(logits[name]) for name in ("segmentation", "detection")}
