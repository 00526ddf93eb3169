"""From a label-free model to one's own labels: `python -m train.finetune --data DIR...`."""

import argparse
import pathlib
import sys

from hou_synth import options, released
from hou_synth.io import command
from train.runs import labelled_options


def arguments(argv):
    """The command line."""
    updates, rate = labelled_options.FINETUNE_UPDATES, labelled_options.FINETUNE_RATE
    parser = argparse.ArgumentParser(
        prog=command.program("train.finetune"),
        description="Fine-tune a trained nucleus segmenter on labelled H&E images.",
    )
    parser.add_argument(
        "--model", type=pathlib.Path, help=f"run folder or SavedModel (default: the released {released.NAME})"
    )
    labelled_options.add_training_data(parser, required=True)
    labelled_options.add_run(parser, "runs/finetuned", 0.0)
    parser.add_argument("--updates", type=int, default=updates, help=f"of the network's weights [{updates}]")
    parser.add_argument("--rate", type=options.finite, default=rate, help=f"first learning rate, for Adam [{rate}]")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers [0]")
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Fine-tunes, chooses the best epoch, exports; returns the exit code."""
    args = arguments(argv)

    from train.runs import finetuning, labelled_run
    from train.runs.callbacks import Clock

    clock, start = Clock(), finetuning.beginning(args.model or released.model())
    settings = finetuning.settings(start, args.rate, args.seed)
    plan = labelled_run.Plan(args.out, args.models, settings, args.updates, args.validation, start)
    images = labelled_run.images(labelled_options.named(args, args.data), args.only, args.skip)
    labelled_run.train(plan, images, args.resume, clock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
