"""Ranks models without a label: `python -m train.ranking --model PATH... --tiles DIR`."""

import argparse
import itertools
import pathlib
import sys

import numpy as np
from scipy.stats import spearmanr
from tqdm import tqdm

import hou_synth
from data import tiles
from hou_synth import metrics
from hou_synth.io import command, files, tables
from hou_synth.normalise import reinhard
from train import evaluate
from train.judging.criterion import PARTS, criterion
from train.runs import labelled_sets

CROPS = 48  # of these, one from each tile if there are as many; 16 still leave an error of 0.02 in a difference; ours
SIDE = 256  # of a crop, in pixels; ours
REPORTED = ("dice", "aji")  # measures against labels that the criterion is compared with
RANKED = 3  # models that a rank correlation needs


def crops(folder, count=CROPS, seed=0):
    """Random crops of the tiles of a folder, colours moved to the fixed target.

    Args:
        folder: of images, at any depth, 40X; those smaller than a crop are left out.
        count: of the crops; from different tiles as long as there are some.
        seed: that chooses tiles and places.

    Returns:
        (count, 256, 256, 3) uint8 RGB.

    Raises:
        ValueError: for a folder without a tile that is large enough, or a tile that cannot be read.
    """
    random = np.random.default_rng(seed)
    found, cut = tiles.folder_sources(folder), []
    for number in itertools.chain.from_iterable(random.permutation(len(found)) for _ in range(count)):
        image = found[number].read()
        if min(image.shape[:2]) >= SIDE:
            y, x = (int(random.integers(side - SIDE + 1)) for side in image.shape[:2])
            cut.append(reinhard(image)[y : y + SIDE, x : x + SIDE])
        if len(cut) == count:
            return np.stack(cut)
    raise ValueError(f"Expected tiles of at least {SIDE}x{SIDE} pixels. Received: too few in {folder}.")


def measured(path, images, found):
    """Row of a model: `model`, `PARTS`, and the mean scores "set measure" on labelled sets.

    Args:
        path: of a SavedModel.
        images: as for `criterion`.
        found: name of a set -> list of `data.labelled.reader.Entry`.
    """
    model = hou_synth.load(path)
    row = {"model": path, **criterion(model.network, images, model.thresholds)}
    for name, entries in found.items():
        scores = metrics.mean(evaluate.measured_set(model.segment, name, entries))
        row |= {f"{name} {measure}": scores[measure] for measure in REPORTED}
    return row


def correlations(rows, names):
    """Spearman's rank correlation over models of each part with each score.

    Args:
        rows: list of dicts of `PARTS` and the scores.
        names: of the scores.

    Returns:
        List of dicts of `part` and the scores; nan where all values are the same.
    """

    def rank(part, name):
        values = [[row[key] for row in rows] for key in (part, name)]
        return float(spearmanr(*values)[0]) if all(len(set(each)) > 1 for each in values) else float("nan")

    return [{"part": part, **{name: rank(part, name) for name in names}} for part in PARTS]


def aligned(rows):
    """Text table of a list of dicts whose first value is a word."""
    columns = list(rows[0])
    return tables.aligned([columns, *([row[columns[0]], *(f"{row[c]:.4f}" for c in columns[1:])] for row in rows)], 1)


def arguments(argv):
    """Parsed command line."""
    parser = argparse.ArgumentParser(prog="train.ranking", description="Ranks models without a label, best first.")
    parser.add_argument("--model", nargs="+", required=True, metavar="PATH", help="SavedModels")
    parser.add_argument("--tiles", required=True, type=pathlib.Path, help="folder of images without labels, 40X")
    parser.add_argument("--seed", type=int, default=0, help="chooses the crops of the tiles (default: 0)")
    labelled_sets.add_data(parser)
    parser.add_argument("--out", type=pathlib.Path, help="CSV file for the models")
    args = parser.parse_args(argv)
    if args.out:
        files.refuse_existing(args.out)
    return args


@command.command
def main(argv=None):
    """Ranks models and prints the table; returns the exit code."""
    args = arguments(argv)
    found = labelled_sets.sets(args, args.data) if args.data else {}
    images = crops(args.tiles, seed=args.seed)
    rows = [measured(model, images, found) for model in tqdm(args.model, desc="models", unit="model", disable=None)]
    rows.sort(key=lambda row: -row["criterion"])
    print(aligned(rows))
    names = list(rows[0])[1 + len(PARTS) :]
    if names and len(rows) >= RANKED:
        print(f"\nrank correlation over {len(rows)} models\n{aligned(correlations(rows, names))}")
    if args.out:
        files.write_csv(args.out, rows, list(rows[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
