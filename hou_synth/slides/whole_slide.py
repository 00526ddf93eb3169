"""Whole slides: pixels at 0.25 microns per pixel, a grid of tiles, an overview, colours, a fingerprint."""

import dataclasses
import hashlib
import math
import pathlib

import cv2
import numpy as np

from hou_synth import inference, normalise

SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".czi", ".dcm")
TIFF = (".tif", ".tiff")  # slides only as `is_slide` tells
IMAGE_MAX = 10**8  # a plain tiled TIFF of one level with more pixels is a slide; ours
RESOLUTION = ("openslide.mpp-x", "openslide.mpp-y")  # properties that OpenSlide tells it by, whatever the scanner
RESOLUTIONS = (0.01, 10)  # microns per pixel that can be meant; programs that know none write 72 dpi, which is 353
ANISOTROPY = 0.03  # largest relative difference of the resolutions along x and y; ours
TILE = 3904  # side of a tile's core at 40X: with its margin, 4x4 windows of 1088 that overlap by 64; ours
MARGIN = 96  # beyond it on each side: 32 for the network's surroundings, the rest for half a nucleus; ours
BLANK_STD = 0.18 * 127.5  # a region whose channel stds sum to less, in grey levels, is blank; release
CELL = 256  # side of the regions of which all must be blank for a tile to be, and of samples of colour; ours
OVERVIEW = 2048  # longest side of the overview; ours
ATTEMPTS = 2  # to read a place, as disks of a network fail now and then; ours
SAMPLES = 64  # regions from which the slide's colours are taken; ours
TISSUE_MIN = 0.5  # least share of tissue of such a region, if there is one with so much; ours


@dataclasses.dataclass(frozen=True)
class Place:
    """A rectangle of a slide in pixels of its level 0."""

    x: int
    y: int
    width: int
    height: int

    def grown(self, margin, width, height):
        """The place with a margin on each side, cut off at the slide's width and height."""
        x, y = max(self.x - margin, 0), max(self.y - margin, 0)
        right, below = min(self.x + self.width + margin, width), min(self.y + self.height + margin, height)
        return Place(x, y, right - x, below - y)

    def holds(self, x, y):
        """Whether a point lies in it."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height


class Unreadable(ValueError):
    """A place of a slide that cannot be read, while others may be."""


def library():
    """The module openslide; ValueError if it cannot be imported."""
    try:
        import openslide  # here, so that images need no OpenSlide
    except (ImportError, OSError) as error:
        raise ValueError(
            f"Expected openslide-python and openslide-bin, which read slides. Received: {error}."
        ) from None
    return openslide


def is_slide(path):
    """Whether a file is read as a slide, not as an image.

    By its ending. A TIFF is a slide if OpenSlide knows its scanner, or it is tiled and has several levels or more
    than 100 million pixels; every other TIFF is an image.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in TIFF:
        return path.suffix.lower() in SUFFIXES
    openslide = library()
    try:
        vendor = openslide.OpenSlide.detect_format(path)
        if vendor != "generic-tiff":
            return vendor is not None
        with openslide.OpenSlide(path) as opened:
            return opened.level_count > 1 or math.prod(opened.dimensions) > IMAGE_MAX
    except openslide.OpenSlideError:
        return False  # the reader of images will tell what is wrong with it


def find(folder):
    """Slides of a folder: sorted paths; .dcm, where one slide is several files, and TIFF, an image's too, left out."""
    suffixes = set(SUFFIXES) - {".dcm"}
    return sorted(path for path in pathlib.Path(folder).iterdir() if path.suffix.lower() in suffixes)


