"""The paper's ablations (Table 3) and their controls: `python -m train.ablation --tiles DIR --data DIR...`."""

import argparse
import dataclasses
import pathlib
import sys

import numpy as np

from hou_synth import options
from hou_synth.io import command, files, tables
from train.loop import limits
from train.runs import labelled_sets
from train.tables import sweep

NO_REFINER = {"refiner_steps": 0, "refiner_updates": 0}
NO_DISCRIMINATOR = {"discriminator_steps": 0, "discriminator_updates": 0}
NOTE = (
    "Mean over seeds of the set's mean, and the standard deviation over seeds. All rows have the same number of task "
    "updates. The difference is to `all`, in DICE average, seed by seed. The paper's column is its Table 3: DICE "
    "average on MICCAI17."
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        title: for a person.
        changes: what it changes of the configuration.
        paper: DICE average of the paper's Table 3 on MICCAI17.
    """

    title: str
    changes: dict
    paper: str = ""


ROWS = {
    "all": Row("all", {}, "0.7612"),
    "no-hard": Row("no hard examples", {"gamma": 0.0}, "0.7476"),
    "no-reference": Row("no reference patch", {"reference": False}, "0.7410"),
    "no-weights": Row("no importance weights", {"weighting": "none"}, "0.7533"),
    "shuffled": Row("weights shuffled among patches", {"weighting": "shuffle"}),
    "no-refiner": Row("no refiner: initial patches, weighted", NO_REFINER),
    "initial": Row("initial patches alone: no refiner, no weights", {**NO_REFINER, **NO_DISCRIMINATOR}),
}


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.ablation", description="Train and measure the method without each of its parts."
    )
    parser.add_argument("--tiles", help="folder of tiles at 40X (default: the embedded tissue)")
    labelled_sets.add_data(parser, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/ablation"), help="folder of the cells")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the runs of each row [0 1 2]")
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=tuple(ROWS), help="[all]")
    options.add_configuration(parser)
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Runs the cells that are not finished, seed by seed, measures them, writes the table; returns the exit code."""
    args = arguments(argv)
    check(args)
    sets = labelled_sets.sets(args, args.data)
    sweep.same(args.out / "ablation.json", {"data": args.data, "tiles": args.tiles, "options": options.given(args)})
    planned = [(row, seed) for seed in dict.fromkeys(args.seeds) for row in ROWS if row in args.rows]
    measured = []
    for number, (row, seed) in enumerate(planned, 1):
        name = f"{row}-seed{seed}"
        print(f"cell {number} of {len(planned)}: {name}", flush=True)
        if not sweep.finished(args.out, name):
            sweep.train(name, words(args, row, seed))
        for group, entries in sets.items():
            about = {"row": row, "seed": seed, "minutes": sweep.minutes(args.out, name)}
            measured += [{**about, **scores} for scores in sweep.measured(args.out, name, group, entries)]
        write(args.out, measured)
    print((args.out / "ablation.md").read_text(), end="")
    return 0


def check(args):
    """Refuses what cannot be trained, before anything is made.

    Raises:
        ValueError: for sizes that the networks cannot take, a seed beside `--seeds`, or a row that is like `all`.
    """
    if hasattr(args, "seed"):
        raise ValueError(f"Expected --seeds. Received: --seed {args.seed}.")
    whole = options.configuration(args, "cpu")
    limits.check(whole)
    for name in args.rows:
        changed = argparse.Namespace(**{**vars(args), **ROWS[name].changes})
        if ROWS[name].changes and options.configuration(changed, "cpu") == whole:
            raise ValueError(f"Expected rows that differ from `all`. Received: {name} with {ROWS[name].changes}.")


def words(args, row, seed):
    """The command line of a cell's training, from the module's name on."""
    tiles = ["--tiles", args.tiles] if args.tiles else []
    where = [*sweep.places(args.out, f"{row}-seed{seed}"), "--bank", str(args.out / "tiles.h5")]
    preset = [] if args.preset else ["--preset", "cpu"]
    changes = options.given(argparse.Namespace(**ROWS[row].changes))  # the last of an option's values counts
    return ["train.universal", *tiles, *where, *preset, *options.given(args), *changes, "--seed", str(seed)]


def write(out, measured):
    """Writes `ablation.csv`, a row an image, and `ablation.md`, for each set a table with a row an ablation.

    Args:
        out: folder.
        measured: list of dicts of `row`, `seed`, `minutes` and `cells.COLUMNS`.
    """
    files.write_csv(out / "ablation.csv", measured, ("row", "seed", *sweep.COLUMNS))
    header = ["training", "seeds", "minutes", "DICE 1", "DICE average", "AJI", "PQ", "difference", "paper"]
    text = ""
    for group in dict.fromkeys(row["set"] for row in measured):
        own = [row for row in measured if row["set"] == group]
        text += f"## {group}\n\n{tables.markdown([header, *lines(own)], len(header))}\n\n"
    files.write_text(out / "ablation.md", text + NOTE + "\n")


def lines(measured):
    """Rows of texts of one set's table, in the order of `ROWS`.

    Args:
        measured: as for `write`, of one set.
    """
    found, whole = [], by_seed(measured, "all", "dice")
    for name, row in ROWS.items():
        own = {measure: by_seed(measured, name, measure) for measure in ("minutes", *sweep.SHOWN)}
        if own["dice"]:
            about = [row.title, str(len(own["dice"])), f"{np.mean(list(own['minutes'].values())):.1f}"]
            paired = [value - whole[seed] for seed, value in own["dice"].items() if seed in whole and name != "all"]
            spreads = [spread(own[measure].values()) for measure in sweep.SHOWN]
            found.append([*about, *spreads, spread(paired, "+.3f"), row.paper])
    return found


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


if __name__ == "__main__":
    sys.exit(main())
