"""How real refined patches are, by measures that training does not optimise: `python -m train.diagnose --run DIR`."""

import argparse
import pathlib
import sys

from hou_synth.io import command, files, tables


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=command.program("train.diagnose"),
        description="Compare the initial and refined patches of a run with real ones, by tissue type.",
    )
    parser.add_argument("--run", required=True, type=pathlib.Path, help="run folder of train.universal")
    parser.add_argument("--tiles", help="folder of tiles to use instead of the run's: tissue that it never saw")
    parser.add_argument("--count", type=int, default=400, help="unseen synthetic patches [400]")
    parser.add_argument("--out", type=pathlib.Path, help="CSV file for the table; Markdown is put beside it")
    args = parser.parse_args(argv)
    if args.count < 1:
        raise ValueError(f"Expected --count of at least 1. Received: {args.count}.")
    if args.out and (args.out.suffix == ".md" or args.out.is_dir()):
        raise ValueError(f"Expected --out to be a CSV file; Markdown is put beside it. Received: {args.out}.")
    for path in filter(None, (args.out, args.out and args.out.with_suffix(".md"))):
        files.refuse_existing(path)
    return args


@command.command
def main(argv=None):
    """Measures a run and prints the table; returns the exit code."""
    args = arguments(argv)

    from train.judging import comparison, unseen
    from train.runs import universal_run

    run = universal_run.load(args.run, args.tiles)
    rows = comparison.table(comparison.measured(run.trainer, unseen.examples(run.bank, run.settings, args.count)))
    lines = comparison.lines(rows)
    print(tables.aligned(lines, len(lines[0])))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        columns = [f"{name}{end}" for name in comparison.COLUMNS for end in ("", "_low", "_high")]
        files.write_csv(args.out, rows, (*comparison.HEAD, *columns))
        files.write_text(args.out.with_suffix(".md"), tables.markdown(lines, len(lines[0])) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
