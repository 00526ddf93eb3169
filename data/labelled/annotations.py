"""Outlines of nuclei, read as label maps: Aperio ImageScope's XML and QuPath's GeoJSON."""

import math

import numpy as np
from defusedxml import ElementTree
from skimage.draw import polygon

from hou_synth.io import documents

COORDINATE_MAX = 1e9  # larger ones are no pixels, and would overflow when rasterised
RESOLUTIONS = (0.01, 10)  # microns per pixel, as `hou_synth.inference.at_40x`
ELLIPSE = "2"  # Type of a Region that ImageScope stores by two corners
WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")


def resolution(value, source):
    """Microns per pixel as a float.

    Args:
        value: number or text.
        source: where it is from, for the message.

    Raises:
        ValueError: naming `source`, if it is not a number between 0.01 and 10.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not RESOLUTIONS[0] < number < RESOLUTIONS[1]:
        raise ValueError(f"Expected microns per pixel of 0.01 to 10. Received: {value!r} in {source}.")
    return number


def aperio(path, size):
    """Label map of Aperio ImageScope's annotations [MoNuSeg, Kumar].

    Every `Region` of every layer is a nucleus. X and Y count from the centre of the first pixel, and a pixel
    belongs to a nucleus if its centre is within the outline or on it; where two overlap, the later one of the
    file wins. So the label maps in use of the MoNuSeg images come out pixel by pixel. Outlines that cross
    themselves are filled even-odd, outlines that leave the image are cut, regions of fewer than three vertices
    (rulers, stray clicks) have no area and are left out, and what a region with `NegativeROA="1"` encloses is
    background.

    Args:
        path: `pathlib.Path` of the XML file; entities and document types are refused.
        size: (height, width) of the image.

    Returns:
        (h, w) int32 ids in the file's order, of which covered ones may be missing, and microns per pixel: the
        `MicronsPerPixel` of the file, None if there is none or 0.

    Raises:
        ValueError: naming the file, if it is not such XML, has an ellipse or a vertex without coordinates, or
            most of its regions are outside of the image.
    """
    root = _xml(path)
    nuclei, negative = [], []
    for region in root.iter("Region"):
        if region.get("Type") == ELLIPSE:
            raise ValueError(f"Expected outlines. Received: {path}, region {region.get('Id')}, which is an ellipse.")
        ring = _ring([(vertex.get("X"), vertex.get("Y")) for vertex in region.iter("Vertex")], path)
        if len(ring) >= 3:
            (negative if region.get("NegativeROA") == "1" else nuclei).append(ring)
    labels = drawn([[[ring]] for ring in nuclei], size, path)
    for ring in negative:
        labels.ravel()[inside(ring, size)] = 0
    text = root.get("MicronsPerPixel", "").strip()
    return labels, resolution(text, path) if text.strip("0.") else None


def _xml(path):
    """Root of an ImageScope file."""
    try:
        root = ElementTree.fromstring(path.read_bytes(), forbid_dtd=True)
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # what is forbidden is a ValueError
        raise ValueError(f"Expected readable XML without entities. Received: {path} ({error!r}).") from error
    if root.tag != "Annotations":
        raise ValueError(f"Expected Annotations of Aperio ImageScope. Received: {path} with {root.tag!r}.")
    return root


def qupath(path, size):
    """Label map of the outlines that QuPath or `hou_synth.segment` wrote as GeoJSON.

    Every feature with an area is a nucleus, so regions of interest are to be left out of an export. Coordinates
    are pixels from the image's corner: the centre of the first pixel is at (0.5, 0.5). Holes are background, the
    parts of a MultiPolygon are one nucleus, and of a QuPath cell it is `nucleusGeometry`. Otherwise as `aperio`.

    Args:
        path: `pathlib.Path` of a FeatureCollection, a Feature, or a list of features.
        size: (height, width) of the image.

    Returns:
        (h, w) int32 ids in the file's order, of which covered ones may be missing. Points, lines and features
        whose geometry is null have no area and are left out.

    Raises:
        ValueError: naming the file, if it is not GeoJSON, a feature is malformed or of an unknown type, or most
            of them are outside of the image.
    """
    content = documents.parse(path.read_bytes(), object, path, finite=False)  # QuPath measures NaN at times
    if isinstance(content, dict):
        content = content.get("features") if content.get("type") == "FeatureCollection" else [content]
    if not isinstance(content, list):
        raise ValueError(f"Expected GeoJSON with a list of features. Received: {path} without one.")
    shapes = [_parts(feature, f"{path}, feature {number}") for number, feature in enumerate(content, start=1)]
    return drawn([parts for parts in shapes if parts], size, path)


def _parts(feature, source):
    """Parts of a GeoJSON feature, each a list of rings, relative to the first pixel's centre; none without area."""
    if not isinstance(feature, dict) or feature.get("type") != "Feature" or "geometry" not in feature:
        raise ValueError(f"Expected a Feature with geometry. Received: {source}.")
    geometry = feature.get("nucleusGeometry") or feature["geometry"]
    if geometry is None:
        return []
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind in WITHOUT_AREA:
        return []
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"Expected Polygon or MultiPolygon. Received: {source} of type {kind!r}.")
    coordinates = geometry.get("coordinates")
    parts = [coordinates] if kind == "Polygon" else coordinates
    if not (isinstance(parts, list) and parts and all(isinstance(rings, list) and rings for rings in parts)):
        raise ValueError(f"Expected coordinates of a {kind}. Received: {source} without them.")
    parts = [[_ring(points, source) - 0.5 for points in rings] for rings in parts]
    if min(len(ring) for rings in parts for ring in rings) < 3:
        raise ValueError(f"Expected outlines of at least three points. Received: {source} with fewer.")
    return parts


