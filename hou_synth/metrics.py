"""Measures of a predicted label map against the true one; 0 is background, ids need not be consecutive."""

import argparse
import collections
import functools
import pathlib
import sys

import numpy as np

from hou_synth.io import command, files, image_files, tables

# Pairs that share pixels: indices into the areas of the predicted and true nuclei, and the pixels shared.
Overlap = collections.namedtuple("Overlap", "predicted true shared predicted_areas true_areas")
Panoptic = collections.namedtuple("Panoptic", "pq dq sq")


def overlap(predicted, true):
    """Sparse contingency table of two label maps.

    Args:
        predicted: (h, w) integer ids, 0 = background.
        true: (h, w) integer ids, 0 = background.

    Returns:
        An `Overlap`: `predicted`, `true` and `shared` have one entry for each overlapping pair of nuclei,
        `predicted_areas` and `true_areas` one for each nucleus. Areas are pixels.

    Raises:
        ValueError: if the shapes differ, or the maps do not hold integers of at least 0.
    """
    for labelled in (predicted, true):
        if labelled.ndim != 2 or labelled.dtype.kind not in "ui" or labelled.min(initial=0) < 0:
            raise ValueError(
                f"Expected labels of shape (h, w), ids >= 0. Received: {labelled.dtype}, {labelled.shape}."
            )
    if predicted.shape != true.shape:
        raise ValueError(f"Expected label maps of one shape. Received: {predicted.shape} and {true.shape}.")
    span = int(true.max(initial=0)) + 1
    keys, counts = np.unique(predicted.astype(np.int64) * span + true, return_counts=True)
    (p_ids, p), (t_ids, t) = (np.unique(ids, return_inverse=True) for ids in np.divmod(keys, span))
    p_areas, t_areas = np.bincount(p, counts).astype(np.int64), np.bincount(t, counts).astype(np.int64)
    p_first, t_first = int((p_ids[:1] == 0).sum()), int((t_ids[:1] == 0).sum())
    both = (p >= p_first) & (t >= t_first)
    return Overlap(p[both] - p_first, t[both] - t_first, counts[both], p_areas[p_first:], t_areas[t_first:])


def _measure(equation):
    """Makes a function of two label maps out of an equation on their `Overlap`; kept as `.equation`."""

    def on_overlap(pairs):
        return float(equation(pairs)) if len(pairs.predicted_areas) and len(pairs.true_areas) else _empty(pairs)

    @functools.wraps(equation)
    def measure(predicted, true):
        return on_overlap(overlap(predicted, true))

    measure.equation = on_overlap
    return measure


def _empty(pairs):
    """1.0 if neither map has a nucleus, 0.0 if one of them has."""
    return float(len(pairs.predicted_areas) == len(pairs.true_areas))


def _ious(pairs):
    """Intersection over union of every overlapping pair, in (0, 1]."""
    return pairs.shared / (pairs.predicted_areas[pairs.predicted] + pairs.true_areas[pairs.true] - pairs.shared)


@_measure
def dice1(pairs):
    """DICE on pixels: 2 |S and T| / (|S| + |T|)."""
    return 2 * pairs.shared.sum() / (pairs.predicted_areas.sum() + pairs.true_areas.sum())


@_measure
def dice2(pairs):
    """Ensemble DICE: 2 sum |S_i and T_j| / sum (|S_i| + |T_j|) over overlapping pairs [MICCAI challenges]."""
    areas = pairs.predicted_areas[pairs.predicted] + pairs.true_areas[pairs.true]
    return 2 * pairs.shared.sum() / max(areas.sum(), 1)


@_measure
def dice_average(pairs):
    """DICE average of the paper's tables: (DICE 1 + DICE 2) / 2."""
    return (dice1.equation(pairs) + dice2.equation(pairs)) / 2


@_measure
def aji(pairs):
    """Aggregated Jaccard index [Kumar et al. 2017].

        sum_t |t and p(t)| / (sum_t |t or p(t)| + areas of predictions that are no p(t))

    p(t) is the prediction of highest IoU with the true nucleus t; without one, |t| counts as the union.
    """
    order = np.lexsort((-_ious(pairs), pairs.true))
    overlapped, first = np.unique(pairs.true[order], return_index=True)
    best = order[first]
    shared, used = pairs.shared[best], pairs.predicted[best]
    unions = pairs.predicted_areas[used] + pairs.true_areas[overlapped] - shared
    missed = pairs.true_areas.sum() - pairs.true_areas[overlapped].sum()
    unused = np.delete(pairs.predicted_areas, used).sum()
    return shared.sum() / (unions.sum() + missed + unused)


def _dq(pairs):
    """Detection quality: F1 of the pairs with IoU > 0.5, which are unique."""
    return 2 * (_ious(pairs) > 0.5).sum() / (len(pairs.predicted_areas) + len(pairs.true_areas))


def _sq(pairs):
    """Segmentation quality: mean IoU of the pairs with IoU > 0.5."""
    ious = _ious(pairs)
    return ious[ious > 0.5].sum() / max((ious > 0.5).sum(), 1)


