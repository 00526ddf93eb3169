"""Images and label maps: pixels, or a refusal that names the file; in bounded memory."""

import io
import resource
import zlib

import cv2
import hypothesis
import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
import tifffile
from hypothesis import strategies

from hou_synth.io import image_files
from tests.fuzz import damage

GROWTH = 2**29  # most bytes by which the memory may grow
PIXELS = 10**6  # most of an image here
IMAGE = np.random.default_rng(0).integers(0, 256, (24, 30, 3), np.uint8)
LABELS = np.kron(np.arange(20, dtype=np.uint16).reshape(4, 5), np.ones((6, 6), np.uint16))
CLAIMS = [(2**n).to_bytes(4, order) for n in (8, 14, 17, 20, 31) for order in ("big", "little")]


@pytest.fixture(scope="module", autouse=True)
def bounded():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_files, "PIXELS_MAX", PIXELS)
        yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < GROWTH


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


def pillow(kind, mode="RGB", **options):
    """Bytes of the image in a format of Pillow's."""
    file = io.BytesIO()
    PIL.Image.fromarray(IMAGE).convert(mode).save(file, kind, **options)
    return file.getvalue()


def tiff(pixels, **options):
    """Bytes of pixels as TIFF."""
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def rotated():
    """EXIF data of an image that stands on its side."""
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 6
    return exif


def npy(pixels):
    """Bytes of pixels as NPY."""
    file = io.BytesIO()
    np.save(file, pixels)
    return file.getvalue()


def summed(content):
    """A PNG whose parts have the right checksums again, where it still has parts."""
    if not content.startswith(b"\x89PNG"):
        return content
    start, parts = 8, [content[:8]]
    while start + 12 <= len(content):
        length = int.from_bytes(content[start : start + 4], "big")
        part = content[start + 4 : start + 8 + length]
        parts += [content[start : start + 4], part, zlib.crc32(part).to_bytes(4, "big")]
        start += 12 + length
    return b"".join(parts)


PICTURES = {
    "a.png": [pillow("PNG"), pillow("PNG", "RGBA"), pillow("PNG", exif=rotated()), pillow("BMP"), pillow("WEBP")],
    "a.jpg": [pillow("JPEG"), pillow("JPEG", exif=rotated()), pillow("JPEG", "CMYK"), pillow("JPEG", progressive=True)],
    "a.tif": [
        tiff(IMAGE, photometric="rgb"),
        tiff(IMAGE, photometric="rgb", compression="zlib", tile=(16, 16)),
        tiff(np.stack([IMAGE] * 3), photometric="rgb"),
        tiff(np.dstack([IMAGE, IMAGE[..., :1]]), photometric="separated"),
        pillow("TIFF", "RGBA", compression="tiff_lzw"),
    ],
}
MAPS = {
    "a_labels.png": [cv2.imencode(".png", LABELS)[1].tobytes()],
    "a_labels.tif": [tiff(LABELS.astype(np.uint32), compression="zlib"), tiff(LABELS)],
    "a_labels.npy": [npy(LABELS), npy(LABELS.astype(np.int64))],
}


@pytest.mark.parametrize("name", PICTURES)
@damage.cases
@hypothesis.given(data=strategies.data())
def test_pictures(folder, name, data):
    content = data.draw(damage.damaged(*PICTURES[name], tokens=CLAIMS))
    pixels = damage.read(image_files.image, folder / name, summed(content))
    if pixels is not None:
        assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
        assert 0 < pixels.size <= 3 * PIXELS and pixels.flags.c_contiguous


@pytest.mark.parametrize("name", MAPS)
@damage.cases
@hypothesis.given(data=strategies.data())
def test_label_maps(folder, name, data):
    tokens = [*CLAIMS, b"(24, 30)", b"9999999", b"fortran_order", b"<i8", b"|O"]
    content = data.draw(damage.damaged(*MAPS[name], tokens=tokens))
    labels = damage.read(image_files.read, folder / name, summed(content))
    assert labels is None or (labels.dtype == np.int32 and labels.ndim == 2 and labels.size > 0 and labels.min() >= 0)
