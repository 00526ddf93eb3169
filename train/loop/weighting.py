"""Importance weights as the configuration wants them, and what must be remembered for them."""

import tensorflow as tf

from models.importance import importance, log_odds, shuffled
from train.loop import replicas

MEMORY = 0.99  # share of what is known that a step leaves: about the last 100 steps count; ours
ESTIMATES = ("line", "mass")  # what weights are made of
STRENGTH = 5.0  # of the belief in the discriminator as it is: about 20 undecided answers; ours


class Weighting(tf.Module):
    """The choices of `Losses.weighting`; weights are clipped to `weight_low` and `weight_high`.

        clip       c Pr / (1 - Pr)      [paper, Eq. 5; bounds: release]
        normalise  the same, over its running mean on refined patches      [ours]
        calibrate  the same, of Pr = sigmoid(offset + slope log odds), Platt's scaling      [ours]
        none       1
        shuffle    clip's weights, each for another patch of the batch: the control      [ours]

    The estimates are brought up to date in each step of the discriminator, by its answers before it learns from
    them; but for a few patches of the history these are patches that it never saw. Checkpoints carry them.

    Attributes:
        line: (2,) offset and slope of the log odds.
        precision: (2, 2) how sure the line is: the negative second derivative of its log posterior.
        mass: (2,) sum of the weights of refined patches, and their number.
    """

    def __init__(self, losses):
        """Starts with the belief that the discriminator is calibrated.

        Args:
            losses: `Losses`.
        """
        super().__init__()
        self.losses = losses
        settings = {"trainable": False, "aggregation": replicas.ALIKE}
        self.line = tf.Variable([0.0, 1.0], name="line", **settings)
        self.precision = tf.Variable(STRENGTH * tf.eye(2), name="precision", **settings)
        self.mass = tf.Variable([STRENGTH, STRENGTH], name="mass", **settings)

    def weights(self, logits, ratio, seed):
        """Weights of the patches of a batch.

        Args:
            logits: (b, h, w, 1) float32 discriminator output.
            ratio: c, synthetic inputs over real inputs that the discriminator has seen.
            seed: (2,) of the permutation.

        Returns:
            (b,) float32, through which no gradient flows.
        """
        weights = self.unshuffled(logits, ratio)
        return shuffled(weights, seed) if self.losses.weighting == "shuffle" else weights

    def unshuffled(self, logits, ratio):
        """As `weights`, but each is that of its own patch for every choice."""
        if self.losses.weighting == "none":
            return tf.ones(tf.shape(logits)[0])
        weights = importance(logits, ratio, self.losses.weight_low, self.losses.weight_high, self._line())
        return weights * self.mass[1] / self.mass[0] if self.losses.weighting == "normalise" else weights

    def probability(self, logits, ratio):
        """Pr(real) among as many real as refined patches, w / (1 + w) of the weights before they are clipped.

        Args:
            logits: (b, h, w, 1) float32 discriminator output.
            ratio: c, as for `weights`.

        Returns:
            (b,) float32 in [0, 1].
        """
        weights = importance(logits, ratio, line=self._line())
        return weights / (1.0 + weights)

    def observe(self, logits, count, ratio):
        """Takes in a batch of the discriminator, before it learns from it.

        Args:
            logits: (n + m, h, w, 1) float32 on n real and m refined patches.
            count: n.
            ratio: c, as for `weights`.
        """
        weights = importance(logits[count:], ratio, self.losses.weight_low, self.losses.weight_high)
        self.mass.assign(MEMORY * self.mass + [tf.reduce_sum(weights), tf.cast(tf.size(weights), tf.float32)])
        self._regress(log_odds(logits), tf.cast(tf.range(tf.shape(logits)[0]) < count, tf.float32))

    def estimates(self):
        """What `recall` takes, as lists of numbers: `line` and `mass`."""
        return {name: getattr(self, name).numpy().tolist() for name in ESTIMATES}

    def recall(self, estimates):
        """Takes over the estimates of another time, without how sure they were: for use, not for training."""
        for name in ESTIMATES:
            getattr(self, name).assign(estimates[name])

    def _line(self):
        return self.line if self.losses.weighting == "calibrate" else (0.0, 1.0)

    def _regress(self, odds, truth):
        """One step of Newton's of the logistic regression of `truth` on log odds, older batches half forgotten.

        Args:
            odds: (b,) float32 log odds.
            truth: (b,) float32, 1 for real.
        """
        inputs = tf.stack([tf.ones_like(odds), odds], 1)
        said = tf.sigmoid(tf.linalg.matvec(inputs, self.line))
        believed = (1.0 - MEMORY) * STRENGTH  # what is forgotten makes room for the first belief
        slope = tf.linalg.matvec(inputs, truth - said, transpose_a=True) + believed * ([0.0, 1.0] - self.line)
        spread = tf.matmul(inputs * (said * (1.0 - said))[:, None], inputs, transpose_a=True)
        precision = MEMORY * self.precision + spread + believed * tf.eye(2)
        self.line.assign_add(tf.linalg.matvec(tf.linalg.inv(precision), slope))
        self.precision.assign(precision)
