"""Which thresholds suit a run's network, without a label: `python -m train.thresholds --run DIR`."""

import argparse
import pathlib
import sys

from hou_synth.io import command, files, tables


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=command.program("train.thresholds"),
        description="Compare thresholds from maps to nuclei for the network of a run, without a label; best first.",
    )
    parser.add_argument("--run", required=True, type=pathlib.Path, help="run folder of train.universal")
    parser.add_argument("--tiles", help="folder of tiles to use instead of the run's")
    parser.add_argument("--out", type=pathlib.Path, help="CSV file for the table")
    args = parser.parse_args(argv)
    if args.out:
        files.refuse_existing(args.out)
    return args


@command.command
def main(argv=None):
    """Prints the table; returns the exit code."""
    args = arguments(argv)

    from train.judging import threshold_search
    from train.runs import universal_run

    rows = threshold_search.judged(universal_run.load(args.run, args.tiles))
    print(tables.aligned(threshold_search.lines(rows), 0))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        files.write_csv(args.out, rows, threshold_search.COLUMNS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
