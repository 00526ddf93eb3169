import cv2
import numpy as np
import pytest
from skimage.filters import threshold_otsu

from hou_synth.synthesis import nuclear_level


def stained(places, tissue=60.0, glass=0):
    """Stain of discs, 150 in them, in tissue that leaves some columns to glass."""
    stain = np.full((200, 200), tissue, np.float32)
    stain[:, :glass] = 5
    for x, y in places:
        cv2.circle(stain, (x, y), 9, 150.0, -1)
    return stain + np.random.default_rng(0).normal(0, 4, stain.shape).astype(np.float32)


def test_the_level_of_few_nuclei_is_not_that_of_tissue_on_glass():
    stain = stained([(150, 40), (120, 150)], glass=80)
    assert threshold_otsu(stain) < 60 < nuclear_level.nuclear_level(stain) < 150


def test_the_level_of_many_nuclei_is_otsus():
    stain = stained([(x, y) for x in range(20, 200, 40) for y in range(20, 200, 40)])
    smooth = cv2.GaussianBlur(stain, (0, 0), nuclear_level.SIGMA)
    assert nuclear_level.nuclear_level(stain) == pytest.approx(threshold_otsu(smooth))


def test_nothing_lies_above_the_level_of_an_even_stain():
    assert nuclear_level.nuclear_level(np.full((32, 32), 7, np.float32)) == pytest.approx(7)


def test_compactness_is_the_share_of_regions_like_nuclei():
    regions = np.zeros((100, 100), np.uint8)
    cv2.rectangle(regions, (10, 10), (30, 30), 1, -1)  # outlines run through the middles of pixels: 20 x 20
    assert nuclear_level.compactness(regions) == 1.0
    cv2.rectangle(regions, (50, 10), (55, 15), 1, -1)  # 5 x 5: too small
    assert nuclear_level.compactness(regions) == pytest.approx(400 / 425)
    cv2.line(regions, (5, 60), (95, 95), 1, 3)
    cv2.line(regions, (5, 95), (95, 60), 1, 3)
    assert nuclear_level.compactness(regions) < 0.7
    assert nuclear_level.compactness(np.zeros_like(regions)) == 0.0


def test_red_is_absorbed_by_haematoxylin():
    blue, pink = (np.array([[colour]], np.uint8) for colour in ((90, 80, 160), (230, 120, 200)))
    assert nuclear_level.absorbed_red(blue).item() == 165 and nuclear_level.absorbed_red(pink).item() == 25
