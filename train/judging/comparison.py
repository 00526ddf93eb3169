"""Real, initial and refined patches compared by measures that training does not optimise, by tissue type."""

import dataclasses

import numpy as np
import tensorflow as tf

from models.importance import effective_share
from train.judging import features, frechet, reliability, unseen
from train.loop.task_trainer import signed, unsigned

FEATURES = {"random convolutions": features.convolutional, "stain and texture": features.textural}
SETS = ("real", "initial", "refined")
HEAD = ("type", "patches", "tiles", "measure")
COLUMNS = (*SETS, "ratio")  # of a row of measures; each has also its `_low` and `_high`, a 95 % interval
ALL = "all"  # in place of a tissue type
SPLITS = 20  # halves of the tiles
LEAST = 10  # patches in a half, under which there is no distance
_NORMAL = 1.96  # deviations on either side of a mean that hold 95 %


@dataclasses.dataclass(frozen=True)
class Patches:
    """What is measured of n patches of each set; the sets of a run without a refiner are real and initial.

    Attributes:
        types: (n,) tissue types.
        tiles: (n,) names of the tiles.
        features: name of `FEATURES` -> set -> (n, d).
        contrasts: set -> (2, n): sum over the nuclei of a patch, and their number; not of the real.
        real: `real` and the last set -> (n,) probability of being real; empty without a discriminator.
        weights: (n,) importance weights of the last set.
    """

    types: np.ndarray
    tiles: np.ndarray
    features: dict
    contrasts: dict
    real: dict
    weights: np.ndarray


def measured(trainer, examples):
    """Measures unseen examples.

    Args:
        trainer: `UniversalTrainer`.
        examples: list of `data.synthetic.Example`.

    Returns:
        `Patches`.
    """
    rows = [_answers(trainer, part) for part in unseen.batches(examples, trainer.config.schedule.batch)]
    made, real, weights = map(_joined, zip(*rows, strict=True))
    contrasts = {
        name: np.array([_total(image, example.labels) for image, example in zip(made[name], examples, strict=True)]).T
        for name in made
        if name != "real"
    }
    return Patches(
        types=np.array([example.provenance["type"] for example in examples]),
        tiles=np.array([example.provenance["tile"] for example in examples]),
        features={key: {name: np.array(list(map(f, made[name]))) for name in made} for key, f in FEATURES.items()},
        contrasts=contrasts,
        real=real,
        weights=weights["weight"],
    )


def _answers(trainer, examples):
    """Of a batch: set -> uint8 images, set -> probability of being real, `weight` -> importance weights."""
    image, reference, real = unseen.stacked(examples, "image", "reference", "real")
    made, answers = {"real": real, "initial": image}, {}
    if trainer.refined:
        made["refined"] = unsigned(unseen.refined(trainer, examples)).numpy()
    last, reference = list(made)[-1], signed(reference)
    if trainer.weighed:
        answers = {name: reliability.probability(trainer, signed(made[name]), reference) for name in ("real", last)}
    return made, answers, {"weight": trainer.weight(signed(made[last]), reference).numpy()}


