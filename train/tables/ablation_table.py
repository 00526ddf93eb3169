"""The table of ablations: means over seeds, and differences that are paired by seed."""

import numpy as np

from hou_synth.io import files, tables
from train.judging import scores
from train.tables import sweep
from train.tables.ablations import ROWS

NOTE = (
    "Mean over seeds of the set's mean, and the standard deviation over seeds. All rows have the same number of task "
    "updates. The difference is to `all`, in DICE average, seed by seed. The paper's column is its Table 3: DICE "
    "average on MICCAI17."
)


def write(out, measured):
    """Writes `ablation.csv`, a row an image, and `ablation.md`, for each set a table with a row an ablation.

    Args:
        out: folder.
        measured: list of dicts of `row`, `seed`, `minutes` and `train.judging.scores.COLUMNS`.
    """
    files.write_csv(out / "ablation.csv", measured, ("row", "seed", *scores.COLUMNS))
    header = ["training", "seeds", "minutes", *scores.SHOWN.values(), "difference", "paper"]
    text = ""
    for name, own in scores.grouped(measured, "set").items():
        text += f"## {name}\n\n{tables.markdown([header, *lines(own)], len(header))}\n\n"
    files.write_text(out / "ablation.md", text + NOTE + "\n")


def lines(measured):
    """Rows of texts of one set's table, in the order of `ROWS`.

    Args:
        measured: as for `write`, of one set.
    """
    texts, whole = [], by_seed(measured, "all", "dice")
    for name, row in ROWS.items():
        own = {measure: by_seed(measured, name, measure) for measure in ("minutes", *scores.SHOWN)}
        if own["dice"]:
            about = [row.title, str(len(own["dice"])), f"{np.mean(list(own['minutes'].values())):.1f}"]
            paired = [value - whole[seed] for seed, value in own["dice"].items() if seed in whole and name != "all"]
            spreads = [spread(own[measure].values()) for measure in scores.SHOWN]
            texts.append([*about, *spreads, spread(paired, "+.3f"), row.paper])
    return texts


def by_seed(measured, name, measure):
    """Seed -> mean of a measure over the images of a row's cell."""
    own = [row for row in measured if row["row"] == name]
    seeds = dict.fromkeys(row["seed"] for row in own)
    return {seed: sweep.mean([row for row in own if row["seed"] == seed], measure) for seed in seeds}


def spread(values, form=".3f"):
    """Text of a mean and, of two values or more, their standard deviation; empty without values."""
    values = list(values)
    text = f"{np.mean(values):{form}}" if values else ""
    return text + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")
