"""The whole method, phase by phase: `python -m train.universal --tiles DIR`."""

import argparse
import contextlib
import os
import pathlib
import sys

from data import tile_options
from hou_synth import options
from hou_synth.io import command, locks
from train.runs import labelled_options

STRATEGIES = ("one", "mirrored", "multiworker")  # see `train.loop.devices.strategy`


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=command.program("train.universal"), description="Train a nucleus segmenter on unlabelled H&E tiles."
    )
    tile_options.add_tiles(parser, "folder of tiles (default: the embedded tissue)", "tiles-")
    parser.add_argument("--patches", metavar="FILE", help="of data.synthesize: initial patches in place of fresh ones")
    labelled_options.add_training_data(parser, "--labelled")
    parser.add_argument("--out", help="run folder (default: runs/<preset>)")
    parser.add_argument("--bank", help="tile bank (default: banks/ beside the run folder)")
    parser.add_argument("--rebuild", action="store_true", help="replace a --bank that is damaged or has other settings")
    parser.add_argument("--models", default="saved_models", help="where the SavedModel goes [saved_models]")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, if there is one")
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--workers", type=int, default=cores // 4, help=f"processes that synthesise; 0: threads [{cores // 4}]"
    )
    parser.add_argument(
        "--strategy", choices=STRATEGIES, default="one", help="one device, all of the machine's, or TF_CONFIG's"
    )
    options.add_configuration(parser, "thorough with --tiles, else quick")
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Trains, exports, scores; returns the exit code."""
    args = arguments(argv)

    from data import pipeline
    from train.loop import devices, limits
    from train.runs import labelled_run, record, universal_training
    from train.runs.callbacks import Clock

    strategy = devices.strategy(args.strategy)  # first of all that TensorFlow does
    clock = Clock()
    tissue, settings = tile_options.named(args), options.configuration(args, "thorough" if args.tiles else "quick")
    labelled_options.check(args, args.labelled)
    limits.check(settings)
    limits.check_beginning(settings.schedule, trained=False)
    devices.check(strategy, settings.schedule, bool(args.labelled or settings.schedule.self_rounds))
    out = pathlib.Path(args.out or f"runs/{settings.preset}")
    with devices.folder(strategy, out, args.resume) as folder, locks.exclusive(folder):
        record.check(folder, settings, args.resume)
        named = labelled_options.named(args, args.labelled)
        images = labelled_run.images(named, args.only, args.skip) if args.labelled else []
        bank = universal_training.prepared(tissue, settings, args.bank, folder, args.rebuild)
        stored = universal_training.stored(args.patches, settings, bank)
        universal_training.begin(folder, settings, bank, tissue, images, patches=stored and stored.about)
        if told := record.finished(folder):
            print(told, end="")
            return 0
        with contextlib.closing(pipeline.Source(bank, settings, args.workers, images, stored)) as source:
            run = universal_training.train(folder, settings, source, clock, strategy)
        models = pathlib.Path(args.models) if strategy.extended.should_checkpoint else folder.parent / "models"
        universal_training.finish(run, models, clock.minutes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
