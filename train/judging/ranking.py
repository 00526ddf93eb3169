"""Models ranked by the criterion, which needs no label, and how that compares with scores on labelled images."""

import itertools

import numpy as np
from scipy.stats import spearmanr
from tqdm import tqdm

import hou_synth
from data import tiles
from hou_synth import metrics
from hou_synth.io import tables
from hou_synth.normalise import reinhard
from train.judging import evaluation
from train.judging.criterion import PARTS, criterion

CROPS = 48  # of these, one from each tile if there are as many; 16 still leave an error of 0.02 in a difference; ours
SIDE = 256  # of a crop, in pixels; ours
REPORTED = ("dice", "aji")  # measures against labels that the criterion is compared with


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
    sources, cut = tiles.folder_sources(folder), []
    for number in itertools.chain.from_iterable(random.permutation(len(sources)) for _ in range(count)):
        image = sources[number].read()
        if min(image.shape[:2]) >= SIDE:
            y, x = (int(random.integers(side - SIDE + 1)) for side in image.shape[:2])
            cut.append(reinhard(image)[y : y + SIDE, x : x + SIDE])
        if len(cut) == count:
            return np.stack(cut)
    raise ValueError(f"Expected tiles of at least {SIDE}x{SIDE} pixels. Received: too few in {folder}.")


def ranked(models, images, sets):
    """Rows of models as `measured` returns them, the best by the criterion first."""
    rows = [measured(model, images, sets) for model in tqdm(models, desc="models", unit="model", disable=None)]
    return sorted(rows, key=lambda row: -row["criterion"])


def measured(path, images, sets):
    """Row of a model: `model`, `PARTS`, and the mean scores "set measure" on labelled sets.

    Args:
        path: of a SavedModel.
        images: as for `criterion`.
        sets: name -> list of `data.labelled.reader.Entry`.
    """
    model = hou_synth.load(path)
    row = {"model": path, **criterion(model.network, images, model.thresholds)}
    for name, entries in sets.items():
        scores = metrics.mean(evaluation.measured_set(model.segment, name, entries))
        row |= {f"{name} {measure}": scores[measure] for measure in REPORTED}
    return row


def correlations(rows):
    """Spearman's rank correlation over models of each part of the criterion with each score.

    Args:
        rows: list of dicts of `model`, `PARTS` and the scores.

    Returns:
        List of dicts of `part` and the scores; nan where all values are the same.
    """
    names = [name for name in rows[0] if name not in ("model", *PARTS)]

    def rank(part, name):
        columns = [[row[key] for row in rows] for key in (part, name)]
        return float(spearmanr(*columns)[0]) if all(len(set(column)) > 1 for column in columns) else float("nan")

    return [{"part": part, **{name: rank(part, name) for name in names}} for part in PARTS]


def aligned(rows):
    """Text table of a list of dicts whose first value is a word."""
    columns = list(rows[0])
    return tables.aligned([columns, *([row[columns[0]], *(f"{row[c]:.4f}" for c in columns[1:])] for row in rows)], 1)
