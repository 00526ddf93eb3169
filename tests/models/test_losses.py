import math

import numpy as np
import pytest
import tensorflow as tf

from hou_synth import config
from models import losses

FORMS = config.CHOICES["realism"]


def logits(*probabilities):
    """One image: a map with these local probabilities."""
    values = [math.log(p / (1 - p)) for p in probabilities]
    return tf.reshape(tf.constant(values, tf.float32), (1, 1, len(values), 1))


def test_elastic_net_by_hand():
    one = tf.zeros((1, 2, 2, 3))
    other = tf.constant(np.full((1, 2, 2, 3), 0.5, np.float32))
    assert float(losses.regularisation(one, other, 2.0, 3.0)[0]) == pytest.approx(2 * 12 * 0.5 + 3 * 12 * 0.25)


def test_realism_by_hand():
    assert float(losses.realism(logits(0.2, 0.6), "paper")[0]) == pytest.approx(math.log(0.6), rel=1e-4)
    expected = -math.log(0.2) - math.log(0.6)
    assert float(losses.realism(logits(0.2, 0.6), "release")[0]) == pytest.approx(expected, rel=1e-4)
    expected = math.log(0.8) + math.log(0.4)
    assert float(losses.realism(logits(0.2, 0.6), "summed")[0]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_realism_falls_when_patches_look_real(form):
    values = [float(losses.realism(logits(p, p), form)[0]) for p in (0.1, 0.5, 0.9)]
    assert values == sorted(values, reverse=True)


def test_discrimination_by_hand():
    value = losses.discrimination(logits(0.8, 0.6), logits(0.1, 0.3), "paper")
    assert float(value[0]) == pytest.approx(-math.log(0.7) - math.log(0.8), rel=1e-4)
    expected = -math.log(0.8) - math.log(0.6) - math.log(0.9) - math.log(0.7)
    for form in ("summed", "release"):
        value = losses.discrimination(logits(0.8, 0.6), logits(0.1, 0.3), form)
        assert float(value[0]) == pytest.approx(expected, rel=1e-4)


def test_gradients_of_the_sums_do_not_shrink_with_the_map():
    """Real logits of 0: each of n has a slope of sigmoid(0) - 1 in the sums, a share of -1/2 with D their mean."""
    for count in (1, 9, 100):
        slopes = {}
        for form in FORMS:
            undecided = tf.zeros((1, 1, count, 1))
            with tf.GradientTape() as tape:
                tape.watch(undecided)
                value = losses.discrimination(undecided, tf.zeros((1, 1, count, 1)), form)
            slopes[form] = float(tf.reduce_sum(tape.gradient(value, undecided)))
        assert slopes["summed"] == slopes["release"] == pytest.approx(-count / 2)
        assert slopes["paper"] == pytest.approx(-1 / 2, rel=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_losses_stay_finite_for_certain_discriminators(form):
    sure = tf.constant([200.0, -200.0], shape=(2, 1, 1, 1))
    with tf.GradientTape() as tape:
        tape.watch(sure)
        value = losses.realism(sure, form) + losses.discrimination(sure, sure, form)
    assert np.isfinite(value).all() and np.isfinite(tape.gradient(value, sure)).all()


def test_segmentation_by_hand():
    zero = {"segmentation": logits(0.9, 0.5), "detection": logits(0.5, 0.5)}
    truth = {"segmentation": tf.constant([1.0, 0.0], shape=(1, 1, 2, 1)), "detection": tf.zeros((1, 1, 2, 1))}
    weights = tf.constant([1.0, 0.5], shape=(1, 1, 2, 1))
    expected = -math.log(0.9) - math.log(0.5) + 0.5 * (-2 * math.log(0.5))
    assert float(losses.segmentation(zero, truth, weights)[0]) == pytest.approx(expected, rel=1e-4)


def test_refiner_loss_by_hand():
    """Eq. 6: 1 x 3 + 2 x 0.5 - 0.1 x 40."""
    assert losses.refiner_loss(3.0, 0.5, -40.0, 1.0, 2.0, 0.1) == pytest.approx(0.0)


def test_task_loss_by_hand():
    """Eq. 2: the mean over two patches of (2 x 3, 0.5 x 8) is 5."""
    loss = losses.task_loss(tf.constant([2.0, 0.5]), tf.constant([3.0, 8.0]))
    assert loss.numpy().tolist() == [6.0, 4.0] and float(tf.nn.compute_average_loss(loss)) == 5.0


def test_pixel_weights():
    weights = losses.pixel_weights(5, 1, 0.01).numpy()[0, ..., 0]
    assert weights[1:4, 1:4].tolist() == [[1.0] * 3] * 3
    assert weights.sum() == pytest.approx(9 + 16 * 0.01)
    assert (losses.pixel_weights(5, 0, 0.01).numpy() == 1).all()
