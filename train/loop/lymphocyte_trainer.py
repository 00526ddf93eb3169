"""The training step of the lymphocyte classifier: the same loop, with what is at a patch's centre as the truth."""

import tensorflow as tf

from data.synthetic import LYMPHOCYTE
from models.importance import effective_share
from train.loop import replicas
from train.loop.trainer import UniversalTrainer

CENTRE = 5  # side of the square at a patch's centre that lies in a lymphocyte, or does not touch one; ours


def central(target):
    """What is at the centres of patches.

    A patch is positive if all of the square at its centre is lymphocyte, negative if none of it is. Between, where the
    centre is near a lymphocyte's border, it counts nothing.

    Args:
        target: (b, h, w, 1) uint8 bits.

    Returns:
        Two (b,) float32: 1 for positive and 0 for negative patches; and 1 for those that count, 0 for others.
    """
    row, column = (int(side) // 2 - CENTRE // 2 for side in target.shape[1:3])
    square = target[:, row : row + CENTRE, column : column + CENTRE]
    lymphocyte = tf.cast(tf.bitwise.bitwise_and(square, LYMPHOCYTE) > 0, tf.float32)
    share = tf.reduce_mean(lymphocyte, axis=(1, 2, 3))
    return tf.round(share), tf.cast((share == 0.0) | (share == 1.0), tf.float32)


class LymphocyteTrainer(UniversalTrainer):
    """Refiner, discriminator and classifier; batches are those of `UniversalTrainer`."""

    def call(self, images, training=False):
        """The classifier's logits, (b, 1) float32, for images in [-1, 1]."""
        return self.task(images, training=training)

    def probabilities(self, images):
        """Probability of a lymphocyte at the centre, (b, 1) float32, for images in [-1, 1]."""
        return tf.sigmoid(self(images))

    def patch_loss(self, patch, target, training):
        """Cross-entropy of each patch, (b,) float32 nats, 0 where the centre is near a border; and the logits."""
        logits = self(patch, training=training)
        positive, known = central(target)
        return known * tf.nn.sigmoid_cross_entropy_with_logits(positive, logits[:, 0]), logits

    def _told(self, unweighted, logits, target, weights):
        """What a round tells of the classifier, over all replicas."""
        positive, known = central(target)
        right = known * tf.cast((logits[:, 0] > 0) == (positive > 0), tf.float32)
        right, known = replicas.summed([tf.reduce_sum(right), tf.reduce_sum(known)])
        weights = replicas.gathered(weights)
        return {
            "task_loss": replicas.summed(self._mean(unweighted)),
            "right": right / tf.maximum(known, 1.0),
            "weight": tf.reduce_mean(weights),
            "effective": effective_share(weights),
        }
