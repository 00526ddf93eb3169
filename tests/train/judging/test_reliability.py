import types

import numpy as np
import pytest
import tensorflow as tf

from hou_synth import config
from train.judging.reliability import Bin, calibration_error, curve, reliability
from train.loop.task_trainer import signed
from train.loop.weighting import Weighting


class Examples:
    """Trainer and examples of grey patches; the discriminator says of a grey level what `said` has for it."""

    def __init__(self, said, **changes):
        self.config = config.preset("quick", batch=2, **changes)
        self.said, self.weighed, self.weighting = said, True, Weighting(self.config.losses)

    def patch(self, image, reference):
        return signed(image) + 0.001  # a refiner's patches are rounded to whole grey levels, as training does

    def discriminator(self, inputs, training):
        levels = np.round((inputs["patch"].numpy()[:, 0, 0, 0] + 1) * 127.5, 4)
        assert not training and (inputs["reference"].numpy() == signed(np.uint8(9)).numpy()).all()
        said = np.array([self.said[level] for level in levels], np.float32)
        return tf.reshape(tf.constant(np.log(said / (1 - said))), (-1, 1, 1, 1))

    def ratio(self):
        return 1.0

    def weight(self, patch, reference):
        logits = self.discriminator({"patch": patch, "reference": reference}, training=False)
        return self.weighting.weights(logits, self.ratio(), (0, 0))


def examples(real, refined):
    grey = lambda level: np.full((2, 2, 3), level, np.uint8)  # noqa: E731
    return [
        types.SimpleNamespace(image=grey(image), reference=grey(9), real=grey(other))
        for other, image in zip(real, refined, strict=True)
    ]


def test_curve_by_hand():
    predicted = np.array([0.1, 0.2, 0.3, 0.7, 0.9, 1.0])
    rows = curve(predicted, np.array([0.0, 0.0, 1.0, 1.0, 0.0, 1.0]), bins=4)
    assert [(row.low, row.high, row.count) for row in rows] == [
        (0, 0.25, 2),
        (0.25, 0.5, 1),
        (0.5, 0.75, 1),
        (0.75, 1, 2),
    ]
    np.testing.assert_allclose([row.predicted for row in rows], [0.15, 0.3, 0.7, 0.95])
    np.testing.assert_allclose([row.observed for row in rows], [0.0, 1.0, 1.0, 0.5])


def test_empty_bins_are_left_out():
    assert [(row.low, row.count) for row in curve(np.array([0.05, 0.95]), np.array([0.0, 1.0]))] == [(0.0, 1), (0.9, 1)]


def test_calibration_error_counts_patches():
    rows = [Bin(0.0, 0.5, 0.25, 0.0, 3), Bin(0.5, 1.0, 0.75, 1.0, 1), Bin(0.5, 1.0, 0.6, 0.6, 4)]
    assert calibration_error(rows) == pytest.approx((3 * 0.25 + 0.25) / 8)


def test_a_calibrated_discriminator_has_no_error():
    random = np.random.default_rng(0)
    predicted = random.random(20000)
    truth = (random.random(20000) < predicted).astype(float)
    assert calibration_error(curve(predicted, truth)) < 0.015
    assert calibration_error(curve(np.sqrt(predicted), truth)) > 0.1


def test_real_pairs_are_positives_and_refined_patches_negatives():
    """Three of each: real ones are said to be 0.8, 0.8, 0.5; refined ones 0.8, 0.5, 0.2."""
    trainer = Examples({100: 0.8, 101: 0.5, 102: 0.2}, weight_low=0.0, weight_high=1e6)
    found = reliability(trainer, examples([100, 100, 101], [100, 101, 102]), bins=4)
    assert [(row.low, row.count) for row in found.rows] == [(0.0, 1), (0.5, 2), (0.75, 3)]
    np.testing.assert_allclose([row.observed for row in found.rows], [0.0, 0.5, 2 / 3])
    assert found.error == pytest.approx((0.2 + 0 + 3 * abs(0.8 - 2 / 3)) / 6, abs=1e-5)
    weights = np.array([4.0, 1.0, 0.25])
    assert found.effective == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-4)
    assert found.weight == pytest.approx(weights.mean(), rel=1e-4)


def test_the_probabilities_are_those_behind_the_weights():
    """Calibrated ones where the configuration calibrates; the weights' bounds do not touch them."""
    trainer = Examples({100: 0.9, 101: 0.1}, weighting="calibrate")
    trainer.weighting.line.assign([0.0, 0.5])
    found = reliability(trainer, examples([100, 100], [101, 101]))
    np.testing.assert_allclose([row.predicted for row in found.rows], [0.25, 0.75], rtol=1e-5)
    trainer.ratio = lambda: 3.0
    np.testing.assert_allclose(
        [row.predicted for row in reliability(trainer, examples([100], [101])).rows], [0.5, 0.9], rtol=1e-5
    )


@pytest.mark.parametrize("weighed,count", [(False, 1), (True, 0)])
def test_what_cannot_be_judged_is_refused(weighed, count):
    trainer = Examples({100: 0.5})
    trainer.weighed = weighed
    with pytest.raises(ValueError, match="Expected examples and a trainer whose discriminator learns. Received"):
        reliability(trainer, examples([100] * count, [100] * count))
