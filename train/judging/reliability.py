"""Is the discriminator's probability of being real a probability? A reliability curve on unseen patches."""

import dataclasses

import numpy as np
import tensorflow as tf

from models.importance import effective_share
from train.judging import unseen
from train.loop.task_trainer import signed, unsigned


@dataclasses.dataclass(frozen=True)
class Bin:
    """Patches of which the discriminator said about the same.

    Attributes:
        low: smallest probability of the bin.
        high: largest.
        predicted: mean of the predicted probabilities.
        observed: share of the patches that are real.
        count: of the patches.
    """

    low: float
    high: float
    predicted: float
    observed: float
    count: int


@dataclasses.dataclass(frozen=True)
class Reliability:
    """How far predicted and observed probabilities agree, and what the weights leave of a sample.

    Attributes:
        rows: the `Bin`s that hold any patch, lowest first.
        error: expected calibration error, the mean of |predicted - observed| over patches, 0 to 1.
        effective: effective sample size of the weighted refined patches, in patches.
        weight: their mean weight.
    """

    rows: list
    error: float
    effective: float
    weight: float


def reliability(trainer, examples, bins=10):
    """Reliability of the discriminator on patches that it has not seen.

    Real pairs are the positives and refined patches the negatives, as many of each; the probabilities are those
    behind the weights, so calibrated ones where the configuration calibrates.

    Args:
        trainer: `UniversalTrainer` with a discriminator.
        examples: list of `data.synthetic.Example`, for instance `train.judging.unseen.examples`.
        bins: how many, of equal width.

    Returns:
        `Reliability`.

    Raises:
        ValueError: if there is no discriminator or no example.
    """
    if not trainer.weighed or not examples:
        raise ValueError(
            "Expected examples and a trainer whose discriminator learns. "
            f"Received: {len(examples)} examples, weighed={trainer.weighed}."
        )
    parts = [_answers(trainer, batch) for batch in unseen.batches(examples, trainer.config.schedule.batch)]
    real, refined, weights = (np.concatenate(part) for part in zip(*parts, strict=True))
    rows = curve(np.concatenate([real, refined]), np.repeat([1.0, 0.0], len(real)), bins)
    effective = float(effective_share(tf.constant(weights))) * len(weights)
    return Reliability(rows, calibration_error(rows), effective, float(weights.mean()))


def curve(predicted, truth, bins=10):
    """The reliability curve: observed frequencies by predicted probability.

    Args:
        predicted: (n,) probabilities of being real.
        truth: (n,) 1 for real, 0 for refined.
        bins: of equal width over [0, 1]; 1 belongs to the last.

    Returns:
        list of `Bin`, without empty ones.
    """
    number = np.minimum((predicted * bins).astype(int), bins - 1)
    rows = []
    for index in np.unique(number):
        inside = number == index
        means = float(predicted[inside].mean()), float(truth[inside].mean())
        rows.append(Bin(float(index / bins), float((index + 1) / bins), *means, int(inside.sum())))
    return rows


def calibration_error(rows):
    """Expected calibration error: sum over bins of count / n |predicted - observed| [Naeini 2015]."""
    counts = np.array([row.count for row in rows])
    gaps = np.array([abs(row.predicted - row.observed) for row in rows])
    return float(np.sum(counts * gaps) / np.sum(counts))


def _answers(trainer, examples):
    """Probabilities of real and of refined patches, and the weights of these, (b,) each."""
    real, reference = map(signed, unseen.stacked(examples, "real", "reference"))
    refined = signed(unsigned(unseen.refined(trainer, examples)))
    said = [probability(trainer, patch, reference) for patch in (real, refined)]
    return *said, trainer.weight(refined, reference).numpy()


def probability(trainer, patch, reference):
    """Probability of being real that is behind the weight of each patch.

    Args:
        trainer: `UniversalTrainer` with a discriminator.
        patch: (n, s, s, 3) float32 in [-1, 1].
        reference: of the same shape.

    Returns:
        (n,) float32.
    """
    logits = trainer.discriminator({"patch": patch, "reference": reference}, training=False)
    return trainer.weighting.probability(logits, trainer.ratio()).numpy()
