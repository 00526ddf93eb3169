"""Label maps in the formats of challenges and papers: MICCAI text and MATLAB."""

import io

import h5py
import numpy as np
import scipy.io

from data import hdf5_members

ID_MAX = np.iinfo(np.int32).max
KINDS = "uibf"  # of NumPy's types, that ids can have: integers, truth values, floats


def miccai(path):
    """Label map of a text file: width and height, then one label a pixel, row by row [MICCAI 2015].

    Args:
        path: `pathlib.Path` of the text file.

    Returns:
        (h, w) int32 ids, 0 = background.

    Raises:
        ValueError: naming the file, if it holds anything but integers, negative ones, or too few or too many.
    """
    try:
        numbers = [int(word) for word in path.read_bytes().split()]
    except ValueError as error:
        raise ValueError(f"Expected integers only. Received: {path} ({error}).") from error
    width, height, *values = numbers if len(numbers) > 2 else (0, 0)
    if min(width, height) < 1 or width * height != len(values):
        raise ValueError(
            f"Expected width, height and one label for each of these pixels. "
            f"Received: {path}, {width}x{height} and {len(values)} labels."
        )
    if min(values) < 0 or max(values) > ID_MAX:
        raise ValueError(f"Expected ids from 0 to 2^31 - 1. Received: {path}, {min(values)} to {max(values)}.")
    return np.array(values, np.int32).reshape(height, width)


def matlab(path):
    """Label map of a MATLAB file's `inst_map` [CoNSeP, CPM17].

    Args:
        path: `pathlib.Path` of a `.mat` file of any version.

    Returns:
        (h, w) int32 ids, 0 = background.

    Raises:
        ValueError: naming the file, if it cannot be read, has no `inst_map`, or one that is not a map of ids;
            ids stored as floats have to be whole numbers. Links to elsewhere are not followed.
    """
    try:
        values = _matlab_73(path) if h5py.is_hdf5(path) else _matlab_5(path)
    except KeyError as error:
        raise ValueError(f"Expected a MATLAB file with inst_map. Received: {path} without one.") from error
    except Exception as error:  # both readers raise types of their own on a damaged file
        raise ValueError(f"Expected a readable MATLAB file. Received: {path} ({error}).") from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in KINDS or not values.size:
        raise ValueError(f"Expected inst_map of shape (h, w), ids. Received: {path}, {np.shape(values)}.")
    if not (np.isfinite(values).all() and (values == np.floor(values)).all() and 0 <= values.min()):
        raise ValueError(f"Expected inst_map of whole numbers from 0 on. Received: {path} with others.")
    if values.max() > ID_MAX:
        raise ValueError(f"Expected ids up to 2^31 - 1. Received: {path}, {values.max()}.")
    return values.astype(np.int32)


def _matlab_5(path):
    """The `inst_map` of a MATLAB file up to version 7."""
    return scipy.io.loadmat(io.BytesIO(path.read_bytes()), variable_names=["inst_map"])["inst_map"]


def _matlab_73(path):
    """The `inst_map` of a MATLAB 7.3 file, which is HDF5 with the axes in MATLAB's order, columns first."""
    with h5py.File(path, "r") as file:
        values = hdf5_members.member(file, "inst_map")
        return values[()].T if values.dtype.kind in KINDS else values
