"""Ranks models without a label: `python -m train.ranking --model PATH... --tiles DIR`."""

import argparse
import pathlib
import sys

from hou_synth.io import command, files
from train.runs import labelled_options

RANKED = 3  # models that a rank correlation needs


def arguments(argv):
    """Parsed command line."""
    parser = argparse.ArgumentParser(
        prog=command.program("train.ranking"), description="Rank models without a label, best first."
    )
    parser.add_argument(
        "--model", nargs="+", required=True, metavar="PATH", help="SavedModels: saved_models/<name> or <name>/<version>"
    )
    parser.add_argument("--tiles", required=True, type=pathlib.Path, help="folder of images at 40X, without labels")
    parser.add_argument("--seed", type=int, default=0, help="chooses the crops of the tiles [0]")
    labelled_options.add_data(parser, about="labelled images, to compare the ranking with what labels say")
    parser.add_argument("--out", type=pathlib.Path, help="CSV file for the models")
    args = parser.parse_args(argv)
    if args.out:
        files.refuse_existing(args.out)
    return args


@command.command
def main(argv=None):
    """Ranks models and prints the table; returns the exit code."""
    args = arguments(argv)

    from train.judging import ranking
    from train.runs import labelled_sets

    sets = labelled_sets.sets(labelled_options.named(args, args.data)) if args.data else {}
    rows = ranking.ranked(args.model, ranking.crops(args.tiles, seed=args.seed), sets)
    print(ranking.aligned(rows))
    if sets and len(rows) >= RANKED:
        print(f"\nrank correlation over {len(rows)} models\n{ranking.aligned(ranking.correlations(rows))}")
    if args.out:
        files.write_csv(args.out, rows, list(rows[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