class Gridded:
    """A picture that is segmented tile by tile.

    Attributes:
        path: of its file.
        width, height: its pixels.
        microns_per_pixel: its resolution.
        scale: pixels at 40X for one of its own; 1 within 5 % of 0.25 microns per pixel.
        region: the `Place` that is segmented; None for all of it.

    Besides them, those that derive from it have `pixels(place)`, `overview()` and `fingerprint()`.
    """

    region = None

    @property
    def bounds(self):
        """The `Place` that is segmented."""
        return self.region or Place(0, 0, self.width, self.height)

    def at_40x(self, place):
        """RGB of a place at 0.25 microns per pixel; not resampled within 5 % of it."""
        return inference.at_40x(self.pixels(place), self.microns_per_pixel)

    def tiles(self, side=TILE):
        """Places of the tiles' cores, row by row: they cover its region without overlap, with sides as even as can be.

        Args:
            side: largest side of a core, in pixels at 40X.
        """
        x, y, *lengths = dataclasses.astuple(self.bounds)
        columns, rows = (_parts(length, max(int(side / self.scale), 1)) for length in lengths)
        return [Place(x + left, y + above, width, height) for above, height in rows for left, width in columns]

    def colours(self):
        """LAB mean and standard deviation of the slide's tissue, for `normalise.moved`; None for a white slide.

        Of 64 `samples` of 256x256 pixels at 40X, read at full resolution. White pixels do not count.
        """
        taken = [self.at_40x(place).reshape(-1, 1, 3) for place in self.samples(SAMPLES, CELL)]
        return normalise.statistics(np.concatenate(taken)) if taken else None

    def samples(self, count, side):
        """Places out of those of `tissue_cells` at even distances, at most `count`."""
        full = self.tissue_cells(side)
        taken = np.unique(np.linspace(0, len(full) - 1, count).round().astype(int)) if full else ()
        return [full[index] for index in taken]

    def tissue_cells(self, side):
        """Places of tissue, row by row; none of a white slide.

        The slide is divided into cells. They are those at least half of which is tissue in the overview, or, if there
        is none, as much as in the fullest.

        Args:
            side: of a cell at most, in pixels at 40X.
        """
        cells = [_parts(length, max(round(side / self.scale), 1)) for length in (self.width, self.height)]
        tissue = normalise.tissue(self.overview()).astype(np.float32)
        share = cv2.resize(tissue, (len(cells[0]), len(cells[1])), interpolation=cv2.INTER_AREA).ravel()
        full = np.flatnonzero((share >= min(TISSUE_MIN, share.max())) & (share > 0))
        rows, columns = np.divmod(full, len(cells[0]))
        sides = ((*cells[0][column], *cells[1][row]) for row, column in zip(rows, columns, strict=True))
        return [Place(x, y, width, height) for x, width, y, height in sides]


