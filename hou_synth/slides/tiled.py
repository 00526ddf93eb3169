"""Nuclei of a whole slide, tile by tile; what is finished is kept, so that the same request goes on after a stop.

A tile is computed with a margin around its core, and has the nuclei whose centroid lies in the core or in a narrow band
around it. When all are computed, each loses those that an earlier one has too: so each nucleus is there exactly once,
none is cut at a seam, and tiles may be computed in any order.
"""

import dataclasses
import json
from concurrent import futures

import cv2
import numpy as np
from tqdm import tqdm

from hou_synth import inference, instances, normalise
from hou_synth.io import command, documents, files
from hou_synth.slides import quip
from hou_synth.slides import whole_slide as slides

FORMAT = 2  # of a folder of tiles
REQUEST = "request.json"
FINISHED = "finished.json"  # sizes of what was made of the tiles
# A tile may still own a nucleus so many pixels at 40X beyond its core: two views of a nucleus may have centroids on
# either side of a seam, and then both tiles, or none, would own it. Ours.
BAND = 16
SIMPLE = 0.5  # pixels at 40X by which an outline may differ from the label map's, at half the size; ours
OUTLINE_DECIMALS = 1  # of outlines in the slide's pixels; release
CENTROID_DECIMALS = 2
LOOKS, LOOK = 8, 512  # places, and their side at 40X, whose nuclei say how far the slide is enlarged; ours


@dataclasses.dataclass(frozen=True)
class Look:
    """How all tiles of a slide are looked at.

    Attributes:
        colours: as `Gridded.colours`; None where they stay as they are.
        factor: by which tiles are enlarged, see `inference.enlargement`.
    """

    colours: tuple[np.ndarray, np.ndarray] | None
    factor: float


def slide_request(slide, model, normalised):
    """What the nuclei of a slide depend on, as a dict for JSON.

    Args:
        slide: a `Slide`.
        model: a `Model`.
        normalised: whether colours are moved to the fixed target.
    """
    asked = {"lymphocytes": model.classifier.identity} if model.classifier else {}
    return asked | {
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
        "region": dataclasses.asdict(slide.bounds),
    }


def begin(folder, slide, model, normalised):
    """Begins a folder of tiles, or goes on with one of the same request.

    Args:
        folder: a path.
        slide: a `Slide`.
        model: a `Model`.
        normalised: whether colours are moved to the fixed target.

    Returns:
        The slide's `Look`; that of the first start.

    Raises:
        ValueError: naming what differs, if the folder belongs to another request.
    """
    path, wanted = folder / REQUEST, slide_request(slide, model, normalised)
    if not path.is_file():
        colours = slide.colours() if normalised else None
        look = Look(colours, enlargement(slide, model, colours))
        folder.mkdir(parents=True, exist_ok=True)
        listed = colours and [values.tolist() for values in colours]
        files.write_text(path, json.dumps(wanted | {"colours": listed, "enlarged": look.factor}, indent=1) + "\n")
        return look
    try:
        kept = documents.read(path, dict[str, object])
        colours, factor = kept.pop("colours"), float(kept.pop("enlarged"))
        colours = colours and tuple(np.array(values, np.float32).reshape(3) for values in colours)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"Expected a request written by this program, or --overwrite. Received: {path}.") from error
    different = [f"{key}: {kept.get(key)} != {value}" for key, value in wanted.items() if kept.get(key) != value]
    if different:
        raise ValueError(f"Expected the request of the tiles in {folder}, or --overwrite. Received: {different[0]}.")
    return Look(colours, factor)


