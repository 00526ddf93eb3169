import dataclasses
import json

import cv2
import numpy as np
import pytest
from skimage.color import rgb_from_hed
from skimage.morphology import reconstruction
from skimage.segmentation import watershed

from hou_synth import config, instances
from hou_synth.config import Instances

RULES = {name: config.preset(name).instances for name in ("release", "cpu")}


@pytest.fixture(params=RULES)
def rule(request):
    return RULES[request.param]


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
    settings = Instances(segmentation_sigma=0, detection_sigma=0)
    assert instances.nuclei(segmentation, detection, settings).max() == 1


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


@pytest.mark.parametrize("detected", [0.0, 1.0])
def test_map_that_is_nucleus_everywhere(rule, detected):
    full = np.ones((120, 120), np.float32)
    got = instances.nuclei(full, detected * full, rule)
    np.testing.assert_array_equal(got, np.ones_like(got))


def test_empty_map_and_specks(rule):
    empty = np.zeros((40, 40), np.float32)
    assert instances.nuclei(empty, empty, rule).max() == 0
    specks = empty.copy()
    specks[::6, ::6] = 1
    assert instances.nuclei(specks, specks, rule).max() == 0


def test_discs_come_back_touching_or_at_the_border(rule, circles):
    cores = np.isin(circles, (1, 2, 3, 4, 5)) & (cv2.erode(circles.astype(np.float32), np.ones((9, 9))) == circles)
    got = instances.nuclei((circles > 0).astype(np.float32), cores.astype(np.float32), rule)
    assert got.max() == 5
    for label in range(1, 6):
        disc, ids = circles == label, got[circles == label]
        found = got == np.bincount(ids).argmax()
        assert (found & disc).sum() / (found | disc).sum() > 0.85
    assert (got[80, 120:] > 0).all()  # up to the last column


def test_hole_of_a_nucleus_is_filled(rule):
    segmentation = np.zeros((60, 60), np.float32)
    cv2.circle(segmentation, (30, 30), 14, 1, -1)
    whole = instances.nuclei(segmentation, np.zeros_like(segmentation), rule)
    cv2.circle(segmentation, (30, 30), 5, 0, -1)
    np.testing.assert_array_equal(instances.nuclei(segmentation, np.zeros_like(segmentation), rule), whole)


def test_nuclei_of_noise_are_single_pieces_without_holes(rule):
    random = np.random.default_rng(0)
    maps = [cv2.GaussianBlur(random.random((200, 240), np.float32), (0, 0), 3) for _ in range(2)]
    segmentation, detection = (np.clip(0.2 + 20 * (m - 0.5), 0, 1) for m in maps)
    got = instances.nuclei(segmentation, detection, rule)
    assert got.max() > 20
    for label in range(1, got.max() + 1):
        inside = np.pad((got == label).astype(np.uint8), 1)
        assert inside.sum() >= rule.area_min
        assert cv2.connectedComponents(inside, connectivity=8)[0] == 2
        hole = cv2.connectedComponents(1 - inside, connectivity=4)[1]
        assert (got[(hole > 1)[1:-1, 1:-1]] > 0).all()  # what a nucleus encloses is another nucleus


def profile(*heights):
    """Detection map whose middle row holds these heights, each three pixels wide."""
    detection = np.zeros((9, 3 * len(heights)), np.float32)
    detection[3:6] = np.repeat(heights, 3)
    return detection


@pytest.mark.parametrize(
    ("heights", "columns"),
    [
        ((0, 0.9, 0.5, 0.8, 0), [1, 3]),  # a valley of 0.3 under the lower maximum
        ((0, 0.9, 0.6, 0.8, 0), [1]),  # and one of 0.2
        ((0, 1, 0.9, 1, 0), [1, 2, 3]),  # two summits of one height in one dome
        ((0, 0.4, 0, 0.2, 0), [1]),  # a maximum under the height
        ((0.9, 0.5, 0.6, 0.1, 0), [0]),  # a bump on a slope
    ],
)
def test_domes_by_hand(heights, columns):
    settings = Instances(detection_sigma=0, seed_height=0.25)
    seeds = instances.domes(profile(*heights), settings)
    assert not seeds[:3].any() and not seeds[6:].any()
    assert np.flatnonzero(seeds[4, 1::3]).tolist() == columns


