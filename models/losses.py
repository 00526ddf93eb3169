"""The losses of paper Sec. 4.2 and Eq. 6. One equation is one function; one value an image."""

import tensorflow as tf

_EPSILON = 1e-6  # keeps logarithms of probabilities finite


def real_probability(logits):
    """D(X, S): mean of the local probabilities of being real [release].

    Args:
        logits: (b, h, w, 1) float32.

    Returns:
        (b,) float32 in [0, 1].
    """
    return tf.reduce_mean(tf.sigmoid(logits), axis=(1, 2, 3))


def regularisation(synthetic, refined, l1, l2):
    """Elastic net between the initial and the refined patch.

        L_reg = lambda1 ||I - X||_1 + lambda2 ||I - X||_2^2      [paper, after Zou and Hastie]

    Args:
        synthetic: (b, h, w, 3) float32 in [-1, 1], I.
        refined: (b, h, w, 3) float32 in [-1, 1], X.
        l1: lambda1.
        l2: lambda2.

    Returns:
        (b,) float32, at least 0.
    """
    change = synthetic - refined
    absolute = tf.reduce_sum(tf.abs(change), axis=(1, 2, 3))
    return l1 * absolute + l2 * tf.reduce_sum(tf.square(change), axis=(1, 2, 3))


def realism(logits, form):
    """Adversarial loss of the refiner.

        paper:   L_real = log(1 - D(X, S))
        summed:  L_real = sum_hw log(1 - sigmoid(logits_hw))      [ours: the paper's, of every local logit]
        release: L_real = - sum_hw log sigmoid(logits_hw)

    Args:
        logits: (b, h, w, 1) float32 discriminator output on refined patches.
        form: "paper", "summed" or "release".

    Returns:
        (b,) float32 nats.
    """
    if form == "paper":
        return tf.math.log(1.0 - real_probability(logits) + _EPSILON)
    local = -tf.nn.softplus(logits) if form == "summed" else tf.nn.softplus(-logits)
    return tf.reduce_sum(local, axis=(1, 2, 3))


def refiner_loss(regularisation, realism, hard, alpha, beta, gamma):
    """Loss of the refiner.

        L_G = alpha L_reg + beta L_real + gamma L_hard      [paper, Eq. 6]

    Args:
        regularisation: L_reg, of an image or the mean over a batch, as the other two.
        realism: L_real.
        hard: L_hard, the negative of the task network's loss on the refined patch: a hard example has a high loss.
        alpha: weight of the first.
        beta: of the second.
        gamma: of the third.

    Returns:
        float32 of the shape of the three.
    """
    return alpha * regularisation + beta * realism + gamma * hard


def discrimination(real_logits, refined_logits, form):
    """Loss of the discriminator.

        paper:           L_D = - log D(S', S) - log(1 - D(X, S))
        summed, release: the same cross-entropy for every local logit, summed over the map

    Args:
        real_logits: (b, h, w, 1) float32 on pairs of real patches.
        refined_logits: (b, h, w, 1) float32 on refined patches.
        form: "paper", "summed" or "release".

    Returns:
        (b,) float32 nats, at least 0.
    """
    if form == "paper":
        real, refined = real_probability(real_logits), real_probability(refined_logits)
        return -tf.math.log(real + _EPSILON) - tf.math.log(1.0 - refined + _EPSILON)
    return tf.reduce_sum(tf.nn.softplus(-real_logits) + tf.nn.softplus(refined_logits), axis=(1, 2, 3))


def pixel_weights(side, border, weight):
    """Weights that count a patch's border little [release].

    Args:
        side: of the patch.
        border: width of the border in pixels.
        weight: of its pixels.

    Returns:
        (1, side, side, 1) float32.

    Raises:
        ValueError: if the border leaves nothing of the patch.
    """
    if 2 * border >= side:
        raise ValueError(f"Expected a border under half of the patch's {side} pixels. Received: {border}.")
    inner = tf.ones((1, side - 2 * border, side - 2 * border, 1))
    around = [[0, 0], [border, border], [border, border], [0, 0]]
    return tf.pad(inner, around, constant_values=weight)


def segmentation(logits, truth, weights, names=("segmentation", "detection")):
    """Task loss: cross-entropy of segmentation and of detection, summed over pixels [release].

    Args:
        logits: dict of maps, (b, h, w, 1) float32.
        truth: dict of the same shapes, float32 in {0, 1}.
        weights: (1 or b, h, w, 1) float32 weights of the pixels.
        names: of the maps that are compared.

    Returns:
        (b,) float32 nats, at least 0.
    """
    total = sum(tf.nn.sigmoid_cross_entropy_with_logits(truth[name], logits[name]) for name in names)
    return tf.reduce_sum(weights * total, axis=(1, 2, 3))


def task_loss(weights, loss):
    """Loss of the task network, whose mean over the images is minimised.

        L_R = mean of w(X) loss(X)      [paper, Eq. 2]

    Args:
        weights: (b,) float32 importance weights w(X), see `models.importance`; 1 for real patches.
        loss: (b,) float32 nats, see `segmentation`.

    Returns:
        (b,) float32.
    """
    return weights * loss
