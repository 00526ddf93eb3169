import dataclasses

import cv2
import numpy as np
import pytest
from skimage.measure import regionprops

from hou_synth import config
from hou_synth.synthesis import polygons

PAPER = config.preset("paper").synthesis
RELEASE = config.preset("release").synthesis
EVERYWHERE = np.ones((13, 13), bool)


def radii(number):
    return np.full(number, 12.0)


def test_a_calm_polygon_has_the_area_of_its_circle():
    calm = dataclasses.replace(PAPER, vertices_low=64, vertices_high=64, smoothing=0.5)
    shapes = polygons.outlines(np.random.default_rng(0), np.full(50, 20.0, np.float32), calm, spikiness=(0.0, 0.0))
    areas = [cv2.contourArea(shape) for shape in shapes]
    assert np.mean(areas) == pytest.approx(np.pi * 20.0**2, rel=0.05)


def test_release_polygons_keep_their_vertices():
    shape = polygons.outlines(np.random.default_rng(0), np.full(200, 10.0, np.float32), RELEASE)
    counts = {len(np.unique(points, axis=0)) for points in shape}
    assert counts <= set(range(10, 18)) and len(counts) == 8


def test_no_vertex_lies_beyond_twice_the_radius():
    shapes = polygons.outlines(np.random.default_rng(0), np.full(300, 10.0), RELEASE, spikiness=(0.9, 0.9))
    assert np.linalg.norm(shapes, axis=-1).max() <= 20.0 + 1e-4


def test_nuclei_are_drawn_out_along_one_direction_and_keep_their_area():
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32) * 10
    shapes = polygons.stretched(np.random.default_rng(0), np.repeat(circle[None], 2000, axis=0), 0.5, 0.1, 0.6)
    areas = [cv2.contourArea(shape) for shape in shapes]
    assert np.allclose(areas, cv2.contourArea(circle), rtol=1e-4)
    values, vectors = np.linalg.eigh(np.einsum("npi,npj->nij", shapes, shapes))
    ratio = np.log(values[:, 1] / values[:, 0]) / 2  # of the axes
    assert np.median(ratio) == pytest.approx(0.6 * 0.6745, rel=0.1) and ratio.std() == pytest.approx(0.36, rel=0.1)
    long = vectors[ratio > 0.3, :, 1]
    turned = np.arctan2(long[:, 1], long[:, 0]) - 0.5
    assert np.std((turned + np.pi / 2) % np.pi - np.pi / 2) == pytest.approx(0.1, rel=0.15)


@pytest.mark.parametrize(("elongation", "low", "high"), [(0.0, 1.1, 1.35), (0.8, 1.6, 2.2)])
def test_nuclei_of_a_mask_are_as_long_as_asked(elongation, low, high):
    settings = dataclasses.replace(PAPER, elongation=elongation, quadrilateral=0.1)
    labels = polygons.label_map(np.random.default_rng(0), 400, 60, radii, EVERYWHERE, settings)
    ratios = [region.axis_major_length / region.axis_minor_length for region in regionprops(labels)]
    assert len(ratios) > 40 and low < np.median(ratios) < high