def test_domes_part_nuclei_whose_blobs_have_merged():
    segmentation = np.zeros((40, 60), np.float32)
    segmentation[10:30, 10:50] = 1
    detection = np.zeros_like(segmentation)
    detection[14:26, 13:47], detection[14:26, 13:26], detection[14:26, 34:47] = 0.55, 1, 1
    ours = RULES["cpu"]
    merged = Instances(detection_threshold=ours.detection_threshold, detection_sigma=ours.detection_sigma)
    assert instances.nuclei(segmentation, detection, merged).max() == 1
    got = instances.nuclei(segmentation, detection, ours)
    assert got.max() == 2 and got[20, 15] != got[20, 45]


def test_reconstruction_equals_that_of_scikit_image():
    upper = np.random.default_rng(0).integers(0, 256, (50, 70)).astype(np.uint8)
    upper = cv2.blur(upper, (5, 5))
    lower = cv2.subtract(upper, 20)
    np.testing.assert_array_equal(instances.reconstructed(lower, upper), reconstruction(lower, upper))


@pytest.mark.parametrize("compactness", [0.0, 1 / 255, 1.0])
def test_growing_equals_the_watershed_of_the_whole_map(compactness):
    random = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(random.random((120, 150), np.float32), (0, 0), 3)
    mask, seeds = smooth > 0.48, random.random(smooth.shape) > 0.995
    markers = cv2.connectedComponents(cv2.dilate(seeds.view(np.uint8), instances.SQUARE) * mask)[1]
    expected = watershed(-smooth, markers, mask=mask, compactness=compactness)
    assert expected.max() > 30
    np.testing.assert_array_equal(instances.grown(seeds, mask, smooth, compactness), expected)


def disc(column, radius):
    rows, columns = np.mgrid[:64, :96]
    return (rows - 32) ** 2 + (columns - column) ** 2 <= radius**2


@pytest.mark.parametrize(("compactness", "areas"), [(1 / 255, [1636, 247]), (1.0, [1476, 407])])
def test_compactness_of_the_release_cuts_touching_discs_in_the_valley_and_255_times_it_midway(compactness, areas):
    """Areas of the watershed that the authors' program calls, on its map of 0 to 255 with compactness 1 and 255."""
    large, seeds = disc(30, 22.9), np.zeros((64, 96), bool)
    small = disc(60, 8.7) & ~large
    assert (large.sum(), small.sum()) == (1649, 234)
    smooth = np.maximum(*(cv2.GaussianBlur(nucleus.astype(np.float32), (0, 0), 2) for nucleus in (large, small)))
    seeds[32, (30, 60)] = True
    labels = instances.grown(seeds, large | small, smooth, compactness)
    assert np.bincount(labels.ravel())[1:].tolist() == areas
    markers = cv2.connectedComponents(cv2.dilate(seeds.view(np.uint8), instances.SQUARE))[1]
    expected = watershed(-255 * smooth, markers, mask=large | small, compactness=255 * compactness)
    np.testing.assert_array_equal(labels, expected)


def test_compactness_by_hand():
    """A pixel at distance d of a seed costs c d - p, which at 23 pixels and c = 1 / 255 is under a valley's 0.75."""
    smooth = np.full((3, 30), 0.9, np.float32)
    smooth[:, 24] = 0.15
    seeds = np.zeros(smooth.shape, bool)
    seeds[1, [1, 28]] = True  # dilated: columns 0 to 2 and 27 to 29
    widths = [(instances.grown(seeds, smooth > 0, smooth, c)[1] == 1).sum() for c in (1 / 255, 1.0)]
    assert widths == [24, 15]  # to the valley, which is nearer to the other seed; midway between 2 and 27


def test_nuclei_of_a_low_mean_probability_are_discarded():
    labels = np.array([[1, 1, 0, 2, 2], [0, 0, 0, 3, 3]])
    probabilities = np.array([[0.5, 1, 0.9, 0.7, 0.75], [0, 0, 0, 0.9, 0.9]])
    assert instances.confident(labels, probabilities, 0.75).tolist() == [[1, 1, 0, 0, 0], [0, 0, 0, 3, 3]]
    np.testing.assert_array_equal(instances.confident(labels, probabilities, 0), labels)