def _ring(points, source):
    """Points of an outline as (k, 2) float x, y; ValueError if they are not finite coordinates."""
    try:
        ring = np.array(points, float) if points != [] else np.zeros((0, 2))
    except (TypeError, ValueError, OverflowError):
        ring = np.array(np.nan)
    if ring.ndim != 2 or ring.shape[1] < 2 or not (np.abs(ring) < COORDINATE_MAX).all():
        raise ValueError(f"Expected points with coordinates x, y. Received: {source} with others.")
    return ring[:, :2]  # a third one is an altitude


def drawn(shapes, size, source):
    """Label map of outlines; later ones win.

    Args:
        shapes: list of nuclei, each a list of parts, each a list of rings (k, 2) x, y from the centre of the
            first pixel: an outline and its holes.
        size: (height, width).
        source: where they are from, for the message.

    Returns:
        (h, w) int32, the ids from 1 on in the order of `shapes`.

    Raises:
        ValueError: naming `source`, if more than half of the nuclei are outside of the image.
    """
    boxes = [np.concatenate([rings[0] for rings in parts]) for parts in shapes]
    outside = sum((box.max(0) < -0.5).any() or (box.min(0) > np.subtract(size[::-1], 0.5)).any() for box in boxes)
    if 2 * outside > len(shapes):
        raise ValueError(
            f"Expected outlines within the image of {size[1]}x{size[0]} pixels. "
            f"Received: {source}, {outside} of {len(shapes)} outside of it."
        )
    labels = np.zeros(size, np.int32)
    for number, parts in enumerate(shapes, start=1):
        for outline, *holes in parts:
            pixels = inside(outline, size)
            for hole in holes:
                pixels = np.setdiff1d(pixels, inside(hole, size), assume_unique=True)
            labels.ravel()[pixels] = number
    return labels


def inside(ring, size):
    """Indices into a flattened (height, width) image of the pixels whose centres are within a ring or on it."""
    rows, columns = polygon(ring[:, 1], ring[:, 0], size)
    return rows * size[1] + columns