def test_shared_perspective_keeps_the_usual_length():
    random = np.random.default_rng(0)
    shape = np.array([[[-1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]], np.float32) * 50
    widths = []
    for _ in range(300):
        perspective = polygons.quadrilateral(random, 460, RELEASE)
        points = polygons.placed(shape, np.array([[230.0, 230.0]], np.float32), perspective)[0]
        widths.append(np.linalg.norm(points[1] - points[0]))
    assert np.median(widths) == pytest.approx(100, rel=0.25)


def test_depths_are_those_of_the_perspective():
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    moved = corners * 300 + np.random.default_rng(0).uniform(-60, 60, (4, 2)).astype(np.float32)
    homography = cv2.getPerspectiveTransform(corners, moved)
    expected = np.column_stack([corners, np.ones(4)]) @ homography[2]
    assert np.allclose(polygons._depths(*moved.tolist()), expected, atol=1e-5)


def test_perspectives_are_not_steep():
    random = np.random.default_rng(0)
    for _ in range(50):
        _, back = polygons.quadrilateral(random, 400, RELEASE)
        depths = [[x, y, 1.0] @ back[2] for x in (0, 400) for y in (0, 400)]
        assert max(depths) < (polygons.STEEPEST + 1e-3) * min(depths)


def test_placed_outlines_lie_around_their_centres():
    random = np.random.default_rng(1)
    centres = random.uniform(50, 400, (20, 2)).astype(np.float32)
    shapes = polygons.outlines(random, np.full(20, 8.0), RELEASE)
    points = polygons.placed(shapes, centres, polygons.quadrilateral(random, 460, RELEASE))
    assert np.abs(points.mean(1) - centres).max() < 15


def test_instances_are_numbered_without_gaps_and_large_enough():
    labels = polygons.label_map(np.random.default_rng(0), 300, 60, radii, EVERYWHERE, PAPER)
    ids, areas = np.unique(labels[labels > 0], return_counts=True)
    assert ids.tolist() == list(range(1, len(ids) + 1)) and len(ids) > 30
    assert areas.min() >= (1 - PAPER.overlap) * PAPER.drawn_area_min


@pytest.mark.parametrize("covered,drawn", [(0, True), (10, True), (20, False)])
def test_a_nucleus_is_refused_when_too_much_of_it_is_covered(covered, drawn):
    labels = np.zeros((40, 40), np.uint16)
    labels[:, : 10 + covered * 20 // 100] = 7
    square = np.array([[10, 10], [29, 10], [29, 29], [10, 29]], np.int32)
    assert polygons.stamp(labels, (labels == 0).astype(np.uint8), square, 9, PAPER) is drawn
    assert (labels == 9).any() == drawn
    assert (labels[:, : 10 + covered * 20 // 100] == 7).all()


def test_nuclei_lie_on_tissue_only():
    tissue = np.zeros((10, 10), bool)
    tissue[:, :4] = True
    labels = polygons.label_map(np.random.default_rng(0), 400, 40, radii, tissue, PAPER)
    moments = [np.argwhere(labels == k).mean(0)[1] for k in range(1, labels.max() + 1)]
    assert len(moments) > 10 and max(moments) < 160 + 12


def test_no_tissue_or_no_count_gives_an_empty_mask():
    random = np.random.default_rng(0)
    assert polygons.label_map(random, 100, 0, radii, EVERYWHERE, PAPER).max() == 0
    assert polygons.label_map(random, 100, 9, radii, np.zeros((3, 3), bool), PAPER).max() == 0


def test_a_bilinear_quadrilateral_is_inverted():
    view = polygons.bilinear(np.random.default_rng(0), 200, 30, RELEASE)
    places = np.random.default_rng(1).random((30, 50, 2)) * 0.98 + 0.01
    origin, along, down, twist = np.moveaxis(view, 2, 0)
    u, v = places[..., :1], places[..., 1:]
    points = origin + u * along + v * down + u * v * twist
    assert np.abs(polygons.seen(points, view, 200) + 0.5 - 200 * places).max() < 0.51


def test_nuclei_of_the_release_lie_wholly_on_tissue():
    tissue = np.zeros((300, 300), bool)
    tissue[40:260, 60:200] = True
    labels = polygons.wholly_on_tissue(np.random.default_rng(0), 20, radii, tissue, RELEASE)
    areas = np.bincount(labels.ravel())[1:]
    assert not (labels[~tissue] > 0).any() and len(areas) == 20
    assert areas.min() >= (1 - RELEASE.overlap) * RELEASE.drawn_area_min


def test_the_last_nucleus_stays_when_nothing_fits():
    settings = dataclasses.replace(RELEASE, tissue_redraws=3, redraws=2, quadrilateral=0.0)
    nowhere, crowded = np.zeros((100, 100), bool), np.ones((100, 100), bool)
    assert polygons.wholly_on_tissue(np.random.default_rng(0), 5, radii, nowhere, settings).any()
    covered = polygons.wholly_on_tissue(np.random.default_rng(0), 200, radii, crowded, settings)
    assert (covered > 0).mean() > 0.9
