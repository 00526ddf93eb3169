import errno
import io
import os
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from hou_synth.io import command, files, image_files


def test_label_map_returns_as_written(tmp_path, circles):
    path = image_files.write(tmp_path / "a.b", circles)
    assert path.name == "a.b_labels.png"
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    np.testing.assert_array_equal(image_files.read(path), circles)
    assert image_files.read(path).dtype == np.int32


@pytest.mark.parametrize(("largest", "ending"), [(65535, "_labels.png"), (65536, "_labels.tif")])
def test_tiff_from_65536_nuclei_on(tmp_path, largest, ending):
    many = np.array([[0, largest]], np.int32)
    path = image_files.write(tmp_path / "a", many)
    assert path.name == "a" + ending
    np.testing.assert_array_equal(image_files.read(path), many)


def test_npy_label_map(tmp_path, circles):
    np.save(tmp_path / "a.npy", circles.astype(np.int64))
    np.testing.assert_array_equal(image_files.read(tmp_path / "a.npy"), circles)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4)), np.zeros((4, 4, 3), np.uint8), np.full((4, 4), -1)])
def test_what_is_no_label_map(tmp_path, wrong):
    np.save(tmp_path / "a.npy", wrong)
    with pytest.raises(ValueError, match="a.npy"):
        image_files.read(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="Received"):
        image_files.write(tmp_path / "b", wrong)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy", "a.jpg"])
@pytest.mark.parametrize("content", [b"", b"no image at all"])
def test_file_that_cannot_be_decoded(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        image_files.image(tmp_path / name)


def test_truncated_png(tmp_path, stained, capfd):
    content = cv2.imencode(".png", stained)[1].tobytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="a.png"):
        image_files.image(tmp_path / "a.png")
    assert capfd.readouterr().err == ""


def chunk(kind, content):
    """A chunk of a PNG file."""
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def png_of(side):
    """A PNG file of a few bytes that claims a square image."""
    header = side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def tiff_of(side):
    """The same as TIFF, its strips left out."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((16, 16, 3), np.uint8), photometric="rgb", tile=(16, 16))
    file.seek(0)
    with tifffile.TiffFile(file, mode="r+b") as opened:
        for name in ("ImageWidth", "ImageLength"):
            opened.pages[0].tags[name].overwrite(side)
    return file.getvalue()


def npy_of(side):
    """The same as NPY."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<i4", "fortran_order": False, "shape": (side, side)})
    return file.getvalue()


@pytest.mark.parametrize("side", [30_000, 100_000])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy"])
def test_a_few_bytes_that_claim_an_enormous_image(tmp_path, name, side):
    content = {".png": png_of, ".tif": tiff_of, ".npy": npy_of}[name[1:]](side)
    (tmp_path / name).write_bytes(content)
    for reader in (image_files.image, image_files.read) if name != "a.npy" else (image_files.read,):
        with pytest.raises(ValueError, match=rf"Received: .*{name} \((?!it cannot)"):
            reader(tmp_path / name)


def test_a_chunk_that_claims_to_be_longer_than_its_file(tmp_path, stained):
    content = bytearray(cv2.imencode(".png", stained)[1].tobytes())
    content[33:37] = (2 * 10**9).to_bytes(4, "big")  # of the chunk behind the header
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.png \(it is cut off\)"):
        image_files.image(tmp_path / "a.png")


def test_image_is_rgb_in_every_format(tmp_path, stained):
    bgr = cv2.cvtColor(stained, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(tmp_path / "a.png"), bgr)
    cv2.imwrite(str(tmp_path / "b.png"), np.dstack([bgr, np.full(bgr.shape[:2], 255, np.uint8)]))
    tifffile.imwrite(tmp_path / "c.tif", stained)
    for name in ("a.png", "b.png", "c.tif"):
        np.testing.assert_array_equal(image_files.image(tmp_path / name), stained)
    cv2.imwrite(str(tmp_path / "d.jpg"), np.full((16, 16, 3), (10, 100, 200), np.uint8))
    assert np.abs(image_files.image(tmp_path / "d.jpg").mean(axis=(0, 1)) - (200, 100, 10)).max() < 4


@pytest.mark.parametrize("pixels", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.uint16)])
def test_image_that_is_not_8_bit_colour(tmp_path, pixels):
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    with pytest.raises(ValueError, match="8-bit RGB"):
        image_files.image(tmp_path / "a.png")


def test_lzw_tiff_is_rgb(real_data):
    path = sorted((real_data / "originals" / "monuseg").glob("*.tif"))[0]
    (png,) = (real_data / "labelled" / "kumar16").glob(f"{path.stem}.png")
    np.testing.assert_array_equal(image_files.image(path), image_files.image(png))


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_inks_become_colours(tmp_path, stained, compression):
    Image.fromarray(stained).convert("CMYK").save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(image_files.image(tmp_path / "a.tif"), stained)


