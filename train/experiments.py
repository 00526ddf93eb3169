"""The paper's tables: `python -m train.experiments within|across|dataset --data DIR... --tiles DIR`."""

import argparse
import collections
import pathlib
import sys

import numpy as np

from data.labelled import reader
from hou_synth import options
from hou_synth.io import command, files, tables
from train import finetune
from train.loop import limits, phases
from train.runs import labelled_sets
from train.tables import budget, protocols, sweep


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.experiments", description="Train and measure the cells of the paper's tables."
    )
    parser.add_argument("protocol", choices=("within", "across", "dataset"))
    labelled_sets.add_data(parser, required=True)
    parser.add_argument("--test", nargs="+", metavar="DIR", help="for `dataset`: labelled images to test on")
    parser.add_argument("--tiles", help="unlabelled tiles for the label-free rows (default: the embedded tissue)")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("runs/experiments"), help="folder of the cells"
    )
    parser.add_argument("--minutes", type=float, help="bound of each training; the number of its updates is cut to it")
    parser.add_argument("--rows", nargs="+", choices=protocols.ROWS, default=protocols.ROWS, help="[all]")
    parser.add_argument("--networks", nargs="+", choices=tuple(protocols.NETWORKS), default=["unet", "cnn"])
    parser.add_argument("--folds", type=int, default=4, help="for `within`: splits [4]")
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 2, 4, 8], help="images to fine-tune with [1 2 4 8]")
    options.add_configuration(parser)
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Runs the cells that are not finished, measures them, writes the table; returns the exit code."""
    args = arguments(argv)
    if (args.protocol == "dataset") != bool(args.test):
        raise ValueError("Expected --test for the protocol dataset, and for no other.")
    settings = options.configuration(args, "cpu")
    limits.check(settings)
    learned = labelled_sets.sets(args, args.data)
    images = [entry for entries in learned.values() for entry in entries]
    twice = sorted(name for name, count in collections.Counter(image.name for image in images).items() if count > 1)
    if twice:
        raise ValueError(f"Expected images with different names in all sets. Received: {', '.join(twice)} twice.")
    tests = args.test or []
    tested = dict(zip(labelled_sets.names(tests), map(reader.find, tests), strict=True)) or {"+".join(learned): images}
    planned = protocols.cells(
        args.protocol, splits(args, images), args.networks, args.rows, args.shots, settings.schedule.seed
    )
    common = {"data": args.data, "tiles": args.tiles, "minutes": args.minutes, "folds": args.folds}
    sweep.same(args.out / "experiments.json", {**common, "options": options.given(args)})
    rows = []
    for number, cell in enumerate(planned, 1):
        print(f"cell {number} of {len(planned)}: {cell.name}", flush=True)
        if not sweep.finished(args.out, cell.name):
            sweep.train(cell.name, words(cell, args, settings))
        for name, entries in tested.items():
            rows += measure(cell, args.out, name, entries)
        write(rows, args, planned[:number])
    print(pathlib.Path(args.out / f"{args.protocol}.md").read_text(), end="")
    return 0


def splits(args, images):
    """The protocol's list of `protocols.Split`."""
    if args.protocol == "within":
        return protocols.within(images, args.folds)
    if args.protocol == "across":
        return protocols.across(images)
    return [protocols.Split("all", tuple(sorted(image.name for image in images)), ())]


def words(cell, args, settings):
    """The command line of a cell's training, from the module's name on."""
    where = sweep.places(args.out, cell.name)
    table = ["--images", *args.images] if args.images else []
    table += ["--format", args.format] if args.format else []
    table += ["--microns-per-pixel", str(args.microns_per_pixel)] if args.microns_per_pixel else []
    data = [*args.data, *table, "--only", *cell.training]
    wanted = [*options.given(args), "--network", cell.network]
    seed = ["--seed", str(settings.schedule.seed)]
    updates = phases.task_updates(phases.phases(settings.schedule))
    if cell.kind == "supervised":
        updates = budget.affordable(args.out, args.minutes, settings, cell, {"task": updates})["task"]
        return ["train.supervised", "--data", *data, *where, *wanted, "--updates", str(updates)]
    if cell.kind == "finetune":
        model = args.out / f"universal-{cell.network}"
        updates = budget.affordable(args.out, args.minutes, settings, cell, {"task": finetune.UPDATES})["task"]
        return ["train.finetune", "--model", str(model), "--data", *data, *where, *seed, "--updates", str(updates)]
    counts = budget.affordable(
        args.out, args.minutes, settings, cell, {name: getattr(settings.schedule, name) for name in budget.COUNTS}
    )
    schedule = [word for name, count in counts.items() for word in ("--" + name.replace("_", "-"), str(count))]
    tiles = ["--tiles", args.tiles] if args.tiles else []
    bank = ["--bank", str(args.out / "tiles.h5")]
    real = ["--labelled", *data] if cell.kind == "real" else []
    return ["train.universal", *tiles, *real, *bank, *where, *wanted, *schedule]


def measure(cell, out, name, entries):
    """Scores of a cell's model on its test images of a set, one row an image.

    Args:
        cell: a `protocols.Cell` that is trained.
        out: folder of the cells.
        name: of the set.
        entries: list of `data.labelled.reader.Entry`; if the cell names test images, those alone are measured.
    """
    tested = [entry for entry in entries if entry.name in cell.test or not cell.test]
    return [{"row": cell.row, "cell": cell.name, **row} for row in sweep.measured(out, cell.name, name, tested)]


def write(rows, args, trained):
    """Writes `<protocol>.csv`, a row an image, and `<protocol>.md`, the table, a row a kind of training."""
    files.write_csv(args.out / f"{args.protocol}.csv", rows, ("row", "cell", *sweep.COLUMNS))
    column = "set" if args.protocol == "dataset" else "type"
    groups = sorted({row[column] for row in rows})
    header = ["training", "images", "minutes", *sweep.SHOWN, *(f"dice {group}" for group in groups)]
    lines = []
    for name in dict.fromkeys(cell.row for cell in trained):
        own, several = [row for row in rows if row["row"] == name], [cell for cell in trained if cell.row == name]
        minutes = np.mean([sweep.minutes(args.out, cell.name) for cell in several])
        values = [f"{sweep.mean(own, measure):.3f}" for measure in sweep.SHOWN]
        values += [f"{sweep.mean([row for row in own if row[column] == group], 'dice'):.3f}" for group in groups]
        counts = sorted({len(cell.training) for cell in several})
        about = [protocols.title(name), "-".join(map(str, counts)), f"{minutes:.1f}"]
        lines.append([*about, *values, protocols.PAPER.get((args.protocol, name), "")])
    files.write_text(
        args.out / f"{args.protocol}.md",
        tables.markdown([[*header, "paper, DICE average"], *lines], len(header) + 1) + "\n",
    )


if __name__ == "__main__":
    sys.exit(main())
