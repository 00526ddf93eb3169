"""Nuclei of a whole slide, tile by tile; what is finished is kept, so that the same request goes on after a stop.

A tile is computed with a margin around its core. It owns the nuclei whose centroid lies in the core or in a narrow
band around it and that no earlier tile has, so each is found exactly once, and none is cut at a seam.
"""

import dataclasses
import json

import cv2
import numpy as np
from tqdm import tqdm

from hou_synth import instances, normalise
from hou_synth.io import documents, files
from hou_synth.slides import quip
from hou_synth.slides import whole_slide as slides

FORMAT = 1  # of a folder of tiles
REQUEST = "request.json"
FINISHED = "finished.json"  # sizes of what was made of the tiles
# A tile may still own a nucleus so many pixels at 40X beyond its core: two views of a nucleus may have centroids on
# either side of a seam, and then both tiles, or none, would own it. Ours.
BAND = 16
SIMPLE = 0.5  # pixels at 40X by which an outline may differ from the label map's, at half the size; ours
OUTLINE_DECIMALS = 1  # of outlines in the slide's pixels; release
CENTROID_DECIMALS = 2


def slide_request(slide, model, normalised):
    """What the nuclei of a slide depend on, as a dict for JSON.

    Args:
        slide: a `Slide`.
        model: a `Model`.
        normalised: whether colours are moved to the fixed target.
    """
    return {
        "format": FORMAT,
        "slide": slide.path.name,
        "fingerprint": slide.fingerprint(),
        "microns_per_pixel": slide.microns_per_pixel,
        "model": model.identity,
        "normalise": normalised,
        "settings": dataclasses.asdict(model.thresholds),
        "tile": slides.TILE,
        "margin": slides.MARGIN,
        "band": BAND,
    }


def begin(folder, slide, wanted):
    """Begins a folder of tiles, or goes on with one of the same request.

    Args:
        folder: a path.
        slide: a `Slide`.
        wanted: its `slide_request`.

    Returns:
        The slide's colours as `Slide.colours`; those of the first start. None where they stay as they are.

    Raises:
        ValueError: naming what differs, if the folder belongs to another request.
    """
    path = folder / REQUEST
    if not path.is_file():
        colours = slide.colours() if wanted["normalise"] else None
        folder.mkdir(parents=True, exist_ok=True)
        listed = colours and [values.tolist() for values in colours]
        files.write_text(path, json.dumps(wanted | {"colours": listed}, indent=1) + "\n")
        return colours
    try:
        kept = documents.read(path, dict[str, object])
        colours = kept.pop("colours")
        colours = colours and tuple(np.array(values, np.float32).reshape(3) for values in colours)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"Expected a request written by this program, or --overwrite. Received: {path}.") from error
    different = [f"{key}: {kept.get(key)} != {value}" for key, value in wanted.items() if kept.get(key) != value]
    if different:
        raise ValueError(f"Expected the request of the tiles in {folder}, or --overwrite. Received: {different[0]}.")
    return colours


def clear(folder):
    """Removes the tiles of a folder, then what says that it holds tiles, then the folder.

    Raises:
        ValueError: if it is not a folder of tiles.
    """
    if not folder.exists():
        return
    if not (folder / REQUEST).is_file():
        raise ValueError(f"Expected a folder of tiles with {REQUEST}. Received: {folder}.")
    for pattern in (f"*{quip.META}", f"*{quip.FEATURES}", "*.part", FINISHED, REQUEST):
        for path in folder.glob(pattern):
            path.unlink()
    folder.rmdir()


def segment(model, slide, folder, colours):
    """Computes the tiles of a slide that its folder does not hold yet.

    Args:
        model: a `Model`.
        slide: a `Slide`.
        folder: the tiles' folder, after `begin`.
        colours: what `begin` returned.

    Raises:
        ValueError: from reading the slide or from the network; the finished tiles are kept.
    """
    places = slide.tiles(slides.TILE)
    counts = [quip.count(folder, place, slide) for place in places]
    nuclei = sum(filter(None, counts))
    progress = tqdm(places, slide.path.name, unit="tile", disable=None)
    for index, place in enumerate(progress):
        if counts[index] is None:
            owned = tile(model, slide, place, colours)
            owned = unclaimed(owned, claimed(folder, slide, places[:index], place))
            quip.write(folder, place, slide, owned, model.thresholds)
            nuclei += len(owned)
        progress.set_postfix(nuclei=nuclei, refresh=False)


def finish(folder, outputs):
    """Records that the paths `outputs` were made of the tiles of a folder."""
    files.write_text(folder / FINISHED, json.dumps(files.sizes(outputs)) + "\n")


