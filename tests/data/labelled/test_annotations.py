import json
import time

import numpy as np
import pytest

from data.labelled import annotations
from hou_synth import instances, metrics
from hou_synth.io import geojson


def square(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def region(points, **attributes):
    named = "".join(f' {key}="{value}"' for key, value in attributes.items())
    vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in points)
    return f'<Region Id="1"{named}><Vertices>{vertices}</Vertices></Region>'


def image_scope(*regions, **attributes):
    named = "".join(f' {key}="{value}"' for key, value in attributes.items())
    layers = "".join(f"<Annotation><Regions>{text}</Regions></Annotation>" for text in regions)
    return f"<Annotations{named}>{layers}</Annotations>"


@pytest.fixture
def aperio(tmp_path):
    def read(text, size=(5, 6)):
        (tmp_path / "a.xml").write_text(text)
        return annotations.aperio(tmp_path / "a.xml", size)

    return read


def test_aperio_pixels_on_the_outline_belong_to_it_and_the_later_nucleus_wins(aperio):
    labels, per_pixel = aperio(image_scope(region(square(1, 1, 3, 3)), region(square(3, 2, 4.9, 3.9))))
    expected = [[0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 1, 1, 2, 2, 0], [0, 1, 1, 2, 2, 0], [0, 0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.int32
    assert per_pixel is None


def test_aperio_nucleus_that_leaves_the_image_is_cut(aperio):
    labels, _ = aperio(image_scope(region(square(-3.5, 3, 1, 9)), region(square(4.5, -1, 8, 0))))
    expected = np.zeros((5, 6), int)
    expected[3:, :2], expected[0, 5] = 1, 2
    np.testing.assert_array_equal(labels, expected)


def test_aperio_negative_region_is_a_hole_wherever_it_stands(aperio):
    hole = region(square(2, 2, 3, 2), NegativeROA=1)
    for regions in ([hole, region(square(1, 1, 4, 3))], [region(square(1, 1, 4, 3)), hole]):
        labels, _ = aperio(image_scope(*regions))
        np.testing.assert_array_equal(labels[1:4, 1:5], [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]])


def test_aperio_covered_nuclei_and_regions_without_area(aperio):
    labels, _ = aperio(image_scope(region([(0, 0), (4, 4)], Type=4), region([]), region(square(1, 1, 1.5, 1.5))))
    assert np.flatnonzero(labels).tolist() == [7]
    assert labels.max() == 1
    labels, _ = aperio(image_scope(region(square(1, 1, 2, 2)), region(square(0, 0, 3, 3))))
    assert np.unique(labels).tolist() == [0, 2]


def test_aperio_crossing_outline_is_filled_even_odd(aperio):
    twice = square(0, 0, 4, 4) + square(1.5, 1.5, 2.5, 2.5) + [(1.5, 1.5), (0, 0)]
    assert aperio(image_scope(region(twice)))[0][2, 2] == 0


@pytest.mark.parametrize("text", ["<Annotations/>", "<Annotations><Annotation/></Annotations>"])
def test_aperio_without_regions_has_no_nucleus(aperio, text):
    assert not aperio(text)[0].any()


@pytest.mark.parametrize(("text", "expected"), [("0.2520", 0.252), ("0.000", None), ("", None), (" ", None)])
def test_aperio_resolution(aperio, text, expected):
    assert aperio(image_scope(MicronsPerPixel=text))[1] == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no XML at all",
        "<Annotations><Annotation>",
        "<Something/>",
        '<?xml version="1.0" encoding="nonsense"?><Annotations/>',
        image_scope(MicronsPerPixel="about 0.25"),
        image_scope(MicronsPerPixel="-1"),
        image_scope(region([(1, 1), (1, "one"), (2, 2)])),
        image_scope(region([(1, 1), (1, "nan"), (2, 2)])),
        image_scope(region([(1, 1), (1, "1e300"), (2, 2)])),
        image_scope(region([(1, 1), (1, 2), (2, 2)])).replace('X="1"', "", 1),
        image_scope(region([(1, 1), (4, 4)], Type=2)),
        image_scope(region(square(100, 1, 102, 3))),
    ],
)
def test_aperio_that_is_malformed(aperio, text):
    with pytest.raises(ValueError, match="Received.*a.xml"):
        aperio(text)


def test_aperio_mostly_outside_of_the_image(aperio):
    inside, outside = region(square(1, 1, 2, 2)), region(square(1, 5.1, 2, 8))
    assert aperio(image_scope(inside, outside))[0].max() == 1
    with pytest.raises(ValueError, match="6x5 pixels.*a.xml, 2 of 3"):
        aperio(image_scope(inside, outside, outside))