@pytest.mark.parametrize(
    ("name", "compression"), [("a.png", None), ("a.tif", None), ("a.tif", "tiff_lzw"), ("a.tiff", "tiff_adobe_deflate")]
)
def test_transparent_parts_are_white(tmp_path, stained, name, compression):
    alpha = np.full(stained.shape[:2], 255, np.uint8)
    alpha[:, 60:], alpha[:, 120:] = 0, 128
    options = {"compression": compression} if compression else {}
    Image.fromarray(np.dstack([stained, alpha])).save(tmp_path / name, **options)
    read = image_files.image(tmp_path / name)
    np.testing.assert_array_equal(read[:, :60], stained[:, :60])
    assert (read[:, 60:120] == 255).all()
    mixed = (stained[:, 120:].astype(int) * 128 + 255 * 127) / 255
    assert np.abs(read[:, 120:] - mixed).max() <= 1


def test_colours_that_are_times_alpha_already(tmp_path):
    pixels = np.array([[[100, 50, 20, 128], [7, 7, 7, 255], [0, 0, 0, 0]]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["assocalpha"])
    assert image_files.image(tmp_path / "a.tif").tolist() == [[[227, 177, 147], [7, 7, 7], [255, 255, 255]]]
    tifffile.imwrite(tmp_path / "b.tif", pixels, photometric="rgb", extrasamples=["unspecified"])
    assert image_files.image(tmp_path / "b.tif").tolist() == pixels[..., :3].tolist()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("name", "compression"), [("a.png", None), ("a.jpg", None), ("a.tif", None), ("a.tif", "tiff_lzw")]
)
def test_images_are_turned_as_they_say(tmp_path, stained, name, compression, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    options = {"compression": compression} if compression else {}
    Image.fromarray(stained).save(tmp_path / name, exif=exif, **options)
    with Image.open(tmp_path / name) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    np.testing.assert_array_equal(image_files.image(tmp_path / name), expected)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.mpo.jpg", "a.gif.png"])
@pytest.mark.parametrize("same", [True, False])
def test_further_pages_and_frames_are_told(tmp_path, stained, capsys, name, same):
    first, others = Image.fromarray(stained), [Image.fromarray(stained[::-1, :] if same else stained[:40, :50])]
    inner = name.split(".")[1]  # what is in the file, if its ending is another
    kind = {} if name.endswith(inner) else {"format": inner.upper()}
    first.save(tmp_path / name, save_all=True, append_images=others, **kind)
    read = image_files.image(tmp_path / name)
    assert read.shape == stained.shape and np.abs(read.astype(int) - stained).max() < (1 if kind == {} else 60)
    assert capsys.readouterr().err == f"{tmp_path / name}: the first of 2 pages or frames is used\n"


def test_reduced_copies_are_no_further_pages(tmp_path, stained, capsys):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(stained, photometric="rgb")
        file.write(stained[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(image_files.image(tmp_path / "a.tif"), stained)
    assert capsys.readouterr().err == ""


def test_find_leaves_out_label_maps_and_overlays(tmp_path):
    for name in ("b.PNG", "a.jpg", "a_labels.png", "a_overlay.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in image_files.find(tmp_path)] == ["a.jpg", "b.PNG"]
    with pytest.raises(ValueError, match="nowhere"):
        image_files.find(tmp_path / "nowhere")


def test_partner(tmp_path):
    (tmp_path / "a_labels.npy").touch()
    assert image_files.partner(tmp_path / "a.png").name == "a_labels.npy"
    with pytest.raises(ValueError, match="b_labels"):
        image_files.partner(tmp_path / "b.png")


def test_folder_or_device_is_never_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "device")
    for name in ("folder", "device"):
        with pytest.raises(ValueError, match=f"regular file.*{name}"):
            files.write_text(tmp_path / name, "text")
    assert len(list(tmp_path.iterdir())) == 2


def test_failed_write_names_the_file_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(OSError, match="No space left.*a.txt"), files.replacing(path) as partial:
        partial.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ValueError("Expected a.\nReceived: b."), 2, "error: Expected a. Received: b.\n"),
        (OSError(), 2, "error: OSError\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_command_turns_mistakes_into_one_line(capsys, error, code, text):
    def body(argv):
        raise error

    assert command.run(body, []) == code
    assert capsys.readouterr().err == text


def test_command_lets_our_own_mistakes_through():
    with pytest.raises(KeyError):
        command.run(lambda argv: {}["missing"])
    assert command.run(lambda argv: None) == 0
    assert command.run(lambda argv: 3) == 3
