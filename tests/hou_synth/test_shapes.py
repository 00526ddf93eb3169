import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import find_contours, regionprops_table

from hou_synth import shapes

NAMES = {
    "label": "label",
    "area": "area",
    "x": "centroid-1",
    "y": "centroid-0",
    "major": "axis_major_length",
    "minor": "axis_minor_length",
    "eccentricity": "eccentricity",
}


def smooth():
    """Winding shapes, some of them cut by the border."""
    noise = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 1, (150, 170)), (0, 0), 3)
    return ndimage.label(noise > 0.05, np.ones((3, 3)))[0].astype(np.int32)


def ragged():
    """Single pixels, lines, pixels that touch at corners, one nucleus of many parts; ids are not consecutive."""
    labels = ndimage.label(np.random.default_rng(2).random((50, 60)) > 0.6)[0].astype(np.int32)
    labels[labels % 9 == 0] *= -1
    return np.where(labels < 0, labels.max() + 3, labels)


@pytest.mark.parametrize("labels", [smooth(), ragged()])
def test_numbers_are_those_of_regionprops(labels):
    names = ("label", "area", "centroid", "axis_major_length", "axis_minor_length", "eccentricity", "perimeter")
    expected, found = regionprops_table(labels, properties=(*names, "solidity")), shapes.moments(labels)
    assert len(found["label"]) > 15
    for own, name in NAMES.items():
        np.testing.assert_allclose(found[own], expected[name], rtol=1e-9, atol=1e-6, err_msg=own)
    np.testing.assert_allclose(shapes.perimeters(labels), expected["perimeter"], rtol=1e-9)
    solidity = found["area"] / shapes.convex_areas(shapes.borders(labels))
    np.testing.assert_allclose(solidity, expected["solidity"], rtol=1e-12)


@pytest.mark.parametrize("labels", [smooth(), ragged()])
def test_outlines_are_those_of_find_contours(labels):
    outlines = shapes.outlines(shapes.borders(labels))
    assert list(outlines) == np.unique(labels)[1:].tolist()
    for label, outline in outlines.items():
        inside = np.pad(labels == label, 1).astype(float)
        rings = find_contours(inside, 0.5, fully_connected="high")
        area = cv2.contourArea(outline.astype(np.float32))
        assert area == max(cv2.contourArea(ring.astype(np.float32)) for ring in rings)
        corners = set(map(tuple, outline[:, ::-1] + 1))
        assert any(corners <= set(map(tuple, ring)) for ring in rings)


def test_outline_of_one_pixel():
    labels = np.zeros((3, 4), np.int32)
    labels[1, 2] = 5
    (outline,) = shapes.outlines(shapes.borders(labels)).values()
    assert sorted(map(tuple, outline.tolist())) == [(1.5, 1.0), (2.0, 0.5), (2.0, 1.5), (2.5, 1.0)]
    assert shapes.convex_areas(shapes.borders(labels)).tolist() == [1]


def test_shapes_of_nothing():
    empty = np.zeros((4, 5), np.int32)
    assert shapes.borders(empty) == {} == shapes.outlines({}) and shapes.convex_areas({}).shape == (0,)
    assert shapes.perimeters(empty).shape == shapes.moments(empty)["area"].shape == (0,)
