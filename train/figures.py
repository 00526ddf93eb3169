"""The paper's figures 6, 7 and 8, and the curves, from a run: `python -m train.figures --run DIR`."""

import argparse
import pathlib
import sys

from hou_synth.io import command


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=command.program("train.figures"), description="Draw the paper's figures of a run of train.universal."
    )
    parser.add_argument("--run", required=True, type=pathlib.Path, help="run folder, finished or with a checkpoint")
    parser.add_argument("--tiles", help="folder of tiles to use instead of the run's")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the figures (default: figures/ in the run folder)")
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Draws the figures and the page; returns the exit code."""
    args = arguments(argv)

    from train.pictures import report
    from train.runs import universal_run

    for path in report.write(universal_run.load(args.run, args.tiles), args.out or args.run / "figures"):
        print(path, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
