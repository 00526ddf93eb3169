"""What is written for an image: label map, overlay, outlines and table; and whether it is there already."""

import dataclasses
import hashlib
import pathlib

from skimage.segmentation import find_boundaries

from hou_synth import instances
from hou_synth.io import documents, files, geojson, image_files

OUTLINE = (0, 255, 0)  # colour of the outlines of predicted nuclei, RGB
STRIP = 1024  # rows that are outlined at once, so that memory stays small; ours
OUTPUTS = ("_labels.png", "_labels.tif", "_overlay.png", ".geojson", ".csv")
MEMBER = "hou_synth"  # of the GeoJSON: the request that gave it, which readers of GeoJSON pass over
DECIMALS = 4  # of the table's numbers
SIZES = "bytes"  # in it: sizes of the other results by name, once all of them are there


@dataclasses.dataclass(frozen=True)
class Told:
    """What GeoJSON says beside its outlines."""

    hou_synth: dict[str, object]


def overlay(image, nuclei, colour=OUTLINE):
    """Copy of a uint8 RGB image with the outlines of a label map drawn on it, one pixel wide."""
    drawn = image.copy()
    for top in range(0, len(nuclei), STRIP):
        above = min(top, 1)  # and a row below, so that a boundary is one where strips meet
        inner = find_boundaries(nuclei[top - above : top + STRIP + 1], mode="inner")[above : above + STRIP]
        drawn[top : top + STRIP][inner] = colour
    return drawn


def image_request(path, model, normalised, microns_per_pixel):
    """What the nuclei of an image depend on, as a dict for JSON.

    Args:
        path: of the image.
        model: a `Model`.
        normalised: whether colours are moved to the fixed target.
        microns_per_pixel: resolution of the image.
    """
    asked = {"lymphocytes": model.classifier.identity} if model.classifier else {}
    return asked | {
        "image": hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest(),
        "model": model.identity,
        "normalise": normalised,
        "microns_per_pixel": microns_per_pixel,
        "settings": dataclasses.asdict(model.thresholds),
    }


def write(stem_path, image, nuclei, wanted, scores=None):
    """Writes the results of one image, each atomically; the outlines last again, with the sizes of all others.

    Args:
        stem_path: path without ending.
        image: (h, w, 3) uint8 RGB.
        nuclei: (h, w) integer labels.
        wanted: the image's `image_request`.
        scores: columns of `instances.table` that networks told, as `inference.Found.scores`.
    """
    outlines = list(instances.polygons(nuclei).values())
    rows = table(image, nuclei, wanted["microns_per_pixel"], scores)
    collection = pathlib.Path(f"{stem_path}.geojson")
    files.write_text(collection, geojson.collection(outlines, {MEMBER: wanted}, rows))
    written = image_files.write(stem_path, nuclei)
    for other in {f"{stem_path}{ending}" for ending in OUTPUTS[:2]} - {str(written)}:
        pathlib.Path(other).unlink(missing_ok=True)  # an older label map would contradict the new one
    picture, listed = (pathlib.Path(f"{stem_path}{ending}") for ending in ("_overlay.png", ".csv"))
    files.write_png(picture, overlay(image, nuclei))
    files.write_csv(listed, rows, instances.COLUMNS)
    sizes = files.sizes([written, picture, listed])
    files.write_text(collection, geojson.collection(outlines, {MEMBER: wanted | {SIZES: sizes}}, rows))


def table(image, nuclei, microns_per_pixel, scores=None):
    """Rows of `instances.table` with the stains of the nuclei, rounded; arguments as of `write`."""
    more = instances.stains(nuclei, image) | (scores or {})
    return [_rounded(row) for row in instances.table(nuclei, microns_per_pixel, more)]


def _rounded(row):
    """A row of the table; what is a number of unlimited decimals has `DECIMALS`."""
    return {name: round(value, DECIMALS) if isinstance(value, float) else value for name, value in row.items()}


def finished(stem_path, wanted):
    """Whether the results of a request are complete.

    Args:
        stem_path: path without ending.
        wanted: the image's `image_request`.

    Raises:
        ValueError: if there are results of anything else, naming what differs.
    """
    present = [path for ending in OUTPUTS if (path := pathlib.Path(f"{stem_path}{ending}")).exists()]
    if not present:
        return False
    kept = _kept(pathlib.Path(f"{stem_path}.geojson"))
    different = [key for key, value in wanted.items() if kept.get(key) != value]
    if different:
        raise ValueError(
            f"Expected no older output, or --overwrite. Received: {present[0]} exists, "
            + (f"with another {different[0]}." if kept else "which this request did not give.")
        )
    return files.as_recorded(kept.get(SIZES), pathlib.Path(stem_path).parent)


def _kept(path):
    """The request that a GeoJSON was written for; empty if it tells none."""
    try:
        return documents.parse(path.read_bytes(), Told, path).hou_synth
    except (OSError, ValueError):
        return {}
