"""The paper's supervised baseline, on labelled images: `python -m train.supervised --data DIR...`."""

import argparse
import sys

from hou_synth import options
from hou_synth.io import command
from train.runs import labelled_options


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=command.program("train.supervised"), description="Train a nucleus segmenter on labelled H&E images."
    )
    labelled_options.add_training_data(parser, required=True)
    labelled_options.add_run(parser, "runs/supervised", labelled_options.VALIDATION)
    parser.add_argument(
        "--updates", type=int, help="of the network's weights (default: as many as the label-free run of the preset)"
    )
    options.add_configuration(parser, "cpu")
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Trains, chooses the best epoch, exports; returns the exit code."""
    args = arguments(argv)

    from train.loop import phases
    from train.runs import labelled_run
    from train.runs.callbacks import Clock

    clock, settings = Clock(), options.configuration(args, "cpu")
    updates = phases.task_updates(phases.phases(settings.schedule)) if args.updates is None else args.updates
    plan = labelled_run.Plan(args.out, args.models, settings, updates, args.validation)
    images = labelled_run.images(labelled_options.named(args, args.data), args.only, args.skip)
    labelled_run.train(plan, images, args.resume, clock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
