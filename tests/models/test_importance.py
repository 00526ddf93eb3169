import numpy as np
import pytest
import tensorflow as tf

from models.importance import effective_share, importance, log_odds, shuffled


def logits_of(*odds):
    """Logits of one-pixel maps whose probability p has the odds p / (1 - p)."""
    return tf.reshape(tf.math.log(tf.constant(odds, tf.float32)), (-1, 1, 1, 1))


def test_weights_are_the_odds():
    np.testing.assert_allclose(importance(logits_of(1.0, 1.5, 0.25)), [1.0, 1.5, 0.25], rtol=1e-5)


def test_weights_are_clipped_at_both_ends():
    np.testing.assert_allclose(importance(logits_of(0.01, 1.0, 99.0), low=0.2, high=2.0), [0.2, 1.0, 2.0], rtol=1e-5)


def test_ratio_of_inputs_scales_the_odds():
    np.testing.assert_allclose(importance(logits_of(1.0, 1.5), ratio=2.0), [2.0, 3.0], rtol=1e-5)


def test_probabilities_are_averaged_and_not_logits():
    logits = tf.reshape(tf.constant([np.log(9.0), 0.0], tf.float32), (1, 2, 1, 1))  # 0.9 and 0.5, mean 0.7
    np.testing.assert_allclose(importance(logits), [0.7 / 0.3], rtol=1e-5)


def test_certain_discriminator_gives_finite_weights():
    weights = importance(tf.reshape(tf.constant([-200.0, 200.0]), (2, 1, 1, 1))).numpy()
    assert weights[0] == pytest.approx(0.0, abs=1e-6) and np.isfinite(weights[1]) and weights[1] > 1e5


def test_log_odds_are_those_of_the_mean_probability():
    logits = tf.reshape(tf.constant([np.log(9.0), 0.0], tf.float32), (1, 2, 1, 1))
    np.testing.assert_allclose(log_odds(logits), [np.log(0.7 / 0.3)], rtol=1e-5)
    sure = log_odds(tf.reshape(tf.constant([-200.0, 200.0]), (2, 1, 1, 1))).numpy()
    np.testing.assert_allclose(sure, [np.log(1e-6), -np.log(1e-6)], rtol=1e-4)


def test_a_line_stretches_the_log_odds():
    found = importance(logits_of(1.0, 1.5), ratio=2.0, line=(np.log(3.0), 2.0))
    np.testing.assert_allclose(found, [6.0, 2 * 3 * 1.5**2], rtol=1e-5)


def test_a_discriminator_that_is_wrong_is_not_turned_round():
    np.testing.assert_allclose(importance(logits_of(0.5, 2.0), line=(0.0, -1.0)), [1.0, 1.0], rtol=1e-5)


def test_shuffled_weights_are_a_permutation_that_the_seed_decides():
    weights = tf.range(20.0)
    one, same, other = (shuffled(weights, seed).numpy() for seed in ((0, 1), (0, 1), (0, 2)))
    assert sorted(one) == list(range(20)) and (one == same).all()
    assert (one != np.arange(20)).any() and (one != other).any()


def test_no_gradient_flows_through_a_weight():
    logits = logits_of(1.0, 1.5)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        weights = importance(logits)
    assert tape.gradient(weights, logits) is None


@pytest.mark.parametrize(
    "weights, share",
    [([3.0, 3.0, 3.0], 1.0), ([1.0, 0.0, 0.0, 0.0], 0.25), ([2.0, 1.0], 0.9), ([0.0, 0.0], 0.0)],
)
def test_effective_share_by_hand(weights, share):
    assert float(effective_share(tf.constant(weights))) == pytest.approx(share)
