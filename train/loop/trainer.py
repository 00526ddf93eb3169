"""The custom training loop: three networks, three tapes, three optimisers, one schedule."""

import tensorflow as tf

from models import losses
from models.discriminator import discriminator
from models.refiner import refiner
from models.task import task
from train.loop import phases, replicas
from train.loop.pool import Pool
from train.loop.task_trainer import TaskTrainer, signed, unsigned
from train.loop.weighting import Weighting


class UniversalTrainer(TaskTrainer):
    """Refiner, discriminator and task network with one training step each.

    A batch is a dict of uint8 tensors: `image` (initial synthetic patch), `reference`, `real` (a second real
    patch of the reference's tile), (b, s, s, 3), and `target` bits, (b, s, s, 1).
    """

    builders = {"refiner": refiner, "discriminator": discriminator, "task": task}

    def __init__(self, config, task_updates=1, refined=True, strategy=None):
        """Builds networks, optimisers and pool.

        Args:
            config: `Config`.
            task_updates: task updates of the whole run, over which the task rate decays.
            refined: whether the task network learns from refined and weighted patches, as far as the schedule
                trains a refiner and a discriminator; or from initial ones, whatever the schedule has.
            strategy: `tf.distribute.Strategy` of the steps; None for the default device.
        """
        schedule, run = config.schedule, phases.phases(config.schedule)
        task_updates -= phases.self_updates(run)
        super().__init__(config, task_updates, "universal", strategy, schedule.self_steps)
        self.refined, self.weighed = refined and phases.refines(run), refined and phases.weighs(run)
        with self._building():
            self.refiner, self.discriminator = refiner(config.networks), discriminator(config.networks)
            self.seen = tf.Variable([0.0, 0.0], False, name="seen", aggregation=replicas.ALIKE)  # refined, real, by D
            self.weighting = Weighting(config.losses)
            self.refiner_optimizer = self._optimizer(schedule.refiner_rate, self.refiner)
            self.discriminator_optimizer = self._optimizer(schedule.discriminator_rate, self.discriminator)
        self.pool = Pool(schedule.pool if self.refined else 1, schedule.patch)  # one a process: all replicas draw alike
        self.refine, self.discriminate = map(self._traced, (self.refine_step, self.discriminate_step))

    def compile(self, updates, fill=True, **kwargs):
        """Fixes what a round does.

        Args:
            updates: `train.loop.phases.Updates` in a round, or three numbers.
            fill: whether refined patches are kept in the pool.
            **kwargs: `run_eagerly`, `jit_compile`.
        """
        super().compile(**kwargs)
        self.updates, self.fill = phases.Updates(*updates), fill

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
        """Importance weights of patches in [-1, 1], (b,) float32; 1 if there is no discriminator."""
        if not self.weighed:
            return tf.ones(tf.shape(patch)[0])
        logits = self.discriminator({"patch": patch, "reference": reference}, training=False)
        return self.weighting.weights(logits, self.ratio(), self._seed(6))

    def ratio(self):
        """c, synthetic inputs over real inputs that the discriminator has seen; 1 before it has seen any."""
        return tf.where(self.seen[1] > 0, tf.math.divide_no_nan(self.seen[0], self.seen[1]), 1.0)

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
        steps = [self.refine] * self.updates.refiner
        steps += [self.segment] * self.updates.task
        steps += [self.discriminate] * self.updates.discriminator  # 2 refiner, 6 task, 1 discriminator [release]
        values = {}
        for number, step in enumerate(steps):
            values.update(step({name: tensor[number] for name, tensor in data.items()}, self.fill))
        return values

    def refine_step(self, batch, fill=True):
        """Updates the refiner: L_G = alpha L_reg + beta L_real + gamma L_hard      [paper, Eq. 6]."""
        self.step.assign_add(1)
        settings = self.config.losses
        synthetic, reference, target = self.painted(batch)
        with tf.GradientTape() as tape:
            refined = self.refiner({"synthetic": synthetic, "reference": reference}, training=True)
            logits = self.discriminator({"patch": refined, "reference": reference}, training=False)
            near = self._mean(losses.regularisation(synthetic, refined, settings.l1, settings.l2))
            real = self._mean(losses.realism(logits, settings.realism))
            hard = -self._mean(self.patch_loss(refined, target, training=False)[0])
            loss = losses.refiner_loss(near, real, hard, settings.alpha, settings.beta, settings.gamma)
            scaled = self.refiner_optimizer.scale_loss(loss)
        self._apply(tape, scaled, self.refiner, self.refiner_optimizer)
        if fill:
            self._keep(refined, batch)
        return replicas.summed({"refiner_loss": loss, "regularisation": near, "realism": real, "hard": hard})

    def discriminate_step(self, batch, fill=True):
        """Updates the discriminator: L_D = - mean log D(S', S) - mean log(1 - D(X, S))      [paper, Sec. 4.2]."""
        self.step.assign_add(1)
        patches, references, real = self.pairs(batch, fill)
        with tf.GradientTape() as tape:
            logits = self.discriminator({"patch": patches, "reference": references}, training=True)
            right = tf.concat([logits[:real], -logits[real:]], 0)  # for the truth; a cross-entropy knows no more
            half, rest = tf.split(right, 2)
            loss = self._mean(losses.discrimination(half, -rest, self.config.losses.realism))
            scaled = self.discriminator_optimizer.scale_loss(loss)
        self._apply(tape, scaled, self.discriminator, self.discriminator_optimizer)
        self._observe(logits, real, batch)
        accuracy = self._mean(tf.cast(losses.real_probability(right) > 0.5, tf.float32))
        return replicas.summed({"discriminator_loss": loss, "accuracy": accuracy})

    def painted(self, batch):
        """What the refiner learns from.

        Args:
            batch: as for the class.

        Returns:
            This replica's initial patches and references, (n, s, s, 3) float32 in [-1, 1], and target bits,
            (n, s, s, 1) uint8.
        """
        image, reference, target = replicas.share([batch[name] for name in ("image", "reference", "target")])
        return signed(image), signed(reference), target

    def pairs(self, batch, fill):
        """What the discriminator learns from: real pairs (S', S) in random order, and then refined pairs (X, S).

        There may be more of the one than of the other, in total an even number; the shorter goes with the first
        references.

        Args:
            batch: dict of uint8 tensors.
            fill: whether fresh refined patches are kept in the history.

        Returns:
            This replica's patches and references, (n, s, s, 3) float32 in [-1, 1], and how many of them are real.
        """
        count, images = batch["real"].shape[0], batch["image"].shape[0]
        refined = self.mixed({name: tensor[:images] for name, tensor in batch.items()}, fill)
        swap = tf.random.stateless_uniform((count, 1, 1, 1), self._seed(1)) < 0.5
        second, first = batch["real"], batch["reference"][:count]
        real = tf.where(swap, first, second), tf.where(swap, second, first)
        both = zip(replicas.share(real), replicas.share((refined["image"], refined["reference"])), strict=True)
        patches, references = (signed(tf.concat(parts, 0)) for parts in both)
        return patches, references, count // replicas.count()

    def _observe(self, logits, real, batch):
        """Counts what the discriminator has seen, and brings the weights' estimates up to date by its answers.

        Args:
            logits: of this replica's pairs.
            real: how many of them are real.
            batch: the whole one.
        """
        images, pairs = batch["image"].shape[0], batch["real"].shape[0]
        self.seen.assign_add(tf.constant([images, pairs], tf.float32))
        answers = tf.concat([replicas.gathered(logits[:real]), replicas.gathered(logits[real:])], 0)
        self.weighting.observe(answers, pairs, self.ratio())

    def taught(self, batch, fill):
        """Refined patches with their importance weights, and the real labelled ones, if there are any, with 1.

        Args:
            batch: dict of uint8 tensors, also `labelled_image` and `labelled_target` for "universal + real".
            fill: whether fresh refined patches are kept in the history.

        Returns:
            As `TaskTrainer.taught`.
        """
        patches = replicas.share(self.mixed(batch, fill))
        images, target = signed(patches["image"]), patches["target"]
        weights = self.weight(images, signed(patches["reference"]))
        if "labelled_image" not in batch:
            return images, target, weights
        real, known = replicas.share((batch["labelled_image"], batch["labelled_target"]))
        weights = tf.concat([weights, tf.ones(tf.shape(real)[0])], 0)
        return tf.concat([images, signed(real)], 0), tf.concat([target, known], 0), weights

    def _keep(self, refined, batch):
        """Puts a batch of a refiner update, of which every replica has its share, or half of it into the pool."""
        images = replicas.gathered(unsigned(refined))
        kept = {"image": images, "reference": batch["reference"], "target": batch["target"]}
        if self.config.schedule.history == "refiner":
            replicas.once(self.pool.add, kept, self._seed(3))
        else:
            half = batch["image"].shape[0] // 2
            replicas.once(self.pool.put, {name: tensor[:half] for name, tensor in kept.items()}, self._seed(3))

    def mixed(self, batch, fill):
        """A batch that is half freshly refined and half drawn from the history [release].

        While the history holds fewer patches than it is to give, the whole batch is fresh. Initial patches have no
        history: it would hold more of the same.

        Args:
            batch: dict of uint8 tensors.
            fill: whether the fresh half is kept in the history, if every update fills it.

        Returns:
            dict of `image` (refined), `reference` and `target`, uint8.
        """
        if not self.refined:
            return {name: batch[name] for name in ("image", "reference", "target")}
        half = batch["image"].shape[0] // 2
        fresh = self._refined(batch, slice(None, half))
        rest = tf.cond(
            self.pool.size >= batch["image"].shape[0] - half,
            lambda: self.pool.draw(batch["image"].shape[0] - half, self._seed(4)),
            lambda: self._refined(batch, slice(half, None), alone=True),
        )
        if fill and self.config.schedule.history == "every":
            replicas.once(self.pool.put, fresh, self._seed(5))
        return {name: tf.concat([fresh[name], rest[name]], 0) for name in fresh}

    def _refined(self, batch, rows, alone=False):
        """Some rows of a batch with their images refined, uint8; alone, no replica waits for others."""

        def refined(image, reference):
            return unsigned(self.patch(image, reference))

        some = {name: batch[name][rows] for name in ("image", "reference", "target")}
        pair = some["image"], some["reference"]
        return {**some, "image": refined(*pair) if alone else replicas.spread(refined, *pair)}
