"""Nuclei of one tile of a slide on disk, in the QuIP format of the release.

`x_y_w_h_mpp_scale-features.csv` has one row a nucleus: the release's AreaInPixels (of the slide), PhysicalSize (pixels
at 40X) and Polygon `[x1:y1:x2:y2:...]` in the slide's pixels, then our columns. `x_y_w_h_mpp_scale-algmeta.json`
describes the tile and is written last, so a tile is complete when it is there and tells the table's size.
"""

import csv
import dataclasses
import io
import json

import numpy as np

from hou_synth import instances
from hou_synth.io import documents, files

OWN = tuple(name for name in instances.COLUMNS if name not in ("label", "area_pixels"))
COLUMNS = ("AreaInPixels", "PhysicalSize", "Polygon", *OWN)
FEATURES, META = "-features.csv", "-algmeta.json"


@dataclasses.dataclass(frozen=True)
class Written:
    """What the description of a tile says of its table: the nuclei, its bytes, whether no earlier tile has them too."""

    nuclei: int
    features_bytes: int
    settled: bool


def name(place, slide):
    """What the files of a tile begin with."""
    numbers = (place.x, place.y, place.width, place.height)
    return "_".join([*map(str, numbers), f"{slide.microns_per_pixel:.4g}", f"{slide.scale:.4g}"])


def write(folder, place, slide, nuclei, settings, settled=False):
    """Writes the nuclei of a tile, each file atomically.

    Args:
        folder: a path.
        place: the tile's core, a `Place`.
        slide: a `Slide`.
        nuclei: list of dicts as `read` yields.
        settings: the `Instances` they were found with.
        settled: whether no earlier tile has any of them too.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for nucleus in nuclei:
        numbers = ":".join(map(str, nucleus["polygon"].ravel().tolist()))
        areas = nucleus["area_pixels"], nucleus["area_40x"]
        writer.writerow([*areas, f"[{numbers}]", *(nucleus[column] for column in OWN)])
    content = table.getvalue().encode()
    stem = name(place, slide)
    files.write_bytes(folder / (stem + FEATURES), content)
    written = Written(len(nuclei), len(content), settled)
    meta = described(place, slide, settings) | dataclasses.asdict(written)
    files.write_text(folder / (stem + META), json.dumps(meta, indent=1) + "\n")


def described(place, slide, settings):
    """The release's description of a tile."""
    tile = {"minx": place.x, "miny": place.y, "width": place.width, "height": place.height}
    return {
        "input_type": "wsi",
        "min_size": settings.area_min,
        "mpp": slide.microns_per_pixel,
        "image_width": slide.width,
        "image_height": slide.height,
        **{f"{kind}_{key}": value for kind in ("tile", "patch") for key, value in tile.items()},
        "output_level": "mask",
        "out_file_prefix": name(place, slide),
        "subject_id": slide.path.stem,
        "case_id": slide.path.stem,
        "analysis_id": "hou_synth",
        "analysis_desc": f"hou_synth_{settings.segmentation_threshold}_{settings.detection_threshold}",
    }


def written(folder, place, slide):
    """What a tile that was written completely says of itself, a `Written`; else None."""
    stem = name(place, slide)
    try:
        told = documents.read(folder / (stem + META), Written)
        return told if (folder / (stem + FEATURES)).stat().st_size == told.features_bytes else None
    except (OSError, ValueError):  # not there, or cut off by a power cut
        return None


def count(folder, place, slide):
    """Number of nuclei of a tile that was written completely, else None."""
    told = written(folder, place, slide)
    return told and told.nuclei


def is_settled(folder, place, slide):
    """Whether a tile was written completely, and no earlier one has any of its nuclei."""
    told = written(folder, place, slide)
    return told is not None and told.settled


def read(folder, place, slide, within=None):
    """Yields the nuclei of a tile; none of one that is not there.

    Args:
        folder: a path.
        place: the tile's core, a `Place`.
        slide: a `Slide`.
        within: `Place` in which their centroids lie; None for all.

    Returns:
        Dicts of `area_pixels` and `area_40x` (int), `polygon` ((k, 2) float, x, y in the slide's pixels) and the
        columns of `instances.table` (numbers, or None where nothing is known).

    Raises:
        ValueError: naming the table, if it is damaged.
    """
    path = folder / (name(place, slide) + FEATURES)
    for row in files.read_csv(path, COLUMNS) if path.exists() else ():
        try:
            if within and not within.holds(float(row["centroid_x"]), float(row["centroid_y"])):
                continue
            polygon = np.array(row["Polygon"][1:-1].split(":"), float).reshape(-1, 2)
            areas = {"area_pixels": int(row["AreaInPixels"]), "area_40x": int(row["PhysicalSize"])}
            numbers = {column: _number(row[column]) for column in OWN}
        except ValueError as error:
            raise ValueError(f"Expected the nuclei of a tile. Received: {path} ({error}).") from error
        yield areas | {"polygon": polygon} | numbers


def _number(text):
    """What a cell says: a whole number, another one, or None if it is empty."""
    if not text:
        return None
    return int(text) if text.isdecimal() else float(text)