def test_entities_are_refused_quickly(aperio, tmp_path):
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 30))
    (tmp_path / "secret").write_text("secret")
    outside = f'<!ENTITY l29 SYSTEM "file://{tmp_path}/secret">'
    start = time.perf_counter()
    for entities in (f'<!ENTITY l0 "lol">{laughs}', outside):
        with pytest.raises(ValueError, match="without entities.*a.xml"):
            aperio(f"<!DOCTYPE Annotations [{entities}]><Annotations>&l29;</Annotations>")
    assert time.perf_counter() - start < 1


def ring(left, top, right, bottom):
    return [*map(list, square(left, top, right, bottom)), [left, top]]


def feature(kind, coordinates, **more):
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, **more}


@pytest.fixture
def qupath(tmp_path):
    def read(content, size=(5, 6)):
        (tmp_path / "a.geojson").write_text(content if isinstance(content, str) else json.dumps(content))
        return annotations.qupath(tmp_path / "a.geojson", size)

    return read


def test_qupath_counts_from_the_corner_and_the_later_nucleus_wins(qupath):
    one, two = feature("Polygon", [ring(1, 1, 3, 4)]), feature("Polygon", [ring(2, 2, 6, 3)])
    expected = np.zeros((5, 6), int)
    expected[1:4, 1:3], expected[2, 2:6] = 1, 2
    for content in ([one, two], {"type": "FeatureCollection", "features": [one, two]}):
        labels = qupath(content)
        np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(qupath("\ufeff" + json.dumps(one)), np.where(expected > 0, 1, 0) * (qupath(one) > 0))


def test_qupath_holes_and_several_parts(qupath):
    parts = [[ring(0, 0, 3, 3), ring(1, 1, 2, 2)], [ring(4, 0, 6, 1)]]
    labels = qupath([feature("MultiPolygon", parts), feature("Polygon", [ring(0, 4, 1, 5)])])
    expected = [[1, 1, 1, 0, 1, 1], [1, 0, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0], [0] * 6, [2, 0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(labels, expected)


def test_qupath_cell_is_its_nucleus(qupath):
    nucleus = {"type": "Polygon", "coordinates": [ring(1, 1, 2, 2)]}
    assert np.flatnonzero(qupath(feature("Polygon", [ring(0, 0, 4, 4)], nucleusGeometry=nucleus))).tolist() == [7]


def test_qupath_measurements_may_be_none(qupath):
    measured = feature("Polygon", [ring(0, 0, 1, 1)], properties={"measurements": {"Nucleus: Area": float("nan")}})
    assert qupath([measured]).sum() == 1


def test_qupath_features_without_area(qupath):
    nothing = [feature("Point", [1, 1]), feature("LineString", [[0, 0], [3, 3]]), {"type": "Feature", "geometry": None}]
    assert not qupath([]).any()
    assert not qupath(nothing).any()
    assert qupath([*nothing, feature("Polygon", [ring(0, 0, 1, 1)])]).sum() == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        pytest.param("[" * 100_000, id="deep"),
        "3",
        {"type": "FeatureCollection"},
        {"type": "Polygon", "coordinates": [ring(0, 0, 1, 1)]},
        ["nucleus"],
        [{"type": "Feature"}],
        [{"type": "Feature", "geometry": []}],
        [feature("GeometryCollection", [])],
        [feature("Polygon", None)],
        [feature("Polygon", [])],
        [feature("Polygon", [[]])],
        [feature("Polygon", ring(0, 0, 1, 1))],
        [feature("Polygon", [[[0, 0], [1, 1]]])],
        [feature("Polygon", [[[0], [1], [2]]])],
        [feature("Polygon", [[[0, 0], [1, "one"], [2, 2]]])],
        [feature("Polygon", [[[0, 0], [1, float("nan")], [2, 2]]])],
        [feature("Polygon", [[ring(0, 0, 1, 1)]])],
        [feature("MultiPolygon", [ring(0, 0, 1, 1)])],
        [feature("Polygon", [ring(50, 0, 51, 1)])],
    ],
)
def test_qupath_that_is_malformed(qupath, content):
    with pytest.raises(ValueError, match="Received.*a.geojson"):
        qupath(content)


def test_segmented_nuclei_come_back_exactly(qupath, circles):
    written = geojson.collection(instances.polygons(circles).values())
    np.testing.assert_array_equal(qupath(written, circles.shape), circles)


def test_real_nuclei_come_back(qupath, real_data):
    from hou_synth.io import image_files

    path = sorted((real_data / "labelled" / "lgg28").glob("*_labels.png"))[0]
    nuclei = image_files.read(path)
    back = qupath(geojson.collection(instances.polygons(nuclei).values()), nuclei.shape)
    pairs = metrics.overlap(back, nuclei)
    assert metrics.aji(back, nuclei) > 0.999
    assert len(pairs.predicted_areas) == len(pairs.true_areas)


@pytest.mark.parametrize("value", [0, 0.01, 10, -1, float("nan"), "x", None])
def test_resolution_that_is_none(value):
    with pytest.raises(ValueError, match="Received.*here"):
        annotations.resolution(value, "here")
