import numpy as np
import pytest

from train.judging import auroc


def judged(scores, positive, images=None):
    positive = np.array(positive, bool)
    images = np.arange(len(positive)) if images is None else np.array(images)
    return auroc.Judged(np.array(scores, float), positive, images)


@pytest.mark.parametrize(
    "scores,positive,area",
    [
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),  # three of four pairs are in order
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([1, 1, 1, 1], [0, 1, 0, 1], 0.5),  # ties count half
        ([0.9, 0.1], [0, 1], 0.0),
    ],
)
def test_area_by_hand(scores, positive, area):
    one = judged(scores, positive)
    assert auroc.area(one.scores, one.positive) == pytest.approx(area)
    false, true = auroc.curve(one)
    assert np.trapezoid(true, false) == pytest.approx(area)  # the area is that under the curve
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)


def test_the_interval_holds_the_area_and_is_wider_where_images_are_few():
    random = np.random.default_rng(0)
    positive = random.random(400) < 0.5
    scores = random.normal(positive, 1.0)
    widths = []
    for images in (np.arange(400), np.arange(400) // 100):
        low, high = auroc.interval(judged(scores, positive, images))
        assert low < auroc.area(scores, positive) < high
        widths.append(high - low)
    alike = judged(np.concatenate([scores] * 2), np.concatenate([positive] * 2), np.tile(np.arange(400), 2))
    assert auroc.interval(alike)[1] - auroc.interval(alike)[0] == pytest.approx(widths[0], rel=1e-9)


def test_an_image_that_is_drawn_alone_may_have_one_class():
    low, high = auroc.interval(judged([0.2, 0.9, 0.3], [0, 1, 0], [0, 1, 1]))
    assert (low, high) == (1.0, 1.0)


def test_the_curve_is_drawn(tmp_path):
    auroc.draw(judged([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]), tmp_path / "roc.png")
    assert (tmp_path / "roc.png").read_bytes().startswith(b"\x89PNG")
