"""Readers of label files: a map of ids, or a refusal that names the file."""

import io
import json
import pathlib

import h5py
import hypothesis
import numpy as np
import pytest
import scipy.io
from hypothesis import strategies

from data.labelled import annotations, discovery, maps
from tests.fuzz import damage

SIZE = (24, 30)
SECRET = 123456789  # an id of a file that nobody may read
LABELS = np.kron(np.arange(20, dtype=np.int32).reshape(4, 5), np.ones((6, 6), np.int32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("labelled")


def is_map(labels):
    return labels.dtype == np.int32 and labels.ndim == 2 and labels.size > 0 and labels.min() >= 0


MICCAI = f"{SIZE[1]} {SIZE[0]}\n".encode() + "\n".join(map(str, LABELS.ravel())).encode()


@damage.cases
@hypothesis.given(damage.damaged(MICCAI, b"2 1\n0 7", tokens=[b" ", b"\n", b"1_0", b"+2"]))
def test_miccai(folder, content):
    labels = damage.read(maps.miccai, folder / "a_mask.txt", content)
    assert labels is None or is_map(labels)


def saved(**options):
    file = io.BytesIO()
    scipy.io.savemat(file, {"inst_map": LABELS.astype(float), "type_map": LABELS[:2]}, **options)
    return file.getvalue()


def saved_73(libver="earliest", **options):
    file = io.BytesIO()
    with h5py.File(file, "w", libver=libver) as made:
        made.create_dataset("inst_map", data=LABELS.T, **options)
    return file.getvalue()


def linked(path):
    """A file of version 7.3 whose map is a link to another file, and one whose map is stored in another file."""
    with h5py.File(path / "secret.mat", "w") as made:
        made["inst_map"] = np.full((6, 5), SECRET, np.int32)
    (path / "secret.raw").write_bytes(np.full(30, SECRET, np.int32).tobytes())
    link, raw = io.BytesIO(), io.BytesIO()
    with h5py.File(link, "w") as made:
        made["inst_map"] = h5py.ExternalLink(str(path / "secret.mat"), "inst_map")
        made["type_map"] = LABELS.T
    with h5py.File(raw, "w") as made:
        made.create_dataset("inst_map", (6, 5), np.int32, external=[(str(path / "secret.raw"), 0, 120)])
    return link.getvalue(), raw.getvalue()


@damage.cases
@hypothesis.given(damage.damaged(saved(), saved(do_compression=True), saved(format="4")))
def test_matlab(folder, content):
    labels = damage.read(maps.matlab, folder / "a.mat", content)
    assert labels is None or is_map(labels)


@damage.cases
@hypothesis.given(strategies.data())
def test_matlab_73(folder, data):
    packed = saved_73(compression="gzip", chunks=(10, 10)), saved_73("latest", compression="gzip", fletcher32=True)
    content = data.draw(damage.damaged(saved_73(), *packed, *linked(folder)))
    labels = damage.read(maps.matlab, folder / "a.mat", content)
    assert labels is None or (is_map(labels) and SECRET not in labels)


VERTICES = "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for x, y in ((3, 3), (12.5, 4), (11, 15.25), (2, 12)))
APERIO = (
    '<?xml version="1.0"?><Annotations MicronsPerPixel="0.252"><Annotation Id="1"><Regions>'
    f'<Region Id="1" Type="0"><Vertices>{VERTICES}</Vertices></Region>'
    f'<Region Id="2" NegativeROA="1"><Vertices>{VERTICES}</Vertices></Region>'
    "</Regions></Annotation></Annotations>"
).encode()
BOMB = b'<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d SYSTEM "file:///etc/passwd">]>'


@damage.cases
@hypothesis.given(damage.damaged(APERIO, tokens=[BOMB, b"&b;", b"<Region>", b'Type="2"', b"</Vertices>", b'"']))
def test_aperio(folder, content):
    read = damage.read(lambda path: annotations.aperio(path, SIZE), folder / "a.xml", content)
    if read is not None:
        assert is_map(read[0]) and read[0].shape == SIZE and (read[1] is None or 0.01 < read[1] < 10)


RING = [[3, 3], [12.5, 4], [11, 15.25], [2, 12], [3, 3]]
FEATURES = [
    {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [RING]}, "properties": {"name": "é"}},
    {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [[RING], [RING, RING[:3]]]}},
    {"type": "Feature", "geometry": None, "nucleusGeometry": {"type": "Point", "coordinates": [1, 2]}},
]
WORDS = ["type", "features", "geometry", "nucleusGeometry", "coordinates", "Feature", "FeatureCollection", "Polygon"]
TREES = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.floats() | strategies.integers()
    | strategies.sampled_from([*WORDS, "MultiPolygon", "Point", "", "1", "\ud800", RING, [RING], FEATURES]),
    lambda inner: strategies.lists(inner, max_size=4)
    | strategies.dictionaries(strategies.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
FILES = [json.dumps({"type": "FeatureCollection", "features": FEATURES}).encode(), json.dumps(FEATURES).encode()]
TOKENS = [word.encode() for word in (*WORDS, "[", "]", "{", "}", "null", "NaN", "-Infinity", ",", "[" * 400)]


@damage.cases
@hypothesis.given(
    damage.damaged(*FILES, tokens=TOKENS) | strategies.builds(lambda tree: json.dumps(tree).encode(), TREES)
)
def test_qupath(folder, content):
    labels = damage.read(lambda path: annotations.qupath(path, SIZE), folder / "a.geojson", content)
    assert labels is None or (is_map(labels) and labels.shape == SIZE)


IMAGES = [pathlib.Path(name) for name in ("a.png", "b.tif", "c.jpg")]
TABLE = '\ufeffimage,type,microns_per_pixel\na,lung,0.25\nb.tif,"colon, left",\nc,,0.5\n'.encode()


@damage.cases
@hypothesis.given(damage.damaged(TABLE, tokens=[b"a", b"c.jpg", b",", b'"', b"\n", b"\r", b"=1+1", b"image"]))
def test_images_csv(folder, content):
    table = damage.read(lambda path: discovery.table(path, IMAGES), folder / "images.csv", content)
    for name, (kind, per_pixel) in (table or {}).items():
        assert name in "abc" and kind != "" and (per_pixel is None or 0.01 < per_pixel < 10)
