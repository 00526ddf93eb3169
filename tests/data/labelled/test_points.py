import cv2
import numpy as np
import pytest

from data.labelled import points


@pytest.fixture
def folder(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (100, 120, 3), np.uint8)
    (tmp_path / "a").mkdir()
    cv2.imwrite(str(tmp_path / "a" / "one.png"), image)
    rows = ["x,y,class", "10.5,20,Inflammatory", "60,50,epithelial", "90,80,unclassified"]
    (tmp_path / "a" / "one_points.csv").write_text("\n".join(rows))
    cv2.imwrite(str(tmp_path / "a" / "other.png"), image)  # without points
    return tmp_path


def test_points_with_a_class(folder):
    (marked,) = points.read_folder(folder)
    assert marked.name == "a/one.png" and marked.image.shape == (100, 120, 3)
    assert marked.places.tolist() == [[10.5, 20], [60, 50]] and marked.positive.tolist() == [True, False]
    far = np.linalg.norm(marked.background[:, None] - [(10.5, 20), (60, 50), (90, 80)], axis=2)
    assert len(marked.background) and far.min() > points.CLEAR


@pytest.mark.parametrize("by", ["table", "option"])
def test_images_of_another_resolution_are_enlarged_with_their_places(folder, by):
    (folder / "images.csv").write_text("image,microns_per_pixel\na,0.5\n" if by == "table" else "image\n")
    (marked,) = points.read_folder(folder, microns_per_pixel=0.5 if by == "option" else None)
    assert marked.image.shape == (200, 240, 3) and marked.places.tolist() == [[21, 40], [120, 100]]


def test_other_classes_may_be_the_positive_ones(folder):
    (marked,) = points.read_folder(folder, ["EPITHELIAL"])
    assert marked.positive.tolist() == [False, True]


def test_patches_with_a_label(tmp_path):
    for name in "xyz":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((80, 100, 3), 90, np.uint8))
    (tmp_path / "label.txt").write_text("x.png 1 slide.svs 5 7\ny.png 0 slide.svs 5 7\nz.png slide.svs 5 7\n")
    one, other = points.read_folder(tmp_path)
    assert (one.name, one.places.tolist(), one.positive.tolist()) == ("x.png", [[50, 40]], [True])
    assert other.positive.tolist() == [False] and not len(one.background)


def test_a_folder_without_either_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected images with _points\.csv beside them, or label\.txt"):
        points.read_folder(tmp_path)


def test_places_that_are_no_numbers_are_refused(folder):
    (folder / "a" / "one_points.csv").write_text("x,y,class\n1,two,epithelial\n")
    with pytest.raises(ValueError, match=r"Expected x and y in pixels. Received: .*one_points\.csv"):
        points.read_folder(folder)


def test_real_annotations(real_data):
    marked = points.read_folder(real_data / "points" / "crchisto" / "validation", microns_per_pixel=0.5)
    assert len(marked) == 10 and marked[0].image.shape == (1000, 1000, 3)
    assert sum(int(image.positive.sum()) for image in marked) == 491
    assert sum(len(image.positive) for image in marked) == 491 + 834 + 647 + 296  # all but the unclassified
