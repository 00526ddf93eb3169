"""From a label-free model to one's own labels: `python -m train.finetune --data DIR...`."""

import argparse
import dataclasses
import pathlib
import sys

from hou_synth import config, released
from hou_synth.io import command
from hou_synth.model import model_folder
from train import supervised
from train.runs import labelled_run
from train.runs.callbacks import Clock
from train.serving import assets

UPDATES = 400  # of the network; ours
MEAN_MIN = 0.65  # most of `mean_min`: networks that learn from labels are less sure of themselves; ours
RATE = 2e-4  # first learning rate, a fifth of the preset's; ours


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.finetune", description="Fine-tune a trained nucleus segmenter on labelled H&E images."
    )
    parser.add_argument(
        "--model", type=pathlib.Path, help=f"run folder or SavedModel (default: the released {released.NAME})"
    )
    labelled_run.add_data(parser, required=True)
    supervised.add_run(parser, "runs/finetuned", 0.0)
    parser.add_argument("--updates", type=int, default=UPDATES, help=f"of the network [{UPDATES}]")
    parser.add_argument("--rate", type=float, default=RATE, help=f"first learning rate, for Adam [{RATE}]")
    parser.add_argument("--seed", type=int, default=0, help="[0]")
    return parser.parse_args(argv)


def beginning(model):
    """The folder with the configuration and the network of a run, or of a SavedModel, which keeps both.

    Raises:
        ValueError: if it has not both.
    """
    try:
        folder = model_folder(model) / "assets.extra"
    except ValueError:
        folder = model
    for name in (assets.CONFIG, assets.TASK):
        if not (folder / name).is_file():
            raise ValueError(f"Expected --model to be a run folder or a SavedModel with {name}. Received: {model}.")
    return folder


@command.command
def main(argv=None):
    """Fine-tunes, chooses the best epoch, exports; returns the exit code."""
    clock = Clock()
    args = arguments(argv)
    model = beginning(args.model or released.model())
    settings = config.load(model / assets.CONFIG)
    schedule = dataclasses.replace(settings.schedule, task_rate=args.rate, seed=args.seed, optimizer="adam", decay=True)
    least = min(settings.instances.mean_min, MEAN_MIN)
    settings = dataclasses.replace(
        settings, schedule=schedule, instances=dataclasses.replace(settings.instances, mean_min=least)
    )
    return supervised.train(args, settings, args.updates, clock, model)


if __name__ == "__main__":
    sys.exit(main())
