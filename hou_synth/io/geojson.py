"""GeoJSON as QuPath reads and writes it: one Feature for each nucleus."""

import json


def feature(outline):
    """Feature of a nucleus: a detection of class "Nucleus".

    Args:
        outline: (k, 2) float, x, y in pixels.
    """
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*outline.tolist(), outline[0].tolist()]]},
        "properties": {"objectType": "detection", "classification": {"name": "Nucleus"}},
    }


def collection(outlines, members=None):
    """Text of a FeatureCollection.

    Args:
        outlines: of nuclei, (k, 2) float each.
        members: dict of further members of the collection, which readers of GeoJSON pass over.
    """
    opened = json.dumps({"type": "FeatureCollection", **(members or {}), "features": []}).removesuffix("]}")
    return opened + ", ".join(json.dumps(feature(outline)) for outline in outlines) + "]}"
