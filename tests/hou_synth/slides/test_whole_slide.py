import sys

import cv2
import numpy as np
import pytest
import tifffile

from hou_synth import inference, normalise
from hou_synth.slides import whole_slide

PINK = (214, 160, 190)


def write(path, image, levels=1, microns=None, **more):
    """A tiled TIFF of an RGB image, each further level half as large."""
    tags = {} if microns is None else {"resolution": (10000 / microns[0], 10000 / microns[1])}
    tags |= {} if microns is None else {"resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            reduced = cv2.resize(image, None, fx=0.5**level, fy=0.5**level, interpolation=cv2.INTER_AREA)
            file.write(reduced, tile=(64, 64), photometric="rgb", subfiletype=int(level > 0), **tags, **more)
    return path


@pytest.fixture
def tissue():
    """Grainy pink tissue (300, 400, 3) with dark discs in its left half, on white glass."""
    random = np.random.default_rng(0)
    image = np.full((300, 400, 3), 245, np.float32)
    image[40:260, 40:320] = PINK
    for x, y in random.integers((50, 50), (310, 250), (60, 2)):
        cv2.circle(image, (int(x), int(y)), 7, (96, 72, 130), -1)
    return np.clip(image + random.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def test_what_is_a_slide(tmp_path, tissue, monkeypatch):
    tifffile.imwrite(tmp_path / "plain.tif", tissue, photometric="rgb")
    (tmp_path / "broken.tif").write_bytes(b"II*\0 no TIFF")
    one = write(tmp_path / "one.tif", tissue)
    assert whole_slide.is_slide(write(tmp_path / "levels.TIFF", tissue, levels=2))
    assert whole_slide.is_slide("x.SVS") and not whole_slide.is_slide("x.png")
    assert not any(whole_slide.is_slide(tmp_path / name) for name in ("plain.tif", "broken.tif", "one.tif"))
    monkeypatch.setattr(whole_slide, "IMAGE_MAX", 300 * 400 - 1)
    assert whole_slide.is_slide(one) and not whole_slide.is_slide(tmp_path / "plain.tif")


def test_slides_of_a_folder(tmp_path):
    for name in ("b.svs", "a.NDPI", "c.png", "d.tif", "e.dcm"):
        (tmp_path / name).touch()
    assert [path.name for path in whole_slide.find(tmp_path)] == ["a.NDPI", "b.svs"]


def test_resolution_is_the_given_one_else_the_slides_own(tmp_path, tissue):
    told = write(tmp_path / "a.tif", tissue, microns=(0.5, 0.5))
    assert whole_slide.Slide(told).microns_per_pixel == 0.5 and whole_slide.Slide(told, 0.3).microns_per_pixel == 0.3
    unknown = write(tmp_path / "b.tif", tissue)
    assert whole_slide.Slide(unknown, 0.3).microns_per_pixel == 0.3
    with pytest.raises(ValueError, match="b.tif, openslide.mpp-x: None, openslide.mpp-y: None"):
        whole_slide.Slide(unknown)
    with pytest.raises(ValueError, match="nan"):
        whole_slide.Slide(unknown, float("nan"))
    dots = write(tmp_path / "72dpi.tif", tissue, microns=(352.8, 352.8))
    with pytest.raises(ValueError, match="72dpi.tif, openslide.mpp-x: 352"):
        whole_slide.Slide(dots)
    with pytest.raises(ValueError, match="square pixels.*0.25 x 0.26"):
        whole_slide.Slide(write(tmp_path / "c.tif", tissue, microns=(0.25, 0.26)))
    assert whole_slide.Slide(write(tmp_path / "d.tif", tissue, microns=(0.25, 0.252))).microns_per_pixel == 0.251


def test_pixels_at_40x_are_those_of_the_whole_image(tmp_path, tissue):
    path = write(tmp_path / "a.tif", tissue)
    place = whole_slide.Place(101, 52, 120, 90)
    own = tissue[52:142, 101:221]
    np.testing.assert_array_equal(whole_slide.Slide(path, 0.26).at_40x(place), own)
    for microns, scale in ((0.5, 2), (0.125, 0.5)):
        opened = whole_slide.Slide(path, microns)
        assert opened.scale == scale
        np.testing.assert_array_equal(opened.at_40x(place), inference.at_40x(own, microns))
    doubled = whole_slide.Slide(path, 0.5).at_40x(place)
    whole = inference.at_40x(tissue, 0.5)[104:284, 202:442]
    np.testing.assert_array_equal(doubled[4:-4, 4:-4], whole[4:-4, 4:-4])


def test_what_was_not_scanned_is_white(tmp_path, tissue):
    opened = whole_slide.Slide(write(tmp_path / "a.tif", tissue), 0.25)
    image = opened.pixels(whole_slide.Place(390, 290, 20, 20))
    assert (image[10:] == 255).all() and (image[:, 10:] == 255).all() and image[:10, :10].min() < 255


@pytest.mark.parametrize("side", [1000, 100, 64, 33])
@pytest.mark.parametrize("microns", [0.25, 0.499])
def test_tiles_cover_the_slide_once(tmp_path, tissue, side, microns):
    opened = whole_slide.Slide(write(tmp_path / "a.tif", tissue), microns)
    covered = np.zeros((300, 400), int)
    places = opened.tiles(side)
    for place in places:
        covered[place.y : place.y + place.height, place.x : place.x + place.width] += 1
        assert max(place.width, place.height) * opened.scale <= side
    assert (covered == 1).all()
    assert [(place.y, place.x) for place in places] == sorted((place.y, place.x) for place in places)
    for length, key in ((400, "width"), (300, "height")):
        sizes = {getattr(place, key) for place in places}
        assert max(sizes) - min(sizes) <= 1 and (len(sizes) > 1 or length % sizes.pop() == 0)


def test_grown_place_ends_at_the_slide():
    assert whole_slide.Place(10, 50, 20, 30).grown(15, 60, 85) == whole_slide.Place(0, 35, 45, 50)


@pytest.mark.parametrize("levels", [1, 3])
def test_overview_is_the_slide_made_small(tmp_path, tissue, levels):
    opened = whole_slide.Slide(write(tmp_path / "a.tif", tissue, levels), 0.25)
    np.testing.assert_array_equal(opened.overview(400), tissue)
    small = opened.overview(100)
    expected = cv2.resize(tissue, (100, 75), interpolation=cv2.INTER_AREA)
    assert small.shape == expected.shape
    difference = np.abs(small.astype(int) - expected)
    assert difference.mean() < 4 and np.corrcoef(small.ravel(), expected.ravel())[0, 1] > 0.98


def test_overview_in_blocks_is_seamless(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 900)[None, :, None], (330, 1, 3)).astype(np.uint8)
    overview = whole_slide.Slide(write(tmp_path / "a.tif", ramp), 0.25).overview(600)
    assert overview.shape == (220, 600, 3)
    np.testing.assert_allclose(overview[100, :, 0], np.linspace(0, 255, 600), atol=2)


def test_colours_are_those_of_the_tissue_alone(tmp_path, tissue, monkeypatch):
    monkeypatch.setattr(whole_slide, "CELL", 32)
    mean, std = whole_slide.Slide(write(tmp_path / "a.tif", tissue), 0.25).colours()
    expected = normalise.statistics(tissue)
    np.testing.assert_allclose(mean, expected[0], atol=1.0)
    np.testing.assert_allclose(std, expected[1], atol=1.0)
    glass = np.full((900, 1200, 3), 245, np.uint8)
    glass[320:620, 480:880] = tissue
    among = whole_slide.Slide(write(tmp_path / "b.tif", glass), 0.25).colours()
    np.testing.assert_allclose(among[0], mean, atol=1.0)
    np.testing.assert_allclose(among[1], std, atol=1.0)


def test_colours_of_hardly_any_tissue_and_of_none(tmp_path):
    glass = np.full((600, 600, 3), 245, np.uint8)
    assert whole_slide.Slide(write(tmp_path / "a.tif", glass), 0.25).colours() is None
    glass[300:340, 300:340] = PINK
    mean, _ = whole_slide.Slide(write(tmp_path / "b.tif", glass), 0.25).colours()
    np.testing.assert_allclose(mean, normalise.in_lab(np.uint8([[PINK]]))[0, 0], atol=0.1)


def test_blank_is_what_shows_nothing_anywhere(tissue):
    glass = np.clip(np.random.default_rng(0).normal(243, 5, (600, 700, 3)), 0, 255).astype(np.uint8)
    assert whole_slide.blank(glass) and not whole_slide.blank(tissue)
    assert whole_slide.blank(np.full((40, 40, 3), 90, np.uint8))
    cv2.circle(glass, (650, 570), 12, (96, 72, 130), -1)  # an island in a corner, 0.1 % of the pixels
    assert sum(glass.reshape(-1, 3).std(axis=0)) < whole_slide.BLANK_STD and not whole_slide.blank(glass)


def test_fingerprint_is_of_the_content(tmp_path, tissue):
    path = write(tmp_path / "a.tif", tissue)
    first = whole_slide.Slide(path, 0.25).fingerprint()
    (tmp_path / "b.tif").write_bytes(path.read_bytes())
    assert whole_slide.Slide(tmp_path / "b.tif", 0.5).fingerprint() == first
    tissue[150, 200] ^= 1
    assert whole_slide.Slide(write(path, tissue), 0.25).fingerprint() != first


def test_slide_that_cannot_be_read(tmp_path, tissue):
    (tmp_path / "a.svs").write_bytes(b"no slide")
    with pytest.raises(ValueError, match="OpenSlide reads.*a.svs"):
        whole_slide.Slide(tmp_path / "a.svs", 0.25)
    with pytest.raises(ValueError, match="nowhere.svs"):
        whole_slide.Slide(tmp_path / "nowhere.svs", 0.25)


def test_slide_that_is_damaged_inside(tmp_path, tissue):
    path = write(tmp_path / "a.tif", tissue, compression="zlib")
    with tifffile.TiffFile(path) as file:
        start, size = file.pages[0].dataoffsets[8], file.pages[0].databytecounts[8]
    content = bytearray(path.read_bytes())
    content[start : start + size] = b"\xff" * size
    path.write_bytes(content)
    opened = whole_slide.Slide(path, 0.25)
    with pytest.raises(whole_slide.Unreadable, match="readable slide.*a.tif.*Place"):
        opened.pixels(whole_slide.Place(0, 0, 400, 300))
    np.testing.assert_array_equal(opened.pixels(whole_slide.Place(0, 0, 60, 60)), tissue[:60, :60])  # not for ever


def test_a_place_that_cannot_be_read_is_tried_again(tmp_path, tissue, monkeypatch):
    opened, calls = whole_slide.Slide(write(tmp_path / "a.tif", tissue), 0.25), []
    library, read = whole_slide.library(), whole_slide.library().OpenSlide.read_region

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 1:
            raise library.OpenSlideError("a disk of a network")
        return read(*arguments)

    monkeypatch.setattr(library.OpenSlide, "read_region", failing)
    np.testing.assert_array_equal(opened.pixels(whole_slide.Place(5, 5, 60, 60)), tissue[5:65, 5:65])
    assert len(calls) == 2


def test_a_region_lies_on_the_slide(tmp_path, tissue):
    path, place = write(tmp_path / "a.tif", tissue), whole_slide.Place(101, 52, 120, 90)
    tiles = whole_slide.Slide(path, 0.5, place).tiles(100)
    assert sum(tile.width * tile.height for tile in tiles) == 120 * 90 and len(tiles) == 3 * 2
    assert {(tile.x >= 101, tile.y >= 52, tile.x + tile.width <= 221) for tile in tiles} == {(True, True, True)}
    with pytest.raises(ValueError, match="within the slide's 400 x 300 pixels. Received: .*a.tif, 120 x 90 from 281"):
        whole_slide.Slide(path, 0.5, whole_slide.Place(281, 0, 120, 90))


def test_without_openslide(monkeypatch):
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(ValueError, match="openslide-python"):
        whole_slide.Slide("a.svs")
