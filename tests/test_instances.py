import cv2
import numpy as np
import pytest

from hou_synth import instances
from hou_synth.config import Instances


def centres(labels):
    detection = np.zeros(labels.shape, np.float32)
    for row in instances.table(labels):
        detection[int(row["centroid_y"]), int(row["centroid_x"])] = 1
    return detection


def renumbered(got, labels):
    """The maps' nuclei are the same pixel sets, whatever their numbers."""
    pairs = np.unique(np.stack([got.ravel(), labels.ravel()]), axis=1)
    return pairs.shape[1] == len(np.unique(got)) == len(np.unique(labels))


def test_separate_discs_come_back(circles):
    circles[circles == 3] = 0
    got = instances.nuclei((circles > 0).astype(np.float32), centres(circles), Instances(segmentation_sigma=0))
    assert got.dtype == np.int32 and got.max() == 4
    assert renumbered(got, circles)


def test_touching_discs_are_parted_by_their_seeds(circles):
    segmentation = (circles > 0).astype(np.float32)
    got = instances.nuclei(segmentation, centres(circles))
    assert got.max() == 5
    assert got[40, 55] != got[40, 80] and got[40, 55] > 0
    unseeded = instances.nuclei(segmentation, np.zeros_like(segmentation))
    assert unseeded.max() == 4
    assert unseeded[40, 55] == unseeded[40, 80] > 0


def test_seed_is_the_centre_of_the_bounding_box():
    detection = np.zeros((20, 20), np.float32)
    detection[4, 5:14] = detection[4:9, 5] = 1  # an L: its centroid is elsewhere
    seeds = instances.detected(detection, Instances(detection_sigma=0))
    assert np.argwhere(seeds).tolist() == [[6, 9]]


def test_seed_outside_the_mask_makes_no_nucleus():
    detection = np.zeros((30, 30), np.float32)
    detection[5, 5] = 1
    assert instances.nuclei(np.zeros_like(detection), detection).max() == 0
    segmentation = np.zeros_like(detection)
    segmentation[6:16, 2:12], detection[11, 7] = 1, 1  # the first seed lies just beside this region
    config = Instances(segmentation_sigma=0, detection_sigma=0)
    assert instances.nuclei(segmentation, detection, config).max() == 1


def test_region_without_seed_gets_one_at_its_highest_value():
    smooth = np.zeros((20, 20), np.float32)
    smooth[3:8, 3:8], smooth[12:17, 12:17], smooth[4, 6], smooth[13, 15] = 0.5, 0.5, 0.9, 0.9
    seeds = np.zeros(smooth.shape, bool)
    seeds[14, 14] = True
    assert np.argwhere(instances.missed(smooth > 0.33, seeds, smooth, 6400)).tolist() == [[4, 6]]


def test_large_region_without_seed_is_split_by_shape_not_lost():
    segmentation = np.zeros((60, 110), np.float32)
    for x in (30, 70):
        cv2.circle(segmentation, (x, 30), 24, 1, -1)
    got = instances.nuclei(segmentation, np.zeros_like(segmentation), Instances(seed_area_max=500))
    assert got.max() == 2 and got[30, 20] != got[30, 80]
    assert ((got > 0) == (segmentation > 0)).mean() > 0.99


def test_map_that_is_nucleus_everywhere():
    full = np.ones((120, 120), np.float32)
    got = instances.nuclei(full, np.zeros_like(full))
    np.testing.assert_array_equal(got, np.ones_like(got))


def test_empty_map_and_specks():
    empty = np.zeros((40, 40), np.float32)
    assert instances.nuclei(empty, empty).max() == 0
    specks = empty.copy()
    specks[::6, ::6] = 1
    assert instances.nuclei(specks, specks).max() == 0


