"""Whether the discriminator of a preset learns, and its weights: `python -m benchmarks.adversarial --tiles DIR`."""

import argparse
import contextlib
import itertools
import sys
import tempfile

import numpy as np

from data import tiles
from hou_synth import config
from hou_synth.io import command

UNSEEN = 40  # initial patches and real pairs that are judged and never learned from
COLUMNS = "form updates moved accuracy gradient real initial low high right_order"


@command.command
def main(argv=None):
    """Prints a row every few updates of the discriminator, for each form of the losses."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adversarial", description=__doc__)
    parser.add_argument("--tiles", help="folder of tiles at 40X (default: the embedded tissue)")
    parser.add_argument("--preset", default="paper", help="preset of networks, rates and synthesis [paper]")
    parser.add_argument("--forms", nargs="+", default=["paper", "summed"], help="of the losses [paper summed]")
    parser.add_argument("--updates", type=int, default=300, help="of the discriminator [300]")
    parser.add_argument("--every", type=int, default=20, help="updates between two rows [20]")
    args = parser.parse_args(argv)
    print(COLUMNS, flush=True)
    with tempfile.TemporaryDirectory() as beside:
        bank = tiles.prepare(args.tiles, config.preset(args.preset).synthesis, beside=beside)
        for form in args.forms:
            learn(bank, config.preset(args.preset, realism=form), args.updates, args.every)
    return 0


def learn(bank, settings, updates, every):
    """Trains a discriminator on real pairs and initial patches, and prints a row every few updates."""
    import keras  # here, so that the help does not wait for TensorFlow

    from data import pipeline
    from train.judging import unseen
    from train.loop.trainer import UniversalTrainer

    keras.utils.set_random_seed(settings.schedule.seed)
    trainer = UniversalTrainer(settings)
    trainer.refined = False  # initial patches instead of refined ones
    start = [weight.numpy() for weight in trainer.discriminator.trainable_variables]
    examples = unseen.examples(bank, settings, UNSEEN)
    with contextlib.closing(pipeline.Source(bank, settings)) as source:
        batches = source.rounds(1).as_numpy_iterator()
        for number, batch in enumerate(itertools.islice(batches, updates + 1)):
            if number % every == 0:
                row = [number, moved(trainer, start), *judged(trainer, examples)]
                print(f"{settings.losses.realism:7} {row[0]:4} " + " ".join(f"{v:.3g}" for v in row[1:]), flush=True)
            if number < updates:
                trainer.discriminate({name: tensor[0] for name, tensor in batch.items()})


def moved(trainer, start):
    """Distance of the discriminator's weights from where they began."""
    now = trainer.discriminator.trainable_variables
    return np.sqrt(sum(np.square(a - b).sum() for a, b in zip(now, start, strict=True)))


def judged(trainer, examples):
    """What the discriminator says of unseen patches.

    Args:
        trainer: `UniversalTrainer`.
        examples: list of `data.synthetic.Example`.

    Returns:
        Its accuracy on initial patches and on as many real pairs; the norm of the realism's gradient at the refiner's
        weights; the median weight of real pairs, and of initial patches with the 5th and 95th percentile; how often
        a real pair has a higher weight than an initial patch.
    """
    import tensorflow as tf

    from models import losses
    from train.judging import unseen
    from train.loop.task_trainer import signed

    initial, reference, other = map(signed, unseen.stacked(examples, "image", "reference", "real"))
    said = {
        name: trainer.discriminator({"patch": patch, "reference": reference}, training=False)
        for name, patch in (("real", other), ("initial", initial))
    }
    chance = {name: losses.real_probability(logits).numpy() for name, logits in said.items()}
    weights = {
        name: trainer.weighting.weights(logits, trainer.ratio(), (0, 0)).numpy() for name, logits in said.items()
    }
    batch = trainer.config.schedule.batch
    with tf.GradientTape() as tape:
        refined = trainer.refiner({"synthetic": initial[:batch], "reference": reference[:batch]}, training=True)
        logits = trainer.discriminator({"patch": refined, "reference": reference[:batch]}, training=False)
        realism = tf.reduce_mean(losses.realism(logits, trainer.config.losses.realism))
    gradient = tf.linalg.global_norm(tape.gradient(realism, trainer.refiner.trainable_variables))
    low, median, high = np.quantile(weights["initial"], (0.05, 0.5, 0.95))
    above = weights["real"][:, None] - weights["initial"]
    accuracy = ((chance["real"] > 0.5).mean() + (chance["initial"] <= 0.5).mean()) / 2
    order = (above > 0).mean() + (above == 0).mean() / 2
    return accuracy, float(gradient), np.median(weights["real"]), median, low, high, order


if __name__ == "__main__":
    sys.exit(main())
