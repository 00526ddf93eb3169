"""Which thresholds suit a run's network, without a label.

The criterion alone cannot choose them, as nuclei that are merged in every view agree with themselves. Nor can painted
patches, whose borders are clearer than real ones. So both must be good: of the settings whose product of the two is not
certainly lower than the best, the one whose nuclei agree best is chosen [ours].
"""

import dataclasses
import itertools

import numpy as np
from tqdm import tqdm

from hou_synth import metrics
from train.judging import criterion, unseen
from train.runs import kept_state, self_training

TRIED = {"seed_height": (0.2, 0.3, 0.4, 0.5), "mean_min": (0.55, 0.65, 0.75, 0.85), "line": (0, 1, 2)}  # ours
COLUMNS = (*TRIED, "agreement", "criterion", "painted_pq", "product")
PAINTED = 192  # unseen painted patches; of 60 the PQ of two settings still differs by 0.01 from set to set; ours
SETS = 2  # of `choice.CROPS` crops of the tiles; ours


def judged(run):
    """Judges every combination of `TRIED`.

    Args:
        run: `train.runs.universal_run.Run`, whose task network gives the maps and whose other thresholds stay.

    Returns:
        List of dicts of `COLUMNS`, in the order of `ranked`: the mean agreement and criterion of `SETS` sets of crops
        (`train.judging.criterion`), the mean PQ on painted patches as large as the crops, and the product of the last
        two.

    Raises:
        ValueError: if no tile is large enough for a crop.
    """
    seed, by_type = run.settings.schedule.seed, run.settings.synthesis.by_type
    sets = [kept_state.crops(run.bank, seed + number, by_type) for number in range(SETS)]
    if sets[0] is None:
        raise ValueError(
            f"Expected tiles of at least {criterion.MULTIPLE}x{criterion.MULTIPLE} pixels. Received: none."
        )
    network = self_training.callable_of(run.trainer)
    seen = [(criterion.maps(network, crops), criterion.otsu_shares(crops)) for crops in sets]
    maps, truths = painted(run, sets[0].shape[1])
    rows = []
    for values in tqdm(list(itertools.product(*TRIED.values())), "thresholds", disable=None):
        chosen = dict(zip(TRIED, values, strict=True))
        tried = dataclasses.replace(run.settings.instances, **chosen)
        parts = [criterion.judged(*crops, tried) for crops in seen]
        means = {name: float(np.mean([part[name] for part in parts])) for name in ("agreement", "criterion")}
        pairs = zip(criterion.nuclei(maps, tried), truths, strict=True)
        quality = float(np.mean([metrics.panoptic(*pair).pq for pair in pairs]))
        rows.append({**chosen, **means, "painted_pq": quality, "product": means["criterion"] * quality})
    return ranked(rows)


def ranked(rows):
    """Rows whose product is not certainly lower than the best come first, by agreement; then the others, by product.

    What is certain is a difference of the criterion of over `train.runs.kept_state.ERROR`, at the best row's PQ. Of
    rows that agree equally the one with the higher product comes first, and the other way round.
    """
    best = max(rows, key=lambda row: row["product"])
    least = best["product"] - kept_state.ERROR * best["painted_pq"]
    close = [row for row in rows if row["product"] >= least]
    others = [row for row in rows if row["product"] < least]
    close.sort(key=lambda row: (row["agreement"], row["product"]), reverse=True)
    others.sort(key=lambda row: (row["product"], row["agreement"]), reverse=True)
    return close + others


def painted(run, side):
    """Maps of unseen synthetic patches, refined if the run refines, and their true nuclei.

    Returns:
        List of (s, s, 2) float32, list of (s, s) int32.
    """
    examples = unseen.examples(run.bank, run.settings, PAINTED, side)
    maps = unseen.maps(run.trainer, examples)
    return maps, [example.labels.astype(np.int32) for example in examples]


def lines(rows):
    """Texts of a table of such rows, its header first."""
    return [
        list(COLUMNS),
        *([str(row[name]) if name in TRIED else f"{row[name]:.4f}" for name in COLUMNS] for row in rows),
    ]
