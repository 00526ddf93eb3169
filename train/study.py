"""Reader studies: what their answers say, and new ones: `python -m train.study STUDY`."""

import argparse
import pathlib
import sys

from data import tile_options
from hou_synth.io import command, files

COUNTS = 100, 133  # patches of each kind [paper, Sec. 4.3]; fields [Sec. 5.3]
SIDE = 500  # pixels of a field's sides [paper, Sec. 5.3]


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=command.program("train.study"),
        description="Print the result of a reader study; or make one: of real, initial and refined patches (--run), or "
        "of the outlines of two models on the same fields (--model A B --tiles DIR).",
    )
    parser.add_argument("study", type=pathlib.Path, metavar="STUDY", help="folder of the study")
    parser.add_argument("--csv", type=pathlib.Path, metavar="FILE", help="write the answers as a table too")
    made = parser.add_mutually_exclusive_group()
    made.add_argument("--run", type=pathlib.Path, help="make a study of patches of this run of train.universal")
    made.add_argument("--model", nargs=2, metavar=("A", "B"), help="make a study of the outlines of two SavedModels")
    tile_options.add_tiles(parser, "folder of tiles; with --run, in place of the run's")
    parser.add_argument("--count", type=int, help=f"patches of each kind [{COUNTS[0]}], or fields [{COUNTS[1]}]")
    parser.add_argument("--side", type=int, default=SIDE, help=f"pixels of a field's sides at 40X [{SIDE}]")
    parser.add_argument("--seed", type=int, default=0, help="of patches, fields and orders [0]")
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Prints the result of a study, or makes one; returns the exit code."""
    args = arguments(argv)
    if args.run or args.model:
        make(args)
        print(f"made: {args.study}")
        return 0

    from train.studies import results

    print(results.text(args.study))
    if args.csv:
        files.refuse_existing(args.csv)
        files.write_csv(args.csv, results.rows(args.study), results.COLUMNS)
    return 0


def make(args):
    """Makes the study that a command line asks for.

    Raises:
        ValueError: for numbers out of range, options that do not fit, or something else in the folder.
    """
    tissue, count = tile_options.named(args), COUNTS[bool(args.model)] if args.count is None else args.count
    if count < 1 or args.side < 1 or args.seed < 0:
        raise ValueError(
            "Expected a count and a side of at least 1 and a seed of at least 0. "
            f"Received: {count}, {args.side} and {args.seed}."
        )
    if args.csv:
        raise ValueError("Expected --csv for a study that is there. Received: one to be made.")
    if args.model and not args.tiles:
        raise ValueError("Expected --tiles with --model A B. Received: none.")
    files.refuse_existing(args.study)

    from train.studies import making

    if args.run:
        making.reality(args.study, args.run, tissue if args.tiles else None, count, args.seed)
    else:
        making.outlines(args.study, args.model, tissue, count, args.side, args.seed)


if __name__ == "__main__":
    sys.exit(main())
