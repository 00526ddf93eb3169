"""A trained model adapted to one's own tiles, without labels: `python -m train.adapt --tiles DIR`."""

import argparse
import contextlib
import os
import pathlib
import sys

from data import tile_options
from hou_synth import options, released
from hou_synth.io import command, locks


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=command.program("train.adapt"),
        description="Adapt a trained nucleus segmenter to unlabelled H&E tiles: it labels them itself, learns from "
        "what it is sure of, and keeps what it learned if a criterion without labels says that it is better.",
    )
    tile_options.add_tiles(parser, "folder of tiles", required=True)
    parser.add_argument(
        "--model", type=pathlib.Path, help=f"run folder or SavedModel (default: the released {released.NAME})"
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/adapted"), help="run [runs/adapted]")
    parser.add_argument("--bank", help="tile bank (default: banks/ beside the run folder)")
    parser.add_argument("--rebuild", action="store_true", help="replace a --bank that is damaged or has other settings")
    parser.add_argument(
        "--models", type=pathlib.Path, default=pathlib.Path("saved_models"), help="for the SavedModel [saved_models]"
    )
    parser.add_argument(
        "--segment", type=pathlib.Path, metavar="OUT", help="segment the tiles into this folder with what comes out"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, if there is one")
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--workers", type=int, default=cores // 4, help=f"processes that synthesise; 0: threads [{cores // 4}]"
    )
    options.add_configuration(parser, "adapt", ("synthesis", "schedule"))
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Adapts, exports, segments; returns the exit code."""
    args = arguments(argv)

    from train.runs import adaptation, finetuning, record
    from train.runs.callbacks import Clock

    clock, start = Clock(), finetuning.beginning(args.model or released.model())
    settings = adaptation.settings(start, options.configuration(args, "adapt"))
    with locks.exclusive(args.out):
        record.check(args.out, settings, args.resume)
        if args.segment:
            adaptation.check_room(args.out, args.tiles, args.segment)
        adapt(args, settings, start, clock)
        failures = adaptation.segmented(args.out, tile_options.named(args), args.segment) if args.segment else 0
    return command.MISTAKE if failures else 0


def adapt(args, settings, start, clock):
    """Adapts and exports; says so of a run that is finished.

    Args:
        args: parsed command line.
        settings: `Config`.
        start: folder of what the run begins with.
        clock: `train.runs.callbacks.Clock` that was started with the command.
    """
    from data import pipeline
    from train.runs import adaptation, finetuning, record, universal_training

    network, tissue = finetuning.network(start), tile_options.named(args)
    bank = universal_training.prepared(tissue, settings, args.bank, args.out, args.rebuild)
    adaptation.check_tiles(bank)
    universal_training.begin(args.out, settings, bank, tissue, adapted_from=adaptation.origin(start))
    if told := record.finished(args.out):
        print(told, end="")
        return
    with contextlib.closing(pipeline.Source(bank, settings, args.workers)) as source:
        run = universal_training.train(args.out, settings, source, clock, start=network)
    universal_training.finish(run, args.models, clock.minutes())


if __name__ == "__main__":
    sys.exit(main())
