"""An image that was sent to the page: seen in parts at any zoom, segmented, and its results as files."""

import dataclasses
import hashlib
import pathlib
import tempfile

import cv2
import numpy as np
from skimage.segmentation import find_boundaries

from hou_synth import inference, instances, results
from hou_synth.io import files, geojson, image_files

TILE = 512  # side of the parts that the page asks for, in pixels; ours
PART = 16 * 10**6  # pixels at 40X that are segmented at once: of a larger image, what is in view; ours
KEPT = 4  # maps of other models, colours or parts that are kept; ours
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 90)


@dataclasses.dataclass(frozen=True)
class Request:
    """What the network sees; thresholds are no part of it.

    Attributes:
        model: name in the page's list.
        normalise: whether colours are moved to the fixed target.
        microns_per_pixel: of the image.
        part: left, top, width and height in pixels.
    """

    model: str
    normalise: bool
    microns_per_pixel: float
    part: tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Nuclei:
    """What a request and thresholds gave.

    Attributes:
        request: `Request`.
        identity: of the model.
        settings: `Instances`.
        labels: (h, w) int32, of the part.
        rows: of `results.table`, in pixels of the image.
    """

    request: Request
    identity: str
    settings: object
    labels: np.ndarray
    rows: list


class Picture:
    """An image in memory and what has been made of it; nothing of it is written to disk, but for moments in `file`."""

    def __init__(self, data, name):
        """Decodes it.

        Args:
            data: bytes of the file.
            name: of the file.

        Raises:
            ValueError: if it is no image.
        """
        self.name = pathlib.PurePath(name).name or "image"
        self.levels = [image_files.image_in(data, self.name)]
        self.digest = hashlib.sha256(data).hexdigest()
        while max(self.levels[-1].shape[:2]) > TILE:
            half = [-(-side // 2) for side in self.levels[-1].shape[1::-1]]
            self.levels.append(cv2.resize(self.levels[-1], half, interpolation=cv2.INTER_AREA))
        self.maps, self.nuclei = {}, []  # of each request; of each version

    @property
    def size(self):
        """(height, width)."""
        return self.levels[0].shape[:2]

    def tile(self, level, column, row):
        """JPEG of a part of the image, reduced `level` times by two."""
        place = np.s_[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        return _encoded(".jpg", self.levels[level][place], JPEG)

    def part(self, view, microns_per_pixel):
        """What of the image is segmented: all of it, or what is in view of a large one.

        Args:
            view: left, top, width and height, also beyond the image.
            microns_per_pixel: of the image.

        Raises:
            ValueError: if that is too large too, or beyond the image.
        """
        height, width = self.size
        scale = inference.scale(microns_per_pixel)
        if height * width * scale**2 <= PART:
            return 0, 0, width, height
        left, top, right, below = (round(v) for v in (*view[:2], view[0] + view[2], view[1] + view[3]))
        left, top, right, below = max(left, 0), max(top, 0), min(right, width), min(below, height)
        pixels = max(right - left, 0) * max(below - top, 0) * scale**2
        if not 0 < pixels <= PART:
            raise ValueError(
                f"Expected a part of at most {PART / 1e6:.0f} megapixels at 40X in view: zoom in, or segment the whole "
                f"image by hou_synth.segment. Received: {pixels / 1e6:.1f} megapixels."
            )
        return left, top, right - left, below - top

    def segment(self, model, request, changes):
        """Segments, or only makes nuclei of the maps that are there; returns the number of this version.

        Args:
            model: `hou_synth.model.Model`.
            request: `Request`.
            changes: dict of fields of `Instances` that differ from those of the model.
        """
        left, top, width, height = request.part
        if request not in self.maps:
            while len(self.maps) >= KEPT:
                del self.maps[next(iter(self.maps))]
            part = np.ascontiguousarray(self.levels[0][top : top + height, left : left + width])
            looked = request.normalise, request.microns_per_pixel, model.thresholds
            self.maps[request] = inference.looks(model.network, part, *looked)
        settings = dataclasses.replace(model.thresholds, **changes)
        found = inference.on_image(*self.maps[request], (height, width), settings)
        part = self.levels[0][top : top + height, left : left + width]
        rows = results.table(part, found.labels, request.microns_per_pixel, found.scores())
        for row in rows:
            for axis, corner in (("x", left), ("y", top)):
                row[f"centroid_{axis}"] += corner
                row[f"centroid_{axis}_um"] += corner * request.microns_per_pixel
        self.nuclei = [*self.nuclei, Nuclei(request, model.identity, settings, found.labels, rows)]
        self.nuclei[:-2] = [None] * len(self.nuclei[:-2])  # the one before may still be asked for
        return len(self.nuclei) - 1

    def outlines(self, version, level, column, row):
        """PNG of the outlines in the same part as `tile`, transparent elsewhere."""
        nuclei, step = self.nuclei[version], 2**level
        left, top, width, height = nuclei.request.part
        inside = np.zeros((TILE + 2, TILE + 2), np.int32)
        places = [
            (np.arange(-1, TILE + 1) + number * TILE) * step + step // 2 - start
            for number, start in ((row, top), (column, left))
        ]
        valid = [(0 <= each) & (each < length) for each, length in zip(places, (height, width), strict=True)]
        rows, columns = (each[known] for each, known in zip(places, valid, strict=True))
        inside[np.ix_(*valid)] = nuclei.labels[np.ix_(rows, columns)]
        drawn = np.zeros((TILE, TILE, 4), np.uint8)
        drawn[find_boundaries(inside, mode="inner")[1:-1, 1:-1]] = (*results.OUTLINE[::-1], 255)
        return _encoded(".png", drawn)

    def label(self, version, x, y):
        """Label of the nucleus at a pixel of the image; 0 where there is none."""
        nuclei = self.nuclei[version]
        left, top, width, height = nuclei.request.part
        inside = left <= x < left + width and top <= y < top + height
        return int(nuclei.labels[y - top, x - left]) if inside else 0

    def nucleus(self, version, label):
        """Row of the table and outline of a nucleus, in pixels of the image; None if there is none of that label."""
        nuclei = self.nuclei[version]
        if not 0 < label <= len(nuclei.rows):
            return None
        rows, columns = np.nonzero(nuclei.labels == label)
        top, left = int(rows.min()), int(columns.min())
        own = nuclei.labels[top : rows.max() + 1, left : columns.max() + 1] == label
        (outline,) = _polygons(own.astype(np.int32), np.add(nuclei.request.part[:2], (left, top)))
        return {"row": nuclei.rows[label - 1], "outline": outline.tolist()}

    def file(self, version, kind):
        """Name and content of a download: `geojson`, `csv` or `labels` (of the part that was segmented)."""
        nuclei, stem = self.nuclei[version], pathlib.PurePath(self.name).stem
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, stem)
            if kind == "labels":
                path = image_files.write(path, nuclei.labels)
            elif kind == "csv":
                path = path.with_name(f"{stem}.csv")
                files.write_csv(path, nuclei.rows, instances.COLUMNS)
            else:
                path = path.with_name(f"{stem}.geojson")
                outlines, told = _polygons(nuclei.labels, nuclei.request.part[:2]), {results.MEMBER: self.told(nuclei)}
                files.write_text(path, geojson.collection(outlines, told, nuclei.rows))
            return path.name, path.read_bytes()

    def told(self, nuclei):
        """What nuclei depend on, as a dict for JSON; as `results.image_request`, and the part."""
        asked = nuclei.request
        return {
            "image": self.digest,
            "model": nuclei.identity,
            "normalise": asked.normalise,
            "microns_per_pixel": asked.microns_per_pixel,
            "settings": dataclasses.asdict(nuclei.settings),
            "part": asked.part,
        }


def _polygons(labels, corner):
    """Outlines of a label map in pixels of the image, where it lies at a corner (x, y)."""
    return [outline + corner for outline in instances.polygons(labels).values()]


def _encoded(ending, image, options=()):
    """Bytes of an image, RGB or, as PNG, BGRA."""
    channels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.shape[2] == 3 else image
    return cv2.imencode(ending, np.ascontiguousarray(channels), options)[1].tobytes()