def enlargement(slide, model, colours):
    """Factor by which all tiles of a slide are enlarged, out of the nuclei of a few places; 1 if they are not small."""
    if model.thresholds.typical_area <= 0:
        return 1.0
    looks, count = [np.zeros(1, np.int32)], 0
    for place in slide.samples(LOOKS, LOOK):
        image = coloured(slide.at_40x(place), colours)
        maps = inference.probabilities(model.network, image, **model.tiling)
        labels = instances.nuclei(*maps, model.thresholds).ravel()
        looks.append(np.where(labels > 0, labels + count, 0))
        count += labels.max()
    labels = np.concatenate([look.ravel() for look in looks])
    return round(inference.enlargement(labels, model.thresholds.typical_area), 3)


def coloured(image, colours):
    """RGB of a part of a slide with its tissue's colours moved to the target; as it is for None."""
    return image if colours is None else normalise.moved_tissue(image, *colours)


def places(slide, factor):
    """The tiles of a slide, the smaller the more they are enlarged, so that each takes the same memory."""
    return slide.tiles(slides.TILE / factor)


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


def segment(model, slide, folder, look):
    """Computes the tiles of a slide that its folder does not hold yet.

    While the network looks at one tile, the next are read, and the nuclei of the one before are found and written, each
    in a thread. A tile that cannot be read is told, and left out.

    Args:
        model: a `Model`.
        slide: a `Slide`.
        folder: the tiles' folder, after `begin`.
        look: what `begin` returned.

    Returns:
        The places that could not be read.

    Raises:
        ValueError: from the network; the finished tiles are kept.
    """
    every = places(slide, look.factor)
    left = [place for place in every if quip.count(folder, place, slide) is None]
    progress = tqdm(total=len(every), initial=len(every) - len(left), desc=slide.path.name, unit="tile", disable=None)
    unreadable = []
    with progress, futures.ThreadPoolExecutor(1) as writer:
        waiting, shown = [], inference.called(lambda place: prepared(slide, place, look), left, 1)
        for place, images in zip(left, shown, strict=True):
            progress.update()
            if images is None:
                unreadable.append(place)
                continue
            maps = None if images.shown is None else mapped(model, images.shown)
            for before in waiting:
                before.result()
            waiting = [writer.submit(keep, model, look, slide, folder, place, images.scanned, maps)]
        for last in waiting:
            last.result()
    settle(model.thresholds, slide, folder, every)
    return unreadable


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A tile with its margin.

    Attributes:
        scanned: (h, w, 3) uint8 RGB at 40X.
        shown: what the network is shown, in the target's colours and enlarged; None if the tile is blank.
    """

    scanned: np.ndarray
    shown: np.ndarray | None


def prepared(slide, place, look, margin=None):
    """A tile as `Prepared`, by default with its margin; None, which is told, if it cannot be read."""
    try:
        image = slide.at_40x(margined(slide, place, margin))
    except slides.Unreadable as error:
        command.complain(f"{error} The tile is left out.")
        return None
    if slides.blank(image):
        return Prepared(image, None)
    shown = coloured(image, look.colours)
    return Prepared(image, inference.resized(shown, look.factor) if look.factor > 1 else shown)


def margined(slide, place, margin=None):
    """The place of a tile with its margin, or another one in pixels at 40X."""
    beyond = slides.MARGIN if margin is None else margin
    return place.grown(round(beyond / slide.scale), slide.width, slide.height)


def mapped(model, image):
    """What a model's network sees in an image, as `inference.views`; windows of glass are not shown to it."""

    def network(windows):
        if all(slides.blank(window) for window in windows):
            return dict.fromkeys(inference.OUTPUTS, np.zeros((*windows.shape[:3], 1), np.float32))
        return model.network(windows)

    return inference.views(network, image, model.thresholds.transposed, **model.tiling)