def panoptic(predicted, true):
    """Panoptic quality PQ = DQ x SQ of two label maps [Kirillov et al. 2019].

    Returns:
        A named tuple `pq, dq, sq`, each 0 to 1.
    """
    pairs = overlap(predicted, true)
    dq, sq = _measure(_dq).equation(pairs), _measure(_sq).equation(pairs)
    return Panoptic(dq * sq, dq, sq)


@_measure
def f1(pairs):
    """F1 of the detections [GlaS challenge, Sirinukunwattana et al. 2017].

    A prediction is right if it covers more than half of the true nucleus that it shares most pixels with. So
    it asks less of the outline than DQ, and of two true nuclei under one prediction at most one is found.
    """
    order = np.lexsort((-pairs.shared, pairs.predicted))
    _, first = np.unique(pairs.predicted[order], return_index=True)
    most = order[first]
    right = (2 * pairs.shared[most] > pairs.true_areas[pairs.true[most]]).sum()
    return 2 * right / (len(pairs.predicted_areas) + len(pairs.true_areas))


MEASURES = {
    "dice1": dice1,
    "dice2": dice2,
    "dice": dice_average,
    "aji": aji,
    "pq": _measure(lambda pairs: _dq(pairs) * _sq(pairs)),
    "dq": _measure(_dq),
    "sq": _measure(_sq),
    "f1": f1,
}


def scores(predicted, true):
    """All measures of two label maps.

    Args:
        predicted: (h, w) integer ids, 0 = background.
        true: (h, w) integer ids, 0 = background.

    Returns:
        Dict with the keys of `MEASURES`; floats from 0 to 1. Both maps empty: all 1; one: all 0.

    Raises:
        ValueError: if the shapes differ, or the maps do not hold integers of at least 0.
    """
    pairs = overlap(predicted, true)
    return {name: measure.equation(pairs) for name, measure in MEASURES.items()}


def mean(rows):
    """Mean of every measure over a list of dicts that hold `MEASURES`."""
    return {name: float(np.mean([row[name] for row in rows])) for name in MEASURES}


def with_mean(rows, column="image"):
    """Appends the mean of every measure, called `mean` in a column, to a list of dicts; no rows, no mean."""
    return [*rows, {column: "mean", **mean(rows)}] if rows else []


def cells(rows, columns=("image",)):
    """Lists of texts, the header first: `columns` of a list of dicts, then the measures with four decimals."""
    texts = [[str(row.get(name, "")) for name in columns] + [f"{row[name]:.4f}" for name in MEASURES] for row in rows]
    return [[*columns, *MEASURES], *texts]


def aligned(rows, columns=("image",)):
    """Text table of such a list of dicts."""
    return tables.aligned(cells(rows, columns), len(columns))


def markdown(rows, columns=("image",)):
    """Markdown table of such a list of dicts."""
    return tables.markdown(cells(rows, columns), len(columns))


def _maps(folder):
    """Label maps of a folder, of which there must be one: stem without `_labels` -> path.

    If the folder holds files named `_labels`, they alone are label maps, the others being images.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"Expected a folder of label maps. Received: {folder}.")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in image_files.MAPS)
    if not paths:
        raise ValueError(f"Expected label maps ({', '.join(image_files.MAPS)}). Received: none in {folder}.")
    named = [p for p in paths if p.stem.endswith(image_files.SUFFIX)]
    return {p.stem.removesuffix(image_files.SUFFIX): p for p in named or paths}


def _compare(predicted, true):
    """Rows for the stems of two folders, and how many of them failed with a complaint."""
    rows, failures = [], 0
    for stem in sorted(predicted.keys() | true.keys()):
        try:
            if stem not in predicted or stem not in true:
                raise ValueError(f"Expected a label map in both folders. Received: {stem} in one.")
            rows.append({"image": stem, **scores(image_files.read(predicted[stem]), image_files.read(true[stem]))})
        except (ValueError, OSError) as error:
            command.complain(f"{stem}: {error}")
            failures += 1
    return rows, failures


@command.command
def main(argv=None):
    """Compares two folders of label maps; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=command.program("hou_synth.metrics"), description="Compare two folders of label maps."
    )
    parser.add_argument("predicted", help="folder of label maps (PNG, TIFF or NPY)")
    parser.add_argument("true", help="folder of label maps; matched by name, a `_labels` suffix left out")
    parser.add_argument("--out", help="CSV file for the table")
    args = parser.parse_args(argv)
    if args.out:
        files.refuse_existing(args.out)
    rows, failures = _compare(_maps(args.predicted), _maps(args.true))
    if not rows:
        raise ValueError("Expected label maps that can be compared. Received: none, see above.")
    rows = with_mean(rows)
    print(aligned(rows))
    if args.out:
        files.write_csv(args.out, rows, ("image", *MEASURES))
    return command.MISTAKE if failures else 0


if __name__ == "__main__":
    sys.exit(main())
