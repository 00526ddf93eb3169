"""The task network's training step: alone, the supervised baseline; with refined patches, see `train.loop.trainer`."""

import contextlib

import keras
import tensorflow as tf

from data.synthetic import CENTRE, CONTOUR, NUCLEUS, UNKNOWN
from models import losses
from models.importance import effective_share
from models.task import learned, multiple, padded, task
from train.loop import devices, replicas
from train.loop.learning_rate import Decay

MOMENTUM = 0.95  # release
CONTOUR_WIDTH = 3  # pixels that the contours' target is widened to, half of them outside of the nucleus; ours


def signed(images):
    """uint8 0 to 255 -> float32 in [-1, 1]."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def unsigned(images):
    """float32 in [-1, 1] -> uint8 0 to 255."""
    return tf.cast(tf.round(tf.clip_by_value((images + 1.0) * 127.5, 0.0, 255.0)), tf.uint8)


def truth(target):
    """Target bits, (b, h, w, 1) uint8 -> dict of float32 maps for the task loss."""
    contour = tf.cast(tf.bitwise.bitwise_and(target, CONTOUR) > 0, tf.float32)
    return {
        "contour": tf.nn.max_pool2d(contour, CONTOUR_WIDTH, 1, "SAME"),
        "segmentation": tf.cast(tf.bitwise.bitwise_and(target, NUCLEUS) > 0, tf.float32),
        "detection": tf.cast(tf.bitwise.bitwise_and(target, CENTRE) > 0, tf.float32),
    }


def known(target):
    """1 where a pixel of the target bits (b, h, w, 1) counts, 0 where it is unknown; float32."""
    return tf.cast(tf.bitwise.bitwise_and(target, UNKNOWN) == 0, tf.float32)


def stained(images, amount, seed, rows=None):
    """Images of other laboratories: random optical density by channel, random gain and offset [ours].

    Args:
        images: (b, h, w, 3) float32 in [-1, 1].
        amount: 0 leaves them alone; 0.25 is a strong variation.
        seed: (2,) int32.
        rows: (b,) int32 places of the images in the whole batch, if other replicas have other images of it.

    Returns:
        (b, h, w, 3) float32 in [-1, 1].
    """
    count = tf.shape(images)[0] * replicas.count()
    drawn = tf.random.stateless_uniform((count, 3, 1, 3), seed, -amount, amount)
    density, gain, offset = tf.unstack(drawn if rows is None else tf.gather(drawn, rows), axis=1)
    light = tf.pow(tf.clip_by_value((images + 1.0) / 2.0, 1 / 255, 1.0), tf.exp(density[:, None]))
    light = light * (1.0 + gain[:, None, :, :1] / 2.0) + offset[:, None] / 8.0
    return tf.clip_by_value(2.0 * light - 1.0, -1.0, 1.0)


class TaskTrainer(keras.Model):
    """Task network with one training step, on patches whose nuclei are known.

    A batch is a dict of uint8 tensors: `image`, (b, s, s, 3), and `target` bits, (b, s, s, 1).
    """

    builders = {"task": task}  # attribute of a network -> its builder

    def __init__(self, config, task_updates=1, name="supervised", strategy=None, later=0):
        """Builds the network and its optimiser.

        Args:
            config: `Config`.
            task_updates: task updates of the whole run, over which the task rate decays.
            name: of the model.
            strategy: `tf.distribute.Strategy` of the steps; None for the default device.
            later: updates of every round after those, over which the rate decays again, from half of it.
        """
        super().__init__(name=name)
        schedule = config.schedule
        self.config, self.strategy = config, strategy or tf.distribute.get_strategy()
        self.pixels = losses.pixel_weights(schedule.patch, config.losses.border, config.losses.border_weight)
        rate = schedule.task_rate
        if schedule.decay:
            rate = Decay(rate, task_updates, later)
        with self._building():
            self.task = task(config.networks)
            self.step = tf.Variable(0, trainable=False, dtype=tf.int64, name="step", aggregation=replicas.ALIKE)
            self.task_optimizer = self._optimizer(rate, self.task)
        self.multiple, self.learned = multiple(self.task), learned(config.networks)
        self.segment = self._traced(self.segment_step)
        self.built = True

    @contextlib.contextmanager
    def _building(self):
        """Where variables are made: on all devices of the strategy, and networks in the schedule's arithmetic."""
        with self.strategy.scope(), devices.precision(self.config.schedule.mixed_precision):
            yield

    def _traced(self, step):
        """A step traced once, however often a round calls it and however many phases compile anew."""

        def everywhere(batch, fill=True):
            values = self.strategy.run(step, (batch, fill))
            return {name: self.strategy.experimental_local_results(value)[0] for name, value in values.items()}

        return tf.function(everywhere if self.strategy.num_replicas_in_sync > 1 else step, autograph=False)

    def _optimizer(self, rate, network):
        """Momentum SGD 0.95 [release] or Adam; gradients are clipped variable by variable."""
        schedule = self.config.schedule
        clip = schedule.clip / self.strategy.num_replicas_in_sync  # of mean gradients, which Keras will sum
        if schedule.optimizer == "adam":
            made = keras.optimizers.Adam(rate, clipnorm=clip)
        else:
            made = keras.optimizers.SGD(rate, momentum=MOMENTUM, clipnorm=clip)
        made = devices.scaled(made, schedule.mixed_precision)
        made.build(network.trainable_variables)
        return made

    def compile(self, **kwargs):
        """Prepares for `fit`.

        Args:
            **kwargs: `run_eagerly`, `jit_compile`; by default the schedule says whether XLA compiles.
        """
        super().compile(optimizer=self.task_optimizer, **{"jit_compile": self.config.schedule.jit, **kwargs})

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

    def plain(self):
        """Copies of the networks as they are kept and served: in float32, whatever they were trained in.

        Returns:
            dict of the names in `builders` to `keras.Model`.
        """
        networks = {name: build(self.config.networks) for name, build in self.builders.items()}
        for name, network in networks.items():
            network.set_weights(getattr(self, name).get_weights())
        return networks

    def train_step(self, data):
        """One update of the task network."""
        return self.segment(data)

    def taught(self, batch, fill):
        """What the task network learns from.

        Args:
            batch: as for the class.
            fill: whether new patches may be kept for later; there are none here.

        Returns:
            This replica's images (n, s, s, 3) float32 in [-1, 1], target bits (n, s, s, 1) uint8, and weights (n,)
            float32.
        """
        image, target = replicas.share((batch["image"], batch["target"]))
        return signed(image), target, tf.ones(tf.shape(image)[0])

    def rows(self, batch):
        """Places in the whole batch of the images that `taught` returns, (n,) int32."""
        parts = [tf.range(tf.shape(batch[name])[0]) for name in ("image", "labelled_image") if name in batch]
        synthetic = tf.shape(batch["image"])[0]
        return tf.concat([replicas.share(part) + number * synthetic for number, part in enumerate(parts)], 0)

    def segment_step(self, batch, fill=True):
        """Updates the task network: L_R = mean of w(X) loss(X)      [paper, Eq. 2]."""
        self.step.assign_add(1)
        images, target, weights = self.taught(batch, fill)
        images = self._stained(images, batch)
        with tf.GradientTape() as tape:
            unweighted, logits = self.patch_loss(images, target, training=True)
            loss = self._mean(losses.task_loss(weights, unweighted))
            scaled = self.task_optimizer.scale_loss(loss)
        self._apply(tape, scaled, self.task, self.task_optimizer)
        return self._told(unweighted, logits, target, weights)

    def patch_loss(self, patch, target, training):
        """loss(X) of each patch, (b,) float32, and the task network's logits."""
        logits = self(patch, training=training)
        return losses.segmentation(logits, truth(target), self.pixels * known(target), self.learned), logits

    def _stained(self, images, batch):
        """The images that `taught` returns, as other laboratories would have stained them, if the schedule says so."""
        amount = self.config.schedule.stain
        return stained(images, amount, self._seed(2), self.rows(batch)) if amount else images

    def _told(self, unweighted, logits, target, weights):
        """What a round tells of the task network, over all replicas."""
        segmented = tf.cast(logits["segmentation"] > 0, tf.float32)
        true = truth(target)["segmentation"]
        both = tf.reduce_sum(segmented * true)
        both, either = replicas.summed([both, tf.reduce_sum(segmented) + tf.reduce_sum(true)])
        pixels = tf.cast(tf.size(true), tf.float32) / tf.cast(tf.shape(true)[0], tf.float32)
        weights = replicas.gathered(weights)
        return {
            "task_loss": replicas.summed(self._mean(unweighted)) / pixels,  # a pixel
            "dice": 2.0 * both / tf.maximum(either, 1.0),
            "weight": tf.reduce_mean(weights),
            "effective": effective_share(weights),
        }

    def _seed(self, salt):
        """(2,) int64 seed that depends on the run's seed, the step and a salt for every use."""
        return tf.stack([tf.constant(self.config.schedule.seed * 101 + salt, tf.int64), self.step])

    def _mean(self, values):
        """This replica's part of the mean over the whole batch: the sum over the replicas is the mean."""
        return tf.nn.compute_average_loss(values)

    def _apply(self, tape, loss, network, optimizer):
        """One step of an optimiser along the gradient over the whole batch."""
        variables = network.trainable_variables
        optimizer.apply(replicas.averaged(tape.gradient(loss, variables)), variables)
