"""From a label-free model to one's own labels: `python -m train.finetune --model RUN --data DIR...`."""

import argparse
import dataclasses
import pathlib
import sys

from hou_synth import command, config
from train import real, supervised
from train.callbacks import Clock

UPDATES = 400  # of the network; ours
RATE = 2e-4  # first learning rate, a fifth of the preset's; ours


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.finetune", description="Fine-tune a trained nucleus segmenter on labelled H&E images."
    )
    parser.add_argument("--model", required=True, type=pathlib.Path, help="run folder with config.json and task.keras")
    real.add_data(parser, required=True)
    supervised.add_run(parser, "runs/finetuned", 0.0)
    parser.add_argument("--updates", type=int, default=UPDATES, help=f"of the network [{UPDATES}]")
    parser.add_argument("--rate", type=float, default=RATE, help=f"first learning rate, for Adam [{RATE}]")
    parser.add_argument("--seed", type=int, default=0, help="[0]")
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Fine-tunes, chooses the best epoch, exports; returns the exit code."""
    clock = Clock()
    args = arguments(argv)
    for name in ("config.json", "task.keras"):
        if not (args.model / name).is_file():
            raise ValueError(f"Expected --model to be a run folder with {name}. Received: {args.model}.")
    settings = config.load(args.model / "config.json")
    schedule = dataclasses.replace(settings.schedule, task_rate=args.rate, seed=args.seed, optimizer="adam", decay=True)
    settings = dataclasses.replace(settings, schedule=schedule)
    return supervised.train(args, settings, args.updates, clock, args.model)


if __name__ == "__main__":
    sys.exit(main())
