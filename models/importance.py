"""Importance weights from the discriminator (paper Sec. 3, Eq. 5)."""

import tensorflow as tf

from models.losses import real_probability

_EPSILON = 1e-6  # keeps odds finite


def log_odds(logits):
    """Log of Pr(real) / (1 - Pr(real)) of each patch; Pr is the mean of the local probabilities [release].

    Args:
        logits: (b, h, w, 1) float32 discriminator output.

    Returns:
        (b,) float32 nats, within 13.9 of 0.
    """
    real = real_probability(tf.cast(logits, tf.float32))
    return tf.math.log(tf.maximum(real, _EPSILON)) - tf.math.log(tf.maximum(1.0 - real, _EPSILON))


def importance(logits, ratio=1.0, low=0.0, high=1e6, line=(0.0, 1.0)):
    """Importance weight of each patch.

        w(X) = p(X) / g(X) = c Pr(real | X) / (1 - Pr(real | X))      [paper, Eq. 5]

    No gradient flows through a weight.

    Args:
        logits: (b, h, w, 1) float32 discriminator output.
        ratio: c, synthetic inputs over real inputs that the discriminator has seen.
        low: weights are clipped to at least this.
        high: and at most this.
        line: offset and slope of the log odds, if the probabilities are calibrated, see `train.loop.weighting`.

    Returns:
        (b,) float32.
    """
    odds = tf.exp(line[0] + tf.maximum(line[1], 0.0) * log_odds(logits))
    return tf.stop_gradient(tf.clip_by_value(tf.cast(ratio, tf.float32) * odds, low, high))


def shuffled(weights, seed):
    """The same weights, each for another patch: what weighting does without knowing which patch is realistic.

    Args:
        weights: (b,) float32.
        seed: (2,) of the permutation.

    Returns:
        (b,) float32.
    """
    return tf.gather(weights, tf.argsort(tf.random.stateless_uniform(tf.shape(weights), seed)))


def effective_share(weights):
    """Effective sample size over the sample size: (sum w)^2 / (n sum w^2) [Kish 1965], in (0, 1]."""
    count = tf.cast(tf.size(weights), tf.float32)
    return tf.square(tf.reduce_sum(weights)) / tf.maximum(count * tf.reduce_sum(tf.square(weights)), 1e-12)
