"""Places with a class: points on images, `<image>_points.csv`, and patches whose centre is meant, `label.txt`."""

import dataclasses
import pathlib

import numpy as np
from scipy.spatial import cKDTree

from data import tile_table
from data.labelled import POSITIVE, TABLE
from hou_synth import inference
from hou_synth.io import files, image_files
from hou_synth.normalise import reinhard

POINTS, LABELS = "_points.csv", "label.txt"
UNKNOWN = ("unclassified", "unknown", "unlabelled")  # classes that say nothing
CLEAR = 24.0  # pixels at 40X that background lies from every point; ours


@dataclasses.dataclass(frozen=True)
class Marked:
    """An image at 40X, its colours moved to the fixed target, and places on it.

    Attributes:
        name: of the image, a path in its folder.
        image: (h, w, 3) uint8 RGB.
        places: (n, 2) float, x and y in pixels from the image's corner.
        positive: (n,) bool, where a lymphocyte is.
        background: (m, 2) float, places where nothing is marked; none of patches with a label.
    """

    name: str
    image: np.ndarray
    places: np.ndarray
    positive: np.ndarray
    background: np.ndarray


def read_folder(folder, positive=POSITIVE, table=None, microns_per_pixel=None):
    """Marked images of a folder, at any depth.

    `<image>_points.csv` beside an image has the columns x, y (pixels of the image) and class; the classes of `UNKNOWN`
    are left out. A line of `label.txt` is the name of a patch beside it, 1 if a lymphocyte is at its centre, else 0,
    and anything.

    Args:
        folder: path.
        positive: classes that are lymphocytes, in any case of letters.
        table: CSV file, see `data.tile_table.read`; None for `images.csv` in the folder if there is one.
        microns_per_pixel: resolution of all images; None for the table's, or 0.25.

    Returns:
        List of `Marked`, sorted by name.

    Raises:
        ValueError: if there is nothing of the kind, or a file that is not what is expected.
        OSError: if a file cannot be read.
    """
    folder, positive = pathlib.Path(folder), {name.lower() for name in positive}
    marks = {path: _points(path, positive) for path in folder.rglob(f"*{POINTS}")}
    pictures = {path.with_name(path.name.removesuffix(POINTS)): path for path in marks}
    pairs = [
        (path, marks[pictures[path.with_suffix("")]]) for path in images_of(folder) if path.with_suffix("") in pictures
    ]
    for path in folder.rglob(LABELS):
        pairs += [(path.with_name(name), label) for name, label in _labels(path)]
    if not pairs:
        raise ValueError(f"Expected images with {POINTS} beside them, or {LABELS}, in {folder}. Received: neither.")
    names = {path: path.relative_to(folder).as_posix() for path, _ in pairs}
    table = table or (folder / TABLE if (folder / TABLE).is_file() else None)
    known = tile_table.read(table, list(names.values())) if table else {}
    sides = {name: microns_per_pixel or known.get(name, (None, None))[1] for name in names.values()}
    return [
        _marked(path, names[path], marked, sides[names[path]])
        for path, marked in sorted(pairs, key=lambda pair: pair[0])
    ]


def images_of(folder):
    """Paths of the images of a folder, at any depth."""
    return sorted({image for place in [folder, *folder.rglob("*/")] for image in image_files.find(place)})


def _points(path, positive):
    """(n, 2) places, (n,) whether a lymphocyte is there, 1, 0, or -1 where that is not known."""
    rows = files.read_csv(path, ["x", "y", "class"])
    try:
        places = np.array([(float(row["x"]), float(row["y"])) for row in rows]).reshape(-1, 2)
    except ValueError as error:
        raise ValueError(f"Expected x and y in pixels. Received: {path} ({error}).") from error
    names = [row["class"].strip().lower() for row in rows]
    return places, np.array([-1 if name in UNKNOWN else int(name in positive) for name in names], int)


def _labels(path):
    """Names of patches and, as `_points`, None for the centre and its label; patches without a label are left out."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [(line[0], (None, np.array([int(line[1])]))) for line in lines if len(line) > 1 and line[1] in ("0", "1")]


def _marked(path, name, marks, microns_per_pixel):
    places, labels = marks
    image = image_files.image(path)
    whole = inference.at_40x(image, microns_per_pixel)
    if places is None:
        places, background = np.array([image.shape[1::-1]]) / 2.0, np.zeros((0, 2))
        places = places * inference.scale(microns_per_pixel)
    else:
        places = places * inference.scale(microns_per_pixel)
        background = _background(places, whole.shape[:2])
    known = labels >= 0
    return Marked(name, reinhard(whole), places[known], labels[known] > 0, background)


def _background(places, extent):
    """Places on a grid of an image of that (height, width), in pixels at 40X, that are far from all that is marked."""
    grid = np.stack(np.meshgrid(*(np.arange(CLEAR, side - CLEAR, CLEAR) for side in extent[::-1])), -1).reshape(-1, 2)
    if not len(places):
        return grid
    return grid[cKDTree(places).query(grid)[0] > CLEAR] if len(grid) else grid
