"""Importance weights from the discriminator (paper Sec. 3, Eq. 5)."""

import tensorflow as tf


def importance(logits, ratio=1.0, low=0.0, high=1e6):
    """Importance weight of each patch.

        w(X) = p(X) / g(X) = c Pr(real | X) / (1 - Pr(real | X))      [paper, Eq. 5]

    Pr is the mean of the local probabilities [release]. No gradient flows through a weight.

    Args:
        logits: (b, h, w, 1) float32 discriminator output.
        ratio: c, synthetic inputs over real inputs that the discriminator has seen.
        low: weights are clipped to at least this.
        high: and at most this.

    Returns:
        (b,) float32.
    """
    real = tf.reduce_mean(tf.sigmoid(tf.cast(logits, tf.float32)), axis=(1, 2, 3))
    weight = tf.cast(ratio, tf.float32) * real / tf.maximum(1.0 - real, 1e-6)
    return tf.stop_gradient(tf.clip_by_value(weight, low, high))


def effective_share(weights):
    """Effective sample size over the sample size: (sum w)^2 / (n sum w^2) [Kish 1965], in (0, 1]."""
    count = tf.cast(tf.size(weights), tf.float32)
    return tf.square(tf.reduce_sum(weights)) / tf.maximum(count * tf.reduce_sum(tf.square(weights)), 1e-12)
