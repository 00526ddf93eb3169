"""The paper's supervised baseline, on labelled images: `python -m train.supervised --data DIR...`."""

import argparse
import pathlib
import sys

import keras

from hou_synth import options
from hou_synth.io import command
from train.loop import limits, phases
from train.loop.task_trainer import TaskTrainer
from train.runs import epochs, labelled_run
from train.runs.callbacks import Clock


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.supervised", description="Train a nucleus segmenter on labelled H&E images."
    )
    labelled_run.add_data(parser, required=True)
    add_run(parser, "runs/supervised", labelled_run.VALIDATION)
    parser.add_argument(
        "--updates", type=int, help="of the network (default: as many as the label-free run of the preset)"
    )
    options.add_configuration(parser)
    return parser.parse_args(argv)


def add_run(parser, out, share):
    """Adds the options that say where a run goes and how it is validated."""
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(out), help=f"run folder [{out}]")
    parser.add_argument("--models", default="saved_models", help="where the SavedModel goes [saved_models]")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, if there is one")
    parser.add_argument(
        "--validation", type=float, default=share, help=f"share of the images that choose the epoch [{share}]"
    )


@command.command
def main(argv=None):
    """Trains, chooses the best epoch, exports; returns the exit code."""
    clock = Clock()
    args = arguments(argv)
    settings = options.configuration(args, "cpu")
    updates = phases.task_updates(phases.phases(settings.schedule)) if args.updates is None else args.updates
    return train(args, settings, updates, clock)


def train(args, settings, updates, clock, model=None):
    """The body of this command and of `train.finetune`.

    Args:
        args: with the options of `real.add_data` and `add_run`.
        settings: `Config`.
        updates: of the network.
        clock: `Clock` that was started with the command.
        model: folder with the `task.keras` that is trained on; None for a new network.

    Returns:
        The exit code.

    Raises:
        ValueError: for data or options that cannot be used.
    """
    limits.check(settings)
    if updates < 1:
        raise ValueError(f"Expected --updates of at least 1. Received: {updates}.")
    training, validation = labelled_run.split(
        labelled_run.images(args, args.data), args.validation, settings.schedule.seed
    )
    if not training:
        raise ValueError(f"Expected labelled images that can be read. Received: none in {args.data}.")
    about = {"updates": updates, "training": _names(training), "validation": _names(validation)}
    if labelled_run.begin(args.out, settings, args.resume, about | ({"model": str(model)} if model else {})):
        print(f"This run is finished: {args.out}")
        return 0
    print(f"{len(training)} images to train with, {len(validation)} to choose the epoch")
    keras.utils.set_random_seed(settings.schedule.seed)
    trainer, start = TaskTrainer(settings, updates), None
    if model:
        start = keras.saving.load_model(model / "task.keras", compile=False)
        trainer.task.set_weights(start.get_weights())
    rows = epochs.fit(trainer, args.out, training, validation, updates, clock, start)
    labelled_run.finish(args.out, args.models, rows, clock.minutes())
    return 0


def _names(images):
    return [image.name for image in images]


if __name__ == "__main__":
    sys.exit(main())
