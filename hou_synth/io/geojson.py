"""GeoJSON as QuPath reads and writes it: one Feature for each nucleus."""

import json

MEASURED = (  # what QuPath shows of it
    *("probability", "agreement", "at_border", "haematoxylin", "eosin", "area_um2"),
    "lymphocyte",
)


def feature(outline, row=None):
    """Feature of a nucleus: a detection of class "Nucleus" with measurements, as QuPath names them.

    Args:
        outline: (k, 2) float, x, y in pixels.
        row: dict of `instances.table`, or None.
    """
    told = {name: row[name] for name in MEASURED if row[name] is not None} if row else {}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [[*outline.tolist(), outline[0].tolist()]]},
        "properties": {
            "objectType": "detection",
            "classification": {"name": "Nucleus"},
            **({"measurements": told} if told else {}),
        },
    }


def collection(outlines, members=None, rows=None):
    """Text of a FeatureCollection.

    Args:
        outlines: of nuclei, (k, 2) float each.
        members: dict of further members of the collection, which readers of GeoJSON pass over.
        rows: dicts of `instances.table`, one for each outline, or None.
    """
    opened = json.dumps({"type": "FeatureCollection", **(members or {}), "features": []}).removesuffix("]}")
    rows = rows or [None] * len(outlines)
    return opened + ", ".join(json.dumps(feature(*each)) for each in zip(outlines, rows, strict=True)) + "]}"
