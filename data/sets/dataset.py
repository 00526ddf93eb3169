"""A data set on disk as a tf.data.Dataset."""

import functools
import pathlib

import h5py
import numpy as np
import tensorflow as tf

from data.sets import folders, hdf5
from hou_synth.io import image_files


def read(path):
    """The patches of a data set of `data.synthesize`, read when they are needed.

    Args:
        path: HDF5 file or folder.

    Returns:
        tf.data.Dataset of known cardinality, in the order of the patches, of dicts: image, reference (s, s, 3) uint8
        RGB, mask (s, s) uint8 bits (1 nucleus, 2 contour, 4 centre), and labels (s, s) uint16 from a file.

    Raises:
        ValueError: if it is not a complete data set; the message says what is intact.
    """
    path = pathlib.Path(path)
    count, patch = _folder(path) if path.is_dir() else _file(path)
    first = patch(0)

    def tensors(index):
        made = tf.numpy_function(
            lambda number: list(patch(int(number)).values()), [index], [a.dtype for a in first.values()], stateful=False
        )
        return {name: tf.ensure_shape(m, a.shape) for (name, a), m in zip(first.items(), made, strict=True)}

    return tf.data.Dataset.range(count).map(tensors, num_parallel_calls=2, deterministic=True)


def opened(path):
    """An HDF5 file that is a data set, an open `h5py.File`.

    Args:
        path: of the file.

    Raises:
        ValueError: if it is none, or not complete; the message says what is intact.
    """
    with hdf5.readable(path):  # or it is none
        pass
    try:
        return h5py.File(path, "r")
    except Exception:  # HDF5 raises types of many kinds on a damaged file
        raise hdf5.damage(path) from None


def row(file, path, index):
    """The arrays of one patch in a file, by the names of `hdf5.FIELDS`.

    Args:
        file: open `h5py.File`.
        path: its path, for the error.
        index: of the patch.

    Raises:
        ValueError: if the patch is damaged.
    """
    try:
        return {name: file[name][index] for name in hdf5.FIELDS}
    except Exception as error:  # HDF5 raises types of many kinds on a damaged file
        raise ValueError(f"Expected patch {index} of {path} to be intact. Received: {error}.") from error


def _file(path):
    """Number of patches of an HDF5 file, and a function from index to arrays."""
    file = opened(path)
    return len(file["image"]), functools.partial(row, file, path)


def _folder(path):
    """Number of patches of a folder, and a function from index to arrays."""
    if not (path / "provenance.csv").exists():
        raise ValueError(f"Expected a complete data set. Received: {path} without provenance.csv.")
    return sum(1 for _ in folders.rows(path / "provenance.csv")), functools.partial(_pngs, path)


def _pngs(path, index):
    """The arrays of one patch in a folder."""
    image, mask, reference = (path / folder / folders.name(index) for folder in folders.FOLDERS)
    bits = image_files.read(mask).astype(np.uint8)
    return {"image": image_files.image(image), "mask": bits, "reference": image_files.image(reference)}