def test_models_exported_before_domes_keep_their_rule(tmp_path):
    path = tmp_path / "config.json"
    config.save(config.preset("cpu"), path)
    record = json.loads(path.read_text())
    record["version"] = 1
    del record["instances"]["seed_height"], record["instances"]["mean_min"]
    path.write_text(json.dumps(record))
    assert config.load(path).instances == dataclasses.replace(RULES["cpu"], seed_height=0.0, mean_min=0.0)


def test_release_and_paper_keep_the_published_rule():
    numbers = (1.0, 0.07, 0.5, 0.33, 1 / 255, 0.0, 0.0, 20)
    for name in ("paper", "release"):
        c = config.preset(name).instances
        thresholds = (c.detection_sigma, c.detection_threshold, c.segmentation_sigma, c.segmentation_threshold)
        assert (*thresholds, c.compactness, c.seed_height, c.mean_min, c.area_min) == numbers
        assert (c.line, c.transposed, c.typical_area) == (0, False, 0)


def test_area_min_is_the_smallest_area_kept():
    segmentation = np.zeros((30, 30), np.float32)
    segmentation[2:6, 2:7] = 1  # 20 pixels
    segmentation[15:34, 15] = segmentation[2, 20:24] = 1  # 15 and 4 pixels
    settings = Instances(segmentation_sigma=0)
    got = instances.nuclei(segmentation, np.zeros_like(segmentation), settings)
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


def test_the_table_tells_what_else_is_known(circles):
    values = np.arange(6) / 10
    rows = instances.table(circles, more={"probability": values})
    assert [row["probability"] for row in rows] == values[1:].tolist()
    assert [row["at_border"] for row in rows] == [0, 0, 0, 0, 1]
    assert {row["agreement"] for row in rows} == {None} == {row["eosin"] for row in rows}


def test_means_by_hand():
    labels = np.array([[1, 1, 0], [3, 0, 0]], np.int32)
    assert instances.means(labels, np.array([[1.0, 2, 6], [5, 0, 3]])).tolist() == [3, 1.5, 0, 5]


def test_stains_of_pure_colours():
    """Absorbed as haematoxylin does, and as eosin does, by an optical density of one half."""
    image, labels = np.full((4, 8, 3), 255, np.uint8), np.zeros((4, 8), np.int32)
    for label, stain in enumerate(rgb_from_hed[:2], start=1):
        image[1:3, 4 * label - 3 : 4 * label - 1] = np.rint(255 * 10 ** (-stain / 2))
        labels[1:3, 4 * label - 3 : 4 * label - 1] = label
    found = instances.stains(labels, image)
    np.testing.assert_allclose(found["haematoxylin"], [0, 0.5, 0], atol=0.01)
    np.testing.assert_allclose(found["eosin"], [0, 0, 0.5], atol=0.01)


def test_table_and_outlines_of_nothing():
    empty = np.zeros((5, 5), np.int32)
    assert instances.table(empty) == [] and instances.polygons(empty) == {}


def test_table_of_a_line_warns_of_nothing():
    labels = np.zeros((5, 30), np.int32)
    labels[2, 2:27] = 1
    assert instances.table(labels)[0]["area_pixels"] == 25


@pytest.mark.parametrize("width", [0, 1, 2])
def test_line_between_touching_nuclei_has_its_width(width):
    labels = np.zeros((9, 20), np.int32)
    labels[2:7, 3:10], labels[2:7, 10:16] = 2, 7
    got = instances.separated(labels, width)
    assert got.dtype == labels.dtype
    between = {0: [2, 2, 7, 7], 1: [2, 0, 7, 7], 2: [2, 0, 0, 7]}[width]
    assert got[4, 8:12].tolist() == between
    same = np.s_[:, 11:]  # where nothing touches nothing changes
    np.testing.assert_array_equal(got[same], labels[same])


def test_nuclei_of_the_preset_do_not_touch(circles):
    settings = dataclasses.replace(RULES["cpu"], typical_area=0, mean_min=0)
    for line in (0, 1):
        rule = dataclasses.replace(settings, line=line, detection_sigma=0)
        got = instances.nuclei((circles > 0).astype(np.float32), centres(circles), rule)
        assert got.max() == 5
        parts = cv2.connectedComponents((got > 0).astype(np.uint8))[0] - 1
        assert parts == 5 if line else parts < 5
