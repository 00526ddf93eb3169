"""The task network's training step: alone, the supervised baseline; with refined patches, see `train.trainer`."""

import functools

import keras
import tensorflow as tf

from data.synthetic import CENTRE, NUCLEUS
from models import losses
from models.importance import effective_share
from models.task import multiple, padded, task

MOMENTUM = 0.95  # release


def signed(images):
    """uint8 0 to 255 -> float32 in [-1, 1]."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def unsigned(images):
    """float32 in [-1, 1] -> uint8 0 to 255."""
    return tf.cast(tf.round(tf.clip_by_value((images + 1.0) * 127.5, 0.0, 255.0)), tf.uint8)


def truth(target):
    """Target bits, (b, h, w, 1) uint8 -> dict of float32 maps for the task loss."""
    return {
        "segmentation": tf.cast(tf.bitwise.bitwise_and(target, NUCLEUS) > 0, tf.float32),
        "detection": tf.cast(tf.bitwise.bitwise_and(target, CENTRE) > 0, tf.float32),
    }


def stained(images, amount, seed):
    """Images of other laboratories: random optical density by channel, random gain and offset [ours].

    Args:
        images: (b, h, w, 3) float32 in [-1, 1].
        amount: 0 leaves them alone; 0.25 is a strong variation.
        seed: (2,) int32.

    Returns:
        (b, h, w, 3) float32 in [-1, 1].
    """
    shape = (tf.shape(images)[0], 3, 1, 3)
    density, gain, offset = tf.unstack(tf.random.stateless_uniform(shape, seed, -amount, amount), axis=1)
    light = tf.pow(tf.clip_by_value((images + 1.0) / 2.0, 1 / 255, 1.0), tf.exp(density[:, None]))
    light = light * (1.0 + gain[:, None, :, :1] / 2.0) + offset[:, None] / 8.0
    return tf.clip_by_value(2.0 * light - 1.0, -1.0, 1.0)


class TaskTrainer(keras.Model):
    """Task network with one training step, on patches whose nuclei are known.

    A batch is a dict of uint8 tensors: `image`, (b, s, s, 3), and `target` bits, (b, s, s, 1).
    """

    def __init__(self, config, task_updates=1, name="supervised"):
        """Builds the network and its optimiser.

        Args:
            config: `Config`.
            task_updates: task updates of the whole run, over which the task rate decays.
            name: of the model.
        """
        super().__init__(name=name)
        schedule = config.schedule
        self.config = config
        self.task = task(config.networks)
        self.multiple = multiple(self.task)
        self.pixels = losses.pixel_weights(schedule.patch, config.losses.border, config.losses.border_weight)
        self.step = tf.Variable(0, trainable=False, dtype=tf.int64, name="step")
        rate = schedule.task_rate
        if schedule.decay:
            rate = keras.optimizers.schedules.CosineDecay(rate, max(task_updates, 1), alpha=0.01)
        self.task_optimizer = self._optimizer(rate, self.task)
        self.segment = self._traced(self.segment_step)
        self.built = True

    def _traced(self, step):
        """A step traced once, however often a round calls it and however many phases compile anew."""
        return functools.partial(tf.function, autograph=False)(step)

    def _optimizer(self, rate, network):
        """Momentum SGD 0.95 [release] or Adam; gradients are clipped variable by variable."""
        schedule = self.config.schedule
        if schedule.optimizer == "adam":
            made = keras.optimizers.Adam(rate, clipnorm=schedule.clip)
        else:
            made = keras.optimizers.SGD(rate, momentum=MOMENTUM, clipnorm=schedule.clip)
        made.build(network.trainable_variables)
        return made

    def compile(self, **kwargs):
        """Prepares for `fit`.

        Args:
            **kwargs: `run_eagerly`, `jit_compile`.
        """
        super().compile(optimizer=self.task_optimizer, **kwargs)

    @property
    def metrics(self):
        """None: the training steps return the values of the round themselves."""
        return []

    def call(self, images, training=False):
        """The task network's logits, for images in [-1, 1] of any size."""
        return padded(self.task, images, self.multiple, training)

    def probabilities(self, images):
        """The task network's probabilities, dict of (b, h, w, 1) float32, for images in [-1, 1]."""
        return {name: tf.sigmoid(logits) for name, logits in self(images).items()}

    def train_step(self, data):
        """One update of the task network."""
        return self.segment(data)

    def taught(self, batch, fill):
        """What the task network learns from.

        Args:
            batch: as for the class.
            fill: whether new patches may be kept for later; there are none here.

        Returns:
            Images (n, s, s, 3) float32 in [-1, 1], target bits (n, s, s, 1) uint8, and weights (n,) float32.
        """
        return signed(batch["image"]), batch["target"], tf.ones(tf.shape(batch["image"])[0])

    def segment_step(self, batch, fill=True):
        """Updates the task network: L_R = mean of w(X) loss(X)      [paper, Eq. 2]."""
        self.step.assign_add(1)
        images, target, weights = self.taught(batch, fill)
        if self.config.schedule.stain:
            images = stained(images, self.config.schedule.stain, self._seed(2))
        with tf.GradientTape() as tape:
            each, logits = self.task_loss(images, target, training=True)
            loss = self._mean(weights * each)
        self._apply(tape, loss, self.task, self.task_optimizer)
        found = tf.cast(logits["segmentation"] > 0, tf.float32)
        true = truth(target)["segmentation"]
        dice = 2.0 * tf.reduce_sum(found * true) / tf.maximum(tf.reduce_sum(found) + tf.reduce_sum(true), 1.0)
        pixels = tf.cast(tf.size(true), tf.float32) / tf.cast(tf.shape(true)[0], tf.float32)
        return {
            "task_loss": self._mean(each) / pixels,  # unweighted, a pixel
            "dice": dice,
            "weight": tf.reduce_mean(weights),
            "effective": effective_share(weights),
        }

    def task_loss(self, patch, target, training):
        """Task loss of each patch, (b,) float32, and the logits."""
        logits = self(patch, training=training)
        return losses.segmentation(logits, truth(target), self.pixels), logits

    def _seed(self, salt):
        """(2,) int64 seed that depends on the run's seed, the step and a salt for every use."""
        return tf.stack([tf.constant(self.config.schedule.seed * 101 + salt, tf.int64), self.step])

    def _mean(self, values):
        return tf.nn.compute_average_loss(values)

    def _apply(self, tape, loss, network, optimizer):
        variables = network.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
