"""How real refined patches are, by measures that training does not optimise: `python -m train.diagnose --run DIR`."""

import argparse
import pathlib
import sys

from hou_synth.io import command, files, tables
from train.judging import comparison, unseen
from train.runs import universal_run

HEAD = ("type", "patches", "tiles", "measure")


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.diagnose",
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
    settings = universal_run.settings(args.run)
    bank, trainer = universal_run.bank(args.run, settings, args.tiles), universal_run.load(args.run, settings)
    rows = comparison.table(comparison.measured(trainer, unseen.examples(bank, settings, args.count)))
    lines = cells(rows)
    print(tables.aligned(lines, len(lines[0])))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        each = [f"{name}{end}" for name in comparison.COLUMNS for end in ("", "_low", "_high")]
        files.write_csv(args.out, rows, (*HEAD, *each))
        files.write_text(args.out.with_suffix(".md"), tables.markdown(lines, len(lines[0])) + "\n")
    return 0


def cells(rows):
    """Texts of a table, its header first: each value with its interval in brackets."""
    lines = [[*HEAD, *comparison.COLUMNS]]
    for row in rows:
        lines.append([str(row[name]) or "-" for name in HEAD] + [_value(row, name) for name in comparison.COLUMNS])
    return lines


def _value(row, name):
    if name not in row:
        return "-"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return f"{row[name]:.3g}" + (f" ({low:.3g} to {high:.3g})" if low is not None else "")


if __name__ == "__main__":
    sys.exit(main())