def finished(folder):
    """Whether the outputs that `finish` recorded are there, beside the folder of tiles, with the sizes they had."""
    try:
        recorded = documents.read(folder / FINISHED, dict[str, int])
    except (OSError, ValueError):
        return False
    return files.as_recorded(recorded, folder.parent)


def kept(folder, slide):
    """Text that says how many tiles of a slide are finished, and how to go on."""
    places = slide.tiles(slides.TILE)
    done = sum(quip.count(folder, place, slide) is not None for place in places)
    return f"{done} of {len(places)} tiles are kept in {folder}; the same command goes on from there."


def tile(model, slide, place, colours):
    """Nuclei of a tile whose centroid lies in its core or the band around it, as `quip.read` yields them."""
    margin = round(slides.MARGIN / slide.scale)
    whole = place.grown(margin, slide.width, slide.height)
    image = slide.at_40x(whole)
    if slides.blank(image):
        return []
    image = image if colours is None else normalise.moved_tissue(image, *colours)
    labels = model.segment(image, normalise=False)
    ratio = np.array([whole.width, whole.height]) / labels.shape[::-1]
    band = place.grown(round(BAND / slide.scale), slide.width, slide.height)
    return described(labels, ratio, whole, band, slide)


def described(labels, ratio, whole, band, slide):
    """Nuclei of a label map at 40X with a centroid in the place `band`; `ratio` (2,) is slide pixels for one of its."""
    rows = instances.table(labels, slide.microns_per_pixel / slide.scale)
    for row in rows:
        centroid = np.array([row["centroid_x"], row["centroid_y"]]) * ratio + (whole.x, whole.y)
        row["centroid_x"], row["centroid_y"] = centroid.round(CENTROID_DECIMALS).tolist()
    rows = [row for row in rows if holds(band, row["centroid_x"], row["centroid_y"])]
    inside = np.zeros(labels.max() + 1, labels.dtype)
    inside[[row["label"] for row in rows]] = [row["label"] for row in rows]
    outlines = instances.polygons(inside[labels])
    for row in rows:
        row["polygon"] = (simple(outlines[row.pop("label")]) * ratio + (whole.x, whole.y)).round(OUTLINE_DECIMALS)
        row["area_40x"] = row["area_pixels"]
        row["area_pixels"] = round(row["area_40x"] / slide.scale**2)
        row.update({name: round(row[name], 4) for name in quip.OWN[2:]})
    return rows


def simple(outline):
    """Outline (k, 2) with the fewest of its points that keep it within `SIMPLE` pixels."""
    return cv2.approxPolyDP(outline.astype(np.float32), SIMPLE, closed=True)[:, 0].astype(float)


def holds(place, x, y):
    """Whether a point lies in a place."""
    return place.x <= x < place.x + place.width and place.y <= y < place.y + place.height


def claimed(folder, slide, earlier, place):
    """Nuclei of earlier tiles with a centroid near enough to a tile to be one of its own."""
    reach = place.grown(round(slides.MARGIN / slide.scale), slide.width, slide.height)
    near = [other for other in earlier if touching(other, reach)]
    nuclei = (nucleus for other in near for nucleus in quip.read(folder, other, slide))
    return [nucleus for nucleus in nuclei if holds(reach, nucleus["centroid_x"], nucleus["centroid_y"])]


def touching(place, other):
    """Whether two places overlap."""
    across = place.x < other.x + other.width and other.x < place.x + place.width
    return across and place.y < other.y + other.height and other.y < place.y + place.height


def unclaimed(nuclei, taken):
    """Nuclei that are none of `taken`: two are the same if the centroid of one lies within the other's outline."""
    if not nuclei or not taken:
        return nuclei
    own, others = (np.array([(n["centroid_x"], n["centroid_y"]) for n in group]) for group in (nuclei, taken))
    sizes = np.array([np.ptp(n["polygon"], axis=0).max() for n in taken])
    same = set()
    for i, nucleus in enumerate(nuclei):
        reach = np.maximum(sizes, np.ptp(nucleus["polygon"], axis=0).max())
        for j in np.flatnonzero(np.abs(others - own[i]).max(axis=1) <= reach):
            if within(own[i], taken[j]) or within(others[j], nucleus):
                same.add(i)
    return [nucleus for i, nucleus in enumerate(nuclei) if i not in same]


def within(point, nucleus):
    """Whether a point (x, y) lies in a nucleus's outline."""
    around = (nucleus["polygon"] - point).astype(np.float32)  # float32 alone would be coarse far from the corner
    return cv2.pointPolygonTest(around, (0.0, 0.0), False) >= 0
