"""The area under the ROC curve, with an interval, and the curve."""

import dataclasses

import matplotlib.figure
import numpy as np
from scipy.stats import mannwhitneyu

from hou_synth import lymphocytes
from hou_synth.io import files

RESAMPLES = 1000  # of the images; ours
INTERVAL = 0.025, 0.975  # quantiles of their areas


@dataclasses.dataclass(frozen=True)
class Judged:
    """What a classifier makes of places that are known.

    Attributes:
        scores: (n,) float, higher for what it takes for positive.
        positive: (n,) bool.
        images: (n,) int, numbers of the images that the places are on.
    """

    scores: np.ndarray
    positive: np.ndarray
    images: np.ndarray


def judged(classifier, images):
    """What a classifier makes of labelled places.

    Args:
        classifier: `hou_synth.lymphocytes.Classifier`.
        images: list of `data.labelled.points.Marked`.

    Returns:
        `Judged`.

    Raises:
        ValueError: if all places are lymphocytes or none is.
    """
    parts = [lymphocytes.probabilities(classifier.network, image.image, image.places) for image in images]
    numbers = np.repeat(np.arange(len(images)), [len(part) for part in parts])
    positive = np.concatenate([image.positive for image in images])
    if positive.all() or not positive.any():
        raise ValueError(
            f"Expected places with and without a lymphocyte. Received: {positive.sum()} of {len(positive)}."
        )
    return Judged(np.concatenate(parts), positive, numbers)


def area(scores, positive):
    """Probability that a positive place has a higher score than a negative one: Mann and Whitney's U over all pairs.

    Args:
        scores: (n,) float.
        positive: (n,) bool.

    Returns:
        float; NaN if all are positive or none is.
    """
    ones, zeros = scores[positive], scores[~positive]
    if not (len(ones) and len(zeros)):
        return float("nan")
    return float(mannwhitneyu(ones, zeros).statistic) / (len(ones) * len(zeros))


def interval(judged, seed=0):
    """95 % interval of the area: images are drawn with replacement, each with all its places.

    Places of one image are alike in stain and tissue, so drawing single places, as DeLong's interval assumes, would
    make it too narrow.

    Args:
        judged: `Judged`.
        seed: of the draws.

    Returns:
        Two floats; draws that have one class alone are left out.
    """
    random, areas = np.random.default_rng(seed), []
    groups = [np.flatnonzero(judged.images == number) for number in np.unique(judged.images)]
    for _ in range(RESAMPLES):
        drawn = np.concatenate([groups[number] for number in random.integers(len(groups), size=len(groups))])
        areas.append(area(judged.scores[drawn], judged.positive[drawn]))
    low, high = np.nanquantile(areas, INTERVAL)
    return float(low), float(high)


def curve(judged):
    """Points of the ROC curve from (0, 0) to (1, 1).

    Args:
        judged: `Judged`.

    Returns:
        Two (k,) float arrays: share of the negative places, and of the positive ones, from each score on upwards.
    """
    order = np.argsort(-judged.scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(judged.scores[order])), len(order) - 1)  # of places with one score
    shares = [np.cumsum(each[order])[last] / max(each.sum(), 1) for each in (~judged.positive, judged.positive)]
    return tuple(np.append(0.0, share) for share in shares)


def draw(judged, path):
    """Writes the ROC curve as PNG, atomically.

    Args:
        judged: `Judged`.
        path: of the picture.
    """
    (low, high), (false, true) = interval(judged), curve(judged)
    figure = matplotlib.figure.Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", ls=":")
    axes.step(false, true, where="post")
    axes.set(xlabel="share of other places found", ylabel="share of lymphocytes found", aspect="equal")
    count = f"{judged.positive.sum()} of {len(judged.positive)} places are lymphocytes"
    axes.set_title(f"AUROC {area(judged.scores, judged.positive):.3f} ({low:.3f} to {high:.3f})\n{count}", fontsize=10)
    with files.replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)
