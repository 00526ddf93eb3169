"""How real refined patches are, by measures that training does not optimise: `python -m train.diagnose --run DIR`."""

import argparse
import json
import pathlib
import sys

import keras
import tensorflow as tf

from data import tiles
from hou_synth import command, config, files
from train import comparison, phases, sheet
from train.callbacks import Clock
from train.checkpoints import Checkpoints
from train.trainer import UniversalTrainer

HEAD = ("type", "patches", "tiles", "measure")
NETWORKS = ("refiner", "discriminator", "task")


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
    if not (args.run / "config.json").exists():
        raise ValueError(f"Expected a run folder of train.universal. Received: {args.run}, which has no config.json.")
    settings = config.load(args.run / "config.json")
    bank = prepare(args.run, settings, args.tiles)
    trainer = load(args.run, settings)
    rows = comparison.table(comparison.measured(trainer, sheet.unseen(bank, settings, args.count)))
    lines = cells(rows)
    print(aligned(lines))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        each = [f"{name}{end}" for name in comparison.COLUMNS for end in ("", "_low", "_high")]
        files.write_csv(args.out, rows, (*HEAD, *each))
        files.write_text(args.out.with_suffix(".md"), markdown(lines) + "\n")
    return 0


def prepare(run, settings, folder=None):
    """The bank of a run, or of another folder of tiles.

    Raises:
        ValueError: if there are no such tiles, or none that a patch fits.
    """
    about = json.loads((run / "run.json").read_text())
    own = None if about["tiles"] == tiles.EMBEDDED else about["tiles"]
    path = None if folder else about["bank"]
    bank = tiles.prepare(folder or own, settings.synthesis, path, run.parent / "banks")
    bank.fitting(settings.schedule.patch)
    return bank


def load(run, settings):
    """The trainer of a run as its last checkpoint left it, or as the networks that a finished run kept.

    Args:
        run: folder.
        settings: `Config`.

    Raises:
        ValueError: if there is neither, or they are of other networks.
    """
    trainer = UniversalTrainer(settings, phases.task_updates(phases.phases(settings.schedule)))
    counts = {name: tf.Variable(0, dtype=tf.int64) for name in ("done", "progress")}
    states = Checkpoints(run / "checkpoints", trainer=trainer, clock=Clock(), **counts)
    kept = run / f"{NETWORKS[-1]}.keras"
    try:
        states.restore()
    except ValueError:
        if not kept.exists():
            raise
        states.whole.clear()  # a checkpoint of an earlier version, whose networks are still good
    if not states.whole:
        if not kept.exists():
            raise ValueError(f"Expected a checkpoint or the networks of a run in {run}. Received: neither.")
        for name in NETWORKS:
            setattr(trainer, name, keras.saving.load_model(run / f"{name}.keras", compile=False))
    return trainer


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


def aligned(lines):
    """Text table."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def markdown(lines):
    """Markdown table."""
    texts = [[text.replace("|", r"\|") for text in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in [texts[0], ["---"] * len(texts[0]), *texts[1:]])


if __name__ == "__main__":
    sys.exit(main())