class Slide(Gridded):
    """A slide that OpenSlide reads.

    Args:
        path: .svs, .ndpi, .mrxs, .scn, .bif, .vms, .vmu, .svslide, .czi, .dcm, .tif or .tiff.
        microns_per_pixel: resolution of level 0, in place of what the slide tells.
        region: the `Place` that is segmented; None for all of it.

    Attributes:
        width, height: pixels of level 0.
        microns_per_pixel: resolution of level 0.
        scale: pixels at 40X for one of level 0; 1 within 5 % of 0.25 microns per pixel.

    Raises:
        ValueError: if it cannot be read, or its resolution is not known or differs along x and y.
    """

    def __init__(self, path, microns_per_pixel=None, region=None):
        """Opens the slide."""
        self.path = pathlib.Path(path)
        self._errors = library().OpenSlideError
        self._open()
        self.width, self.height = self._slide.dimensions
        self.microns_per_pixel = self._resolution(microns_per_pixel)
        self.scale = inference.scale(self.microns_per_pixel)
        if region and region != region.grown(0, self.width, self.height):
            raise ValueError(
                f"Expected a region within the slide's {self.width} x {self.height} pixels. "
                f"Received: {self.path}, {region.width} x {region.height} from {region.x}, {region.y}."
            )
        self.region = region

    def _open(self):
        """Opens the slide, again after an error, which OpenSlide returns for ever after."""
        try:
            self._slide = library().OpenSlide(self.path)
        except (self._errors, OSError) as error:
            raise ValueError(f"Expected a slide that OpenSlide reads. Received: {self.path} ({error}).") from None

    def _resolution(self, given):
        """The given microns per pixel, else those that the slide tells."""
        low, high = RESOLUTIONS
        told = [self._slide.properties.get(name) for name in RESOLUTION]
        x, y = (given, given) if given else map(_number, told)
        if not (low < x < high and low < y < high):
            received = given or ", ".join(f"{name}: {value}" for name, value in zip(RESOLUTION, told, strict=True))
            raise ValueError(
                f"Expected a slide that tells its microns per pixel, or --microns-per-pixel between {low} and {high}. "
                f"Received: {self.path}, {received}."
            )
        if abs(x / y - 1) > ANISOTROPY:
            raise ValueError(f"Expected a slide with square pixels. Received: {self.path}, {x:.4g} x {y:.4g} microns.")
        return (x + y) / 2

    def pixels(self, place, level=0):
        """RGB of a place, (h, w, 3) uint8, at a level of the slide; what was not scanned is white.

        Raises:
            Unreadable: if it cannot be read, the second time either.
        """
        ratio = self._slide.level_downsamples[level]
        size = (max(round(place.width / ratio), 1), max(round(place.height / ratio), 1))
        for attempt in range(ATTEMPTS):
            try:
                rgba = np.asarray(self._slide.read_region((place.x, place.y), level, size))
                break
            except (self._errors, OSError) as error:
                self._open()
                if attempt + 1 == ATTEMPTS:
                    raise Unreadable(f"Expected a readable slide. Received: {self.path}, {place} ({error}).") from None
        image = np.ascontiguousarray(rgba[..., :3])
        image[rgba[..., 3] == 0] = 255
        return image

    def overview(self, side=OVERVIEW):
        """RGB of the whole slide, longest side at most `side`; read in blocks, so that memory stays small."""
        ratio = max(max(self.width, self.height) / side, 1)
        level = self._slide.get_best_level_for_downsample(ratio)
        image = np.zeros((max(round(self.height / ratio), 1), max(round(self.width / ratio), 1), 3), np.uint8)
        sides = [_parts(length, 256) for length in (image.shape[1], image.shape[0])]
        for y, height in sides[1]:
            for x, width in sides[0]:
                left, top = int(x * ratio), int(y * ratio)
                right, below = min(int((x + width) * ratio), self.width), min(int((y + height) * ratio), self.height)
                block = self.pixels(Place(left, top, right - left, below - top), level)
                image[y : y + height, x : x + width] = cv2.resize(block, (width, height), interpolation=cv2.INTER_AREA)
        return image

    def fingerprint(self):
        """Text that tells one slide from another: of its size, OpenSlide's quick hash and 17 places of the file."""
        size = self.path.stat().st_size
        digest = hashlib.sha256(f"{size} {self._slide.properties.get('openslide.quickhash-1')}".encode())
        with open(self.path, "rb") as file:
            for part in range(17):
                file.seek(max(size - 65536, 0) * part // 16)
                digest.update(file.read(65536))
        return digest.hexdigest()[:16]


def blank(image):
    """Whether an image shows no tissue: the channels' standard deviations sum to little in each 256x256 region."""
    rows, columns = (range(0, side, CELL) for side in image.shape[:2])
    regions = (image[y : y + CELL, x : x + CELL] for y in rows for x in columns)
    return all(cv2.meanStdDev(region)[1].sum() < BLANK_STD for region in regions)


def _parts(length, side):
    """(start, size) of the fewest parts of at most `side` of a length; sizes differ by at most 1."""
    edges = np.linspace(0, length, math.ceil(length / side) + 1).astype(int).tolist()
    return [(start, stop - start) for start, stop in zip(edges[:-1], edges[1:], strict=True)]


def _number(text):
    """A number out of a property; 0 if it is none."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return 0.0
