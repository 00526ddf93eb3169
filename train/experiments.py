"""The paper's tables: `python -m train.experiments within|across|dataset --data DIR... --tiles DIR`."""

import argparse
import pathlib
import sys

from hou_synth import options
from hou_synth.io import command
from train.runs import labelled_options
from train.tables import protocols


def arguments(argv):
    """The command line.

    Raises:
        ValueError: for test sets of a protocol that has none, or none where there must be some.
    """
    parser = argparse.ArgumentParser(
        prog=command.program("train.experiments"), description="Train and measure the cells of the paper's tables."
    )
    parser.add_argument(
        "protocol",
        choices=("within", "across", "dataset"),
        help="which table: images of the same types held back, each type in turn, or other data sets",
    )
    labelled_options.add_data(parser, required=True)
    parser.add_argument("--test", nargs="+", metavar="DIR", help="for `dataset`: labelled images to test on")
    parser.add_argument("--tiles", help="unlabelled tiles for the label-free rows (default: the embedded tissue)")
    parser.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("runs/experiments"), help="folder of the cells"
    )
    parser.add_argument(
        "--minutes", type=options.finite, help="bound of each training; the number of its updates is cut to it"
    )
    parser.add_argument("--rows", nargs="+", choices=protocols.ROWS, default=protocols.ROWS, help="of the table [all]")
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=tuple(protocols.NETWORKS),
        default=("unet", "cnn"),
        help="of the rows [unet cnn]",
    )
    parser.add_argument("--folds", type=int, default=4, help="for `within`: how many times images are held back [4]")
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 2, 4, 8], help="images to fine-tune with [1 2 4 8]")
    options.add_configuration(parser, "cpu")
    args = parser.parse_args(argv)
    if (args.protocol == "dataset") != bool(args.test):
        raise ValueError("Expected --test for the protocol dataset, and for no other.")
    return args


@command.command
def main(argv=None):
    """Runs the cells that are not finished, measures them, writes the table; returns the exit code."""
    args = arguments(argv)

    from train.runs import labelled_sets
    from train.tables import protocol_table, sweep, trainings

    settings, named = options.configuration(args, "cpu"), labelled_options.named(args, args.data)
    sweep.check(settings)
    learned = labelled_sets.sets(named)
    images = [entry for entries in learned.values() for entry in entries]
    tested = labelled_sets.sets(labelled_options.Named(args.test or [])) or {"+".join(learned): images}
    splits = protocols.splits(args.protocol, images, args.folds)
    planned = protocols.cells(args.protocol, splits, args.networks, args.rows, args.shots, settings.schedule.seed)
    study = trainings.Study(args.out, named, settings, options.given(args), args.tiles, args.minutes)
    common = {"data": args.data, "tiles": args.tiles, "minutes": args.minutes, "folds": args.folds}
    sweep.same(args.out / "experiments.json", {**common, "options": study.options})
    rows = []
    for number, cell in enumerate(planned, 1):
        print(f"cell {number} of {len(planned)}: {cell.name}", flush=True)
        if not sweep.finished(args.out, cell.name):
            sweep.train(cell.name, study.words(cell))
        for name, entries in tested.items():
            rows += protocol_table.measured(cell, args.out, name, entries)
        protocol_table.write(args.out, args.protocol, rows, planned[:number])
    print((args.out / f"{args.protocol}.md").read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