def keep(model, look, slide, folder, place, image, maps):
    """Writes the nuclei of a tile whose centroid lies in its core or the band around it.

    Args:
        model: a `Model`, whose thresholds find them.
        look: the slide's `Look`.
        slide: a `Slide`.
        folder: the tiles' folder.
        place: of the tile.
        image: RGB at 40X of the tile and its margin.
        maps: what the network saw in it, as `inference.views`; None of a blank tile.
    """
    rows = []
    if maps is not None:
        found = inference.labelled(maps, image.shape[:2], model.thresholds)
        more = instances.stains(found.labels, image) | found.scores()
        if model.classifier:
            more |= model.classifier.scores(coloured(image, look.colours), found.labels, normalise=False)
        rows = described(found.labels, more, slide, place)
    quip.write(folder, place, slide, rows, model.thresholds)


def settle(settings, slide, folder, every):
    """Takes the nuclei out of each tile that an earlier one has too.

    Args:
        settings: the `Instances` that found them.
        slide: a `Slide`.
        folder: the tiles' folder.
        every: all places of tiles, in their order.
    """

    def write(place, nuclei, settled):
        quip.write(folder, place, slide, nuclei, settings, settled)

    for index, place in enumerate(every):
        if quip.count(folder, place, slide) is None or quip.is_settled(folder, place, slide):
            continue
        for later in every[index + 1 :]:  # where this one was missing before, they have its nuclei
            if touching(later, margined(slide, place)) and quip.is_settled(folder, later, slide):
                write(later, list(quip.read(folder, later, slide)), settled=False)
        found = list(quip.read(folder, place, slide))
        write(place, unclaimed(found, claimed(folder, slide, every[:index], place)), settled=True)


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


def kept(folder, slide, look):
    """Text that says how many tiles of a slide are finished, and how to go on."""
    every = places(slide, look.factor)
    done = sum(quip.count(folder, place, slide) is not None for place in every)
    return f"{done} of {len(every)} tiles are kept in {folder}; the same command goes on from there."


def described(labels, more, slide, place):
    """Nuclei of a tile with a centroid in its core or the band around it, as `quip.read` yields them.

    Args:
        labels: (h, w) int32, of the tile with its margin at 40X.
        more: columns for `instances.table`.
        slide: a `Slide`.
        place: of the tile.
    """
    whole = margined(slide, place)
    ratio = np.array([whole.width, whole.height]) / labels.shape[::-1]  # the slide's pixels for one of the map's
    bounds = slide.bounds
    band = place.grown(round(BAND / slide.scale), slide.width, slide.height)
    rows = instances.table(labels, slide.microns_per_pixel / slide.scale, more)
    for row in rows:
        centroid = np.array([row["centroid_x"], row["centroid_y"]]) * ratio + (whole.x, whole.y)
        row["centroid_x"], row["centroid_y"] = centroid.round(CENTROID_DECIMALS).tolist()
        row["centroid_x_um"], row["centroid_y_um"] = (centroid * slide.microns_per_pixel).tolist()
    rows = [row for row in rows if all(within.holds(row["centroid_x"], row["centroid_y"]) for within in (band, bounds))]
    inside = np.zeros(labels.max() + 1, labels.dtype)
    inside[[row["label"] for row in rows]] = [row["label"] for row in rows]
    outlines = instances.polygons(inside[labels])
    for row in rows:
        row["polygon"] = (simple(outlines[row.pop("label")]) * ratio + (whole.x, whole.y)).round(OUTLINE_DECIMALS)
        row["area_40x"] = row["area_pixels"]
        row["area_pixels"] = round(row["area_40x"] / slide.scale**2)
        row.update({name: round(row[name], 4) for name in quip.OWN[2:] if row[name] is not None})
    return rows


def simple(outline):
    """Outline (k, 2) with the fewest of its points that keep it within `SIMPLE` pixels."""
    return cv2.approxPolyDP(outline.astype(np.float32), SIMPLE, closed=True)[:, 0].astype(float)


def claimed(folder, slide, earlier, place):
    """Nuclei of earlier tiles with a centroid near enough to a tile to be one of its own."""
    reach = margined(slide, place)
    near = [other for other in earlier if touching(other, reach)]
    return [nucleus for other in near for nucleus in quip.read(folder, other, slide, reach)]


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
