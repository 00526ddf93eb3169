"""The custom training loop: three networks, three tapes, three optimisers, one schedule."""

import tensorflow as tf

from models import losses
from models.discriminator import discriminator
from models.importance import importance
from models.refiner import refiner
from train.pool import Pool
from train.task import TaskTrainer, signed, unsigned


class UniversalTrainer(TaskTrainer):
    """Refiner, discriminator and task network with one training step each.

    A batch is a dict of uint8 tensors: `image` (initial synthetic patch), `reference`, `real` (a second real
    patch of the reference's tile), (b, s, s, 3), and `target` bits, (b, s, s, 1).
    """

    def __init__(self, config, task_updates=1, refined=True):
        """Builds networks, optimisers and pool.

        Args:
            config: `Config`.
            task_updates: task updates of the whole run, over which the task rate decays.
            refined: whether the task network learns from refined and weighted patches, or from initial ones.
        """
        super().__init__(config, task_updates, name="universal")
        schedule, self.refined = config.schedule, refined
        self.refiner = refiner(config.networks)
        self.discriminator = discriminator(config.networks)
        self.pool = Pool(schedule.pool if refined else 1, schedule.patch)
        self.seen = tf.Variable([0.0, 0.0], trainable=False, name="seen")  # synthetic and real inputs of D
        self.refiner_optimizer = self._optimizer(schedule.refiner_rate, self.refiner)
        self.discriminator_optimizer = self._optimizer(schedule.discriminator_rate, self.discriminator)
        self.refine, self.discriminate = map(self._traced, (self.refine_step, self.discriminate_step))

    def compile(self, updates, fill=True, **kwargs):
        """Fixes what a round does.

        Args:
            updates: refiner, discriminator and task updates in a round.
            fill: whether refined patches are kept in the pool.
            **kwargs: `run_eagerly`, `jit_compile`.
        """
        super().compile(**kwargs)
        self.updates, self.fill = updates, fill

    def patch(self, image, reference):
        """What the task network learns from: the refined patch, or the initial one if nothing is refined.

        Args:
            image: (b, s, s, 3) uint8 initial synthetic patch.
            reference: (b, s, s, 3) uint8.

        Returns:
            (b, s, s, 3) float32 in [-1, 1].
        """
        if not self.refined:
            return signed(image)
        return self.refiner({"synthetic": signed(image), "reference": signed(reference)}, training=False)

    def weight(self, patch, reference):
        """Importance weights of patches in [-1, 1], (b,) float32; 1 if nothing is refined."""
        if not self.refined:
            return tf.ones(tf.shape(patch)[0])
        logits = self.discriminator({"patch": patch, "reference": reference}, training=False)
        ratio = tf.math.divide_no_nan(self.seen[0], self.seen[1])
        settings = self.config.losses
        return importance(logits, tf.where(ratio > 0, ratio, 1.0), settings.weight_low, settings.weight_high)

    def train_step(self, data):
        """One round: every update has its own minibatch, slice k of `data`.

        Args:
            data: dict of (updates, batch, ...) tensors.

        Returns:
            dict of scalars: the last values of the round.

        Raises:
            ValueError: if there is not one minibatch for every update.
        """
        slices = next(iter(data.values())).shape[0]
        if slices is not None and slices != sum(self.updates):
            raise ValueError(f"Expected {sum(self.updates)} minibatches, one for every update. Received: {slices}.")
        steps = [self.refine] * self.updates[0]
        steps += [self.segment] * self.updates[2]
        steps += [self.discriminate] * self.updates[1]  # 2 refiner, 6 task, 1 discriminator [release]
        values = {}
        for number, step in enumerate(steps):
            values.update(step({name: tensor[number] for name, tensor in data.items()}, self.fill))
        return values

    def refine_step(self, batch, fill=True):
        """Updates the refiner: L_G = alpha L_reg + beta L_real + gamma L_hard      [paper, Eq. 6]."""
        self.step.assign_add(1)
        settings = self.config.losses
        synthetic, reference = signed(batch["image"]), signed(batch["reference"])
        with tf.GradientTape() as tape:
            refined = self.refiner({"synthetic": synthetic, "reference": reference}, training=True)
            logits = self.discriminator({"patch": refined, "reference": reference}, training=False)
            near = self._mean(losses.regularisation(synthetic, refined, settings.l1, settings.l2))
            real = self._mean(losses.realism(logits, settings.realism))
            hard = -self._mean(self.task_loss(refined, batch["target"], training=False)[0])
            loss = settings.alpha * near + settings.beta * real + settings.gamma * hard
        self._apply(tape, loss, self.refiner, self.refiner_optimizer)
        if fill:
            self._keep(refined, batch, slice(None, batch["image"].shape[0] // 2))
        return {"refiner_loss": loss, "regularisation": near, "realism": real, "hard": hard}

    def discriminate_step(self, batch, fill=True):
        """Updates the discriminator: real pairs (S', S) in random order against refined pairs (X, S)."""
        self.step.assign_add(1)
        form = self.config.losses.realism
        fake = self.mixed(batch, fill)
        count = batch["real"].shape[0]
        swap = tf.random.stateless_uniform((count, 1, 1, 1), self._seed(1)) < 0.5
        one, other = signed(batch["real"]), signed(batch["reference"])
        one, other = tf.where(swap, other, one), tf.where(swap, one, other)
        patches = tf.concat([one, signed(fake["image"])], 0)
        references = tf.concat([other, signed(fake["reference"])], 0)
        with tf.GradientTape() as tape:
            logits = self.discriminator({"patch": patches, "reference": references}, training=True)
            loss = self._mean(losses.discrimination(logits[:count], logits[count:], form))
        self._apply(tape, loss, self.discriminator, self.discriminator_optimizer)
        self.seen.assign_add([float(count), float(count)])
        real = losses.real_probability(logits)
        right = tf.concat([real[:count] > 0.5, real[count:] < 0.5], 0)
        return {"discriminator_loss": loss, "accuracy": tf.reduce_mean(tf.cast(right, tf.float32))}

    def taught(self, batch, fill):
        """Refined patches with their importance weights, and the real labelled ones, if there are any, with 1.

        Args:
            batch: dict of uint8 tensors, also `labelled_image` and `labelled_target` for "universal + real".
            fill: whether fresh refined patches are kept in the history.

        Returns:
            As `TaskTrainer.taught`.
        """
        patches = self.mixed(batch, fill) if self.refined else batch
        images, target = signed(patches["image"]), patches["target"]
        weights = self.weight(images, signed(patches["reference"]))
        if "labelled_image" not in batch:
            return images, target, weights
        real = signed(batch["labelled_image"])
        weights = tf.concat([weights, tf.ones(tf.shape(real)[0])], 0)
        return tf.concat([images, real], 0), tf.concat([target, batch["labelled_target"]], 0), weights

    def _keep(self, refined, batch, rows):
        """Puts some rows of a refined batch into the pool."""
        kept = {"image": unsigned(refined), "reference": batch["reference"], "target": batch["target"]}
        self.pool.put({name: tensor[rows] for name, tensor in kept.items()}, self._seed(3))

    def mixed(self, batch, fill):
        """A batch that is half freshly refined and half drawn from the history [release].

        While the history holds fewer patches than it is to give, the whole batch is fresh.

        Args:
            batch: dict of uint8 tensors.
            fill: whether the fresh half is kept in the history.

        Returns:
            dict of `image` (refined), `reference` and `target`, uint8.
        """
        half = batch["image"].shape[0] // 2
        fresh = self._refined(batch, slice(None, half))
        rest = tf.cond(
            self.pool.size >= batch["image"].shape[0] - half,
            lambda: self.pool.draw(batch["image"].shape[0] - half, self._seed(4)),
            lambda: self._refined(batch, slice(half, None)),
        )
        if fill:
            self.pool.put(fresh, self._seed(5))
        return {name: tf.concat([fresh[name], rest[name]], 0) for name in fresh}

    def _refined(self, batch, rows):
        """Some rows of a batch with their images refined, uint8."""
        image, reference = batch["image"][rows], batch["reference"][rows]
        return {
            "image": unsigned(self.patch(image, reference)),
            "reference": reference,
            "target": batch["target"][rows],
        }
