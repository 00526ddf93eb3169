import json

import numpy as np

from hou_synth.io import geojson


def test_a_collection_of_outlines():
    square = np.array([[0.5, 1], [2, 1], [2, 3]])
    text = geojson.collection([square, square + 1], {"hou_synth": {"n": 1}})
    parsed = json.loads(text)
    assert text == json.dumps(parsed)
    assert list(parsed) == ["type", "hou_synth", "features"] and len(parsed["features"]) == 2
    ring = parsed["features"][0]["geometry"]["coordinates"]
    assert ring == [[[0.5, 1.0], [2.0, 1.0], [2.0, 3.0], [0.5, 1.0]]]
    assert json.loads(geojson.collection([])) == {"type": "FeatureCollection", "features": []}
