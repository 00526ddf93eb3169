"""Images and label maps on disk."""

import io
import pathlib

import cv2
import numpy as np
import tifffile

from hou_synth.io import files

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
MAPS = (".png", ".tif", ".tiff", ".npy")
SUFFIX = "_labels"  # a label map is named <stem of the image>_labels
DERIVED = (SUFFIX, "_overlay")  # what the commands write beside images and is no image itself
PNG_MAX = 65535  # largest id of a uint16 PNG


def _array(path):
    """Pixels of a file as they are stored: (h, w) or (h, w, channels), colours as RGB or RGBA."""
    path = pathlib.Path(path)
    data = path.read_bytes()
    try:
        if path.suffix.lower() == ".npy":
            return np.load(io.BytesIO(data), allow_pickle=False)
        if path.suffix.lower() in (".tif", ".tiff"):
            return _tiff(data)
        return _decoded(data)
    except Exception as error:  # the three readers raise types of their own on a damaged file
        raise ValueError(f"Expected a readable image. Received: {path} ({error}).") from error


def _tiff(data):
    """Pixels of a TIFF file: by tifffile, which knows uint32, else by OpenCV, which knows LZW and JPEG."""
    try:
        return tifffile.imread(io.BytesIO(data))
    except ValueError:  # tifffile's answer to a compression that needs a further package
        return _decoded(data)


def _decoded(data):
    """Pixels of a file by OpenCV, whose own warnings are silenced: the caller gets an error instead."""
    if data.startswith(b"\x89PNG") and b"IEND" not in data:  # libpng itself would print a line about it
        raise ValueError("it is cut off")
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if pixels is None:
        raise ValueError("it cannot be decoded")
    return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def image(path):
    """Reads an image; an alpha channel is dropped.

    Args:
        path: PNG, JPEG or TIFF file.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ValueError: if the file cannot be decoded or is not an 8-bit colour image.
    """
    pixels = _array(path)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        raise ValueError(f"Expected an 8-bit RGB image. Received: {path}, {pixels.dtype} of shape {pixels.shape}.")
    return np.ascontiguousarray(pixels[..., :3])


def read(path):
    """Reads a label map.

    Args:
        path: PNG, TIFF or NPY file of integers, 0 = background.

    Returns:
        (h, w) int32.

    Raises:
        ValueError: if the file cannot be decoded or does not hold one integer from 0 to 2^31 - 1 a pixel.
    """
    pixels = _array(path)
    if pixels.ndim != 2 or pixels.dtype.kind not in "uib" or pixels.size == 0:
        raise ValueError(
            f"Expected label map of shape (h, w) with integer ids. "
            f"Received: {path}, {pixels.dtype} of shape {pixels.shape}."
        )
    if pixels.min() < 0 or pixels.max() > np.iinfo(np.int32).max:
        raise ValueError(f"Expected ids from 0 to 2^31 - 1. Received: {path}, {pixels.min()} to {pixels.max()}.")
    return pixels.astype(np.int32)


def write(stem_path, labels):
    """Writes a label map, atomically.

    Args:
        stem_path: path without the ending; `_labels.png` (uint16) or, from 65,536 nuclei on, `_labels.tif`
            (uint32) is appended.
        labels: (h, w) integer ids, 0 = background.

    Returns:
        The path written.

    Raises:
        ValueError: if `labels` is not a map of ids.
        OSError: naming the file, if it cannot be written.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "ui" or labels.min(initial=0) < 0:
        raise ValueError(f"Expected labels of shape (h, w), ids >= 0. Received: {labels.dtype}, {labels.shape}.")
    stem_path = pathlib.Path(stem_path)
    if labels.max(initial=0) <= PNG_MAX:
        path = stem_path.with_name(stem_path.name + SUFFIX + ".png")
        files.write_png(path, labels.astype(np.uint16))
        return path
    path = stem_path.with_name(stem_path.name + SUFFIX + ".tif")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, labels.astype(np.uint32), compression="zlib")
    files.write_bytes(path, buffer.getvalue())
    return path


def find(folder):
    """Images of a folder: sorted paths of PNG, JPEG and TIFF files that are not label maps or overlays.

    Raises:
        ValueError: if there is no such folder.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"Expected a folder. Received: {folder}.")
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES and not p.stem.endswith(DERIVED))


def partner(path, folder=None):
    """The label map of an image.

    Args:
        path: the image.
        folder: where the label map lies; beside the image by default.

    Returns:
        The path of `<stem>_labels.png`, `.tif`, `.tiff` or `.npy`.

    Raises:
        ValueError: naming the image, if there is none.
    """
    path = pathlib.Path(path)
    folder = pathlib.Path(folder or path.parent)
    for suffix in MAPS:
        candidate = folder / (path.stem + SUFFIX + suffix)
        if candidate.is_file():
            return candidate
    raise ValueError(f"Expected a label map {path.stem}{SUFFIX}.png, .tif or .npy beside {path}. Received: none.")