def test_area_min_is_the_smallest_area_kept():
    segmentation = np.zeros((30, 30), np.float32)
    segmentation[2:6, 2:7] = 1  # 20 pixels
    segmentation[15:34, 15] = segmentation[2, 20:24] = 1  # 15 and 4 pixels
    config = Instances(segmentation_sigma=0)
    got = instances.nuclei(segmentation, np.zeros_like(segmentation), config)
    assert got.max() == 1 and got.sum() == 20


def test_holes_are_filled_for_one_nucleus_only():
    labels = np.zeros((20, 20), np.int32)
    labels[2:9, 2:9] = 1
    labels[4:6, 4:6] = 0  # in nucleus 1
    labels[12:18, 2:6], labels[12:18, 6:10] = 2, 3
    labels[14:16, 5:7] = 0  # between 2 and 3
    labels[15:, 15:] = 4
    labels[18:, 18:] = 0  # open at the image's border
    filled = instances.without_holes(labels)
    assert (filled[4:6, 4:6] == 1).all()
    assert (filled[14:16, 5:7] == 0).all() and (filled[18:, 18:] == 0).all()
    assert (filled != labels).sum() == 4


def test_consecutive():
    labels = np.array([[0, 7, 7, 7], [3, 0, 9, 9]])
    assert instances.consecutive(labels).tolist() == [[0, 2, 2, 2], [1, 0, 3, 3]]
    assert instances.consecutive(labels, 2).tolist() == [[0, 1, 1, 1], [0, 0, 2, 2]]


@pytest.mark.parametrize("detection", [np.zeros((5, 6)), np.full((5, 5), np.nan)])
def test_maps_that_do_not_fit(detection):
    with pytest.raises(ValueError, match="Received"):
        instances.nuclei(np.zeros((5, 5)), detection)


def test_outline_of_a_square_from_the_image_corner():
    labels = np.zeros((8, 8), np.int32)
    labels[2:6, 1:4] = 7
    outline = instances.polygons(labels)[7]
    assert list(instances.polygons(labels)) == [7]
    np.testing.assert_allclose([outline.min(axis=0), outline.max(axis=0)], [[1, 2], [4, 6]])
    assert cv2.contourArea(outline.astype(np.float32)) == pytest.approx(12 - 0.5)


def test_outlines_agree_with_areas_also_at_the_border(circles):
    outlines = instances.polygons(circles)
    assert sorted(outlines) == [1, 2, 3, 4, 5]
    for label, outline in outlines.items():
        assert abs(cv2.contourArea(outline.astype(np.float32)) - (circles == label).sum()) <= 0.5
        assert (outline >= 0).all() and (outline <= (128, 96)).all()


def test_outline_of_one_pixel_and_of_the_largest_part():
    labels = np.zeros((9, 9), np.int32)
    labels[4, 4] = 1
    labels[0, 0] = labels[0:2, 6:9] = 2
    assert len(instances.polygons(labels)[1]) == 4
    assert instances.polygons(labels)[2][:, 0].min() == 6


def test_table_of_a_rectangle_in_microns():
    labels = np.zeros((20, 20), np.int32)
    labels[2:6, 1:11] = 3
    (row,) = instances.table(labels, microns_per_pixel=0.5)
    assert tuple(row) == instances.COLUMNS
    assert (row["label"], row["area_pixels"], row["area_um2"]) == (3, 40, 10.0)
    assert (row["centroid_x"], row["centroid_y"]) == (6.0, 4.0)
    assert row["solidity"] == pytest.approx(1.0)
    assert row["perimeter_um"] == pytest.approx(2 * (9 + 3) * 0.5)  # through the pixels' centres
    assert row["major_axis_um"] == pytest.approx(0.5 * 4 * np.sqrt((10**2 - 1) / 12), rel=0.02)


def test_table_and_outlines_of_nothing():
    empty = np.zeros((5, 5), np.int32)
    assert instances.table(empty) == [] and instances.polygons(empty) == {}


def test_table_of_a_line_warns_of_nothing():
    labels = np.zeros((5, 30), np.int32)
    labels[2, 2:27] = 1
    assert instances.table(labels)[0]["area_pixels"] == 25