def _joined(parts):
    """Dicts of arrays as one dict of long arrays."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _total(image, labels):
    contrasts = frechet.contrasts(image, labels)
    return contrasts.sum(), len(contrasts)


def table(patches):
    """Rows of measures for all tissue types together and for each, if there are several.

    Args:
        patches: `Patches`.

    Returns:
        List of dicts: `type`, `patches`, `tiles`, `measure`, and those of `COLUMNS` that the measure has.
    """
    types = sorted(set(patches.types))
    return [row for kind in [ALL, *(types if len(types) > 1 else [])] for row in _rows(patches, kind)]


def _rows(patches, kind):
    """Rows of one tissue type."""
    chosen = np.ones(len(patches.types), bool) if kind == ALL else patches.types == kind
    tiles = patches.tiles[chosen]
    about = {"type": kind, "patches": int(chosen.sum()), "tiles": len(set(tiles))}
    drawn = frechet.resampled(tiles)
    rows = _distances(patches, chosen) + [_contrast(patches, chosen, drawn)]
    if patches.real:
        rows += _discriminator(patches, chosen, drawn)
    return [{**about, **row} for row in rows]


def lines(rows):
    """Texts of a table, its header first: each value with its interval in brackets."""
    return [
        [*HEAD, *COLUMNS],
        *([str(row[key]) or "-" for key in HEAD] + [_value(row, key) for key in COLUMNS] for row in rows),
    ]


def _value(row, name):
    if name not in row:
        return "-"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return f"{row[name]:.3g}" + (f" ({low:.3g} to {high:.3g})" if low is not None else "")


def _distances(patches, chosen):
    """The Frechet distances, and what they are beyond that of two halves of the real patches.

    All distances share the halves, so what is beyond them is known better than the distances: these also depend
    on which tiles come together. Over random halves a value varies about as much as over other tiles (a
    delete-half jackknife by tile).
    """
    splits, rows = frechet.halves(patches.types[chosen], patches.tiles[chosen], SPLITS), []
    if min(splits.sum(1).min(), (~splits).sum(1).min()) < LEAST:
        return []
    for name, sets in patches.features.items():
        made = {key: vectors[chosen] for key, vectors in sets.items() if key != "real"}
        distances = frechet.distances(sets["real"][chosen], made, splits)
        halves = distances.pop("halves")
        beyond = {key: distance - halves for key, distance in distances.items()}
        rows.append({"measure": f"distance, {name}", **_spread({"real": halves, **distances})})
        rows.append({"measure": f"beyond halves, {name}", **_spread(beyond), **_share(beyond)})
    return rows


def _spread(values):
    """Columns of means over the splits, with the interval that holds 95 % of the splits."""
    return _percentiles({name: np.concatenate([[splits.mean()], splits]) for name, splits in values.items()})


def _share(beyond):
    """Column `ratio`: what refinement leaves of the way from real to initial patches."""
    if "refined" not in beyond or beyond["initial"].mean() <= 0:
        return {}
    ratio = beyond["refined"].mean() / beyond["initial"].mean()
    error = (beyond["refined"] - ratio * beyond["initial"]).std(ddof=1) / beyond["initial"].mean()
    return {"ratio": ratio, "ratio_low": ratio - _NORMAL * error, "ratio_high": ratio + _NORMAL * error}


def _contrast(patches, chosen, drawn):
    """Mean contrast of haematoxylin over all nuclei of the initial and the refined patches, and their ratio."""
    means = {name: _mean(*totals[:, chosen], drawn) for name, totals in patches.contrasts.items()}
    if "refined" in means and means["initial"][0]:
        means["ratio"] = means["refined"] / means["initial"]
    return {"measure": "haematoxylin across the border", **_percentiles(means)}


def _discriminator(patches, chosen, drawn):
    """Its accuracy on real patches and on the others, the error of its probabilities, and its weights."""
    once, last = np.ones(int(chosen.sum())), list(patches.real)[-1]
    real, other, weights = patches.real["real"][chosen], patches.real[last][chosen], patches.weights[chosen]
    right = {"real": _mean(real > 0.5, once, drawn), last: _mean(other < 0.5, once, drawn)}
    curve = reliability.curve(np.concatenate([real, other]), np.repeat([1.0, 0.0], len(real)))
    return [
        {"measure": "discriminator is right", **_percentiles(right)},
        {"measure": "error of its probability", last: reliability.calibration_error(curve)},
        {"measure": "importance weight", **_percentiles({last: _mean(weights, once, drawn)})},
        {"measure": "effective share", last: float(effective_share(tf.constant(weights)))},
    ]


def _mean(sums, counts, drawn):
    """Mean of the whole sample, followed by the means of bootstrap samples; nan for none."""
    repeats = np.vstack([np.ones(len(sums), np.int64), drawn])
    counts = repeats @ counts
    return np.divide(repeats @ sums, counts, out=np.full(len(repeats), np.nan), where=counts > 0)


def _percentiles(means):
    """Columns of values followed by their repetitions, which give the interval; without those that are nan."""
    columns = {}
    for name, (value, *repeats) in means.items():
        if np.isfinite(value):
            low, high = np.nanpercentile(repeats, (2.5, 97.5))
            columns |= {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}
    return columns


def contrast(trainer, examples):
    """Mean contrast of haematoxylin across the borders of nuclei, see `frechet.contrasts`.

    Args:
        trainer: `UniversalTrainer`.
        examples: list of `data.synthetic.Example`.

    Returns:
        Dict of `initial`, `refined` and their `ratio`, float; empty if there is no nucleus.
    """
    made = {"initial": [example.image for example in examples]}
    made["refined"] = unsigned(unseen.refined(trainer, examples)).numpy()
    labels = [example.labels for example in examples]
    totals = {name: np.sum(list(map(_total, patches, labels)), 0) for name, patches in made.items()}
    means = {name: float(total / count) for name, (total, count) in totals.items() if count}
    return means | ({"ratio": means["refined"] / means["initial"]} if means.get("initial") else {})
