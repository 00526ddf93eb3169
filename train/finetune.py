"""From a label-free model to one's own labels: `python -m train.finetune --model RUN --data DIR...`."""

import argparse
import dataclasses
import pathlib
import sys
import time

import keras

from hou_synth import command, config
from train import real, supervised
from train.task import TaskTrainer

UPDATES = 400
RATE = 2e-4


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.finetune", description="Fine-tune a trained nucleus segmenter on labelled H&E images."
    )
    parser.add_argument("--model", required=True, type=pathlib.Path, help="run folder with config.json and task.keras")
    real.add_data(parser, required=True)
    supervised.add_run(parser, "runs/finetuned")
    parser.add_argument("--updates", type=int, default=UPDATES, help=f"of the network [{UPDATES}]")
    parser.add_argument("--rate", type=float, default=RATE, help=f"first learning rate, for Adam [{RATE}]")
    parser.add_argument("--seed", type=int, default=0, help="[0]")
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Fine-tunes, chooses the best epoch, exports; returns the exit code."""
    started = time.monotonic()
    args = arguments(argv)
    for name in ("config.json", "task.keras"):
        if not (args.model / name).is_file():
            raise ValueError(f"Expected --model to be a run folder with {name}. Received: {args.model}.")
    settings = config.load(args.model / "config.json")
    schedule = dataclasses.replace(settings.schedule, task_rate=args.rate, seed=args.seed, optimizer="adam", decay=True)
    settings = dataclasses.replace(settings, schedule=schedule)
    function = lambda: trainer(settings, args.model, args.updates)  # noqa: E731
    return supervised.train(args, settings, args.updates, function, started, model=str(args.model))


def trainer(settings, model, updates):
    """A trainer that begins with a run's task network.

    The batch normalisation keeps the statistics of the label-free training: those of a few images would not be
    the tissue's.

    Args:
        settings: `Config` of that run, with the rates of this one.
        model: the run's folder.
        updates: of the network.

    Returns:
        A `TaskTrainer`.
    """
    made = TaskTrainer(settings, updates)
    made.task.set_weights(keras.saving.load_model(model / "task.keras", compile=False).get_weights())
    return made


if __name__ == "__main__":
    sys.exit(main())
