"""Images and label maps on disk."""

import io
import math
import pathlib
import sys

import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
import tifffile

from hou_synth.io import files

IMAGES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
TIFF = (".tif", ".tiff")
HEADERS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "JPEG2000")  # that Pillow reads before OpenCV decodes
MAPS = (".png", ".tif", ".tiff", ".npy")
SUFFIX = "_labels"  # a label map is named <stem of the image>_labels
DERIVED = (SUFFIX, "_overlay")  # what the commands write beside images and is no image itself
PNG_MAX = 65535  # largest id of a uint16 PNG
PIXELS_MAX = 5 * 10**8  # of an image, 1.5 GB of colours; a file of a few bytes can claim any number; ours
SILENT = 0  # level of OpenCV's own log at which it says nothing


def _read(path, array):
    """What `array` makes of the content of a file and its ending in lower case."""
    path = pathlib.Path(path)
    return _understood(path.read_bytes(), path, array)


def _understood(data, path, array):
    """The same of content that is there already; the file need not be."""
    try:
        return array(data, path.suffix.lower())
    except MemoryError:
        raise
    except Exception as error:  # the readers raise types of their own on a damaged file
        raise ValueError(f"Expected a readable image. Received: {path} ({error}).") from error


def _array(data, ending):
    """Pixels of a file as they are stored: (h, w) or (h, w, channels), colours as RGB or RGBA."""
    if ending == ".npy":
        try:
            return np.load(io.BytesIO(data), allow_pickle=False)
        except MemoryError as error:
            raise ValueError(str(error)) from error
    return _tiff(data) if ending in TIFF else _decoded(data)


def _tiff(data):
    """Pixels of a TIFF file: by tifffile, which knows uint32, else by OpenCV, which knows LZW and JPEG."""
    try:
        return _stored(data)
    except ValueError:  # tifffile's answer to a compression that needs a further package
        return _decoded(data)


def _stored(data):
    """Pixels of a TIFF file by tifffile."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        _refuse_large(file.series[0].shape, *(page.chunks for page in file.series[0].pages if page))
        return file.asarray()


def _refuse_large(*shapes):
    """Raises OverflowError if an array of one of the shapes has more values than `PIXELS_MAX` pixels have colours."""
    for shape in shapes:
        if math.prod(shape) > 3 * PIXELS_MAX:
            sides = " x ".join(map(str, shape))
            raise OverflowError(f"{sides} values are more than {PIXELS_MAX} pixels have colours")


def _decoded(data):
    """Pixels of a file by OpenCV, whose own warnings are silenced: the caller gets an error instead."""
    if data.startswith(b"\x89PNG") and not _whole_png(data):
        raise ValueError("it is cut off")
    _refuse_large((*_header(data)[0], 3))
    silence = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # OpenCV 4 and 5
    level = silence(SILENT)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    finally:
        silence(level)
    if pixels is None:
        raise ValueError("it cannot be decoded")
    return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def _whole_png(data):
    """Whether all chunks of a PNG file are in it: libpng would print a line, and make room for what one claims."""
    start = 8
    while start + 12 <= len(data):
        if data[start + 4 : start + 8] == b"IEND":
            return True
        start += 12 + int.from_bytes(data[start : start + 4], "big")
    return False


def _picture(data, ending):
    """The first picture of a file as it is to be seen, and how many pages or frames there are."""
    if ending in TIFF:
        return _first_page(data)
    _, orientation, frames = _header(data)
    return on_white(_turned(_decoded(data), orientation)), frames


def _first_page(data):
    """`_picture` of a TIFF file. Reduced copies of a page are no further pages."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page, pages = file.pages[0], sum(not page.is_reduced for page in file.pages)
        fourth = page.extrasamples[0] if page.extrasamples else None
        inks = page.photometric == tifffile.PHOTOMETRIC.SEPARATED
        _refuse_large(page.shape, page.chunks)
        try:
            pixels = None if inks else page.asarray() if pages > 1 else _stored(data)
        except ValueError:  # tifffile's answer to a compression that needs a further package
            pixels = None
        orientation = page.tags.valueof("Orientation", 1)
    premultiplied = pixels is None or fourth == tifffile.EXTRASAMPLE.ASSOCALPHA
    pixels = _decoded(data) if pixels is None else _turned(pixels, orientation)  # OpenCV turns and multiplies itself
    if fourth == tifffile.EXTRASAMPLE.UNSPECIFIED and pixels.ndim == 3:
        return pixels[..., :3], pages
    return on_white(pixels, premultiplied), pages


def _header(data):
    """Size, EXIF orientation (1 to 8) and number of frames of a picture; 0 by 0, 1 and 1 where Pillow does not know."""
    limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None  # it is for pixels, which are not decoded here
    size, orientation, frames = (0, 0), 1, 1
    try:
        with PIL.Image.open(io.BytesIO(data), formats=HEADERS) as picture:
            size, told = picture.size, picture.format in ("JPEG", "MPO") or b"eXIf" in data  # else all is decoded first
            orientation = picture.getexif().get(PIL.ExifTags.Base.Orientation, 1) if told else 1
            frames = getattr(picture, "n_frames", 1)
    except Exception:  # of many types, on damage that OpenCV may not mind
        pass
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = limit
    return size, orientation, frames


def _turned(pixels, orientation):
    """Pixels (h, w, ...) stored in an EXIF orientation, as they are to be seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def on_white(pixels, premultiplied=False):
    """RGB (h, w, 3) of RGBA (h, w, 4) uint8 on white; anything else as it is.

    Args:
        pixels: array.
        premultiplied: whether the colours are times alpha already.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 4 or pixels.size == 0:
        return pixels
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    white = 255 - alpha
    if not white.any():
        return colours
    if premultiplied:
        return np.minimum(colours, alpha) + white
    blended = np.empty(colours.shape, np.uint8)
    for row in range(len(pixels)):  # at most 255 * 255 + 127, which uint16 holds
        products = colours[row].astype(np.uint16) * alpha[row] + np.uint16(255) * white[row] + np.uint16(127)
        blended[row] = products // 255
    return blended


def image(path):
    """Reads an image as it is to be seen: turned as its EXIF data say, on white where it is transparent.

    Of a file of several pages or frames the first is read, which is told on stderr. Inks (CMYK) become RGB without a
    colour profile.

    Args:
        path: PNG, JPEG or TIFF file.

    Returns:
        (h, w, 3) uint8 RGB.

    Raises:
        ValueError: if the file cannot be decoded or is not an 8-bit colour image.
    """
    return _of_colours(*_read(path, _picture), path)


def image_in(data, name):
    """As `image`, of the content of a file.

    Args:
        data: bytes.
        name: that the file has, whose ending says whether it is a TIFF.
    """
    return _of_colours(*_understood(data, pathlib.PurePath(name), _picture), name)


def _of_colours(pixels, pages, path):
    """Pixels as `image` returns them, if they are those of a colour image."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ValueError(f"Expected an 8-bit RGB image. Received: {path}, {pixels.dtype} of shape {pixels.shape}.")
    if pages > 1:
        print(f"{path}: the first of {pages} pages or frames is used", file=sys.stderr)
    return np.ascontiguousarray(pixels)


def read(path):
    """Reads a label map.

    Args:
        path: PNG, TIFF or NPY file of integers, 0 = background.

    Returns:
        (h, w) int32.

    Raises:
        ValueError: if the file cannot be decoded or does not hold one integer from 0 to 2^31 - 1 a pixel.
    """
    pixels = _read(path, _array)
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
