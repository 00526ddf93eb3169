"""Runs on labelled images: which images train and which validate, the run folder, its end."""

import dataclasses
import pathlib

import keras
import numpy as np
from tqdm import tqdm

from data.labelled import reader
from hou_synth import config
from hou_synth.io import command, locks
from hou_synth.normalise import reinhard
from train.loop import devices, limits
from train.loop.task_trainer import TaskTrainer
from train.runs import epochs, finetuning, labelled_sets, record
from train.serving import saved_model


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run on labelled images that can be trained.

    Attributes:
        folder: of the run.
        models: folder where the SavedModel goes.
        settings: `Config`.
        updates: of the network.
        share: of the images that validate.
        start: folder with the `task.keras` that is trained on; None for a new network.

    Raises:
        ValueError: for a configuration that the networks cannot take, or no update.
    """

    folder: pathlib.Path
    models: pathlib.Path
    settings: config.Config
    updates: int
    share: float
    start: pathlib.Path | None = None

    def __post_init__(self):
        """Refuses what cannot be trained, before anything is read or made."""
        limits.check(self.settings)
        if self.updates < 1:
            raise ValueError(f"Expected --updates of at least 1. Received: {self.updates}.")


def images(named, only=None, skip=False):
    """Labelled images at 40X, with their colours moved to the fixed target.

    Args:
        named: `train.runs.labelled_options.Named`.
        only: names of the images to take; None for all.
        skip: whether images that cannot be read are named on stderr and left out.

    Returns:
        list of `data.labelled.reader.Labelled`.

    Raises:
        ValueError: naming the file that cannot be read, or the image of `only` that is not there; if there is no
            image.
    """
    on_error = command.complain if skip else None
    entries = [entry for members in labelled_sets.sets(named, on_error).values() for entry in members]
    names = [entry.name for entry in entries]
    unknown = sorted(set(only or names) - set(names))
    if unknown or not names:
        raise ValueError(f"Expected labelled images {', '.join(unknown)}. Received: {', '.join(names) or 'none'}.")
    wanted = [entry for entry in entries if entry.name in set(only or names)]
    read = [image for entry in tqdm(wanted, "reading", unit="image", disable=None) for image in _read(entry, on_error)]
    if not read:
        raise ValueError(f"Expected labelled images that can be read. Received: none in {named.folders}.")
    return read


def _read(entry, on_error):
    """The image of an entry as a list, which is empty if it cannot be read and errors are not fatal."""
    try:
        image = reader.at_40x(reader.read(entry))
    except (ValueError, OSError) as error:
        if on_error is None:
            raise
        on_error(error)
        return []
    return [dataclasses.replace(image, image=reinhard(image.image))]


def split(images, share, seed):
    """Training and validation images; whole images, so that no patch of one is in the other.

    Args:
        images: list.
        share: of the images that validate; of two or more images at least one does, unless it is 0.
        seed: that chooses them.

    Returns:
        Two lists.

    Raises:
        ValueError: if the share is not from 0 to below 1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"Expected a validation share from 0 to below 1. Received: {share}.")
    count = 0 if share == 0 or len(images) < 2 else max(round(share * len(images)), 1)
    order = np.random.default_rng(seed).permutation(len(images))
    chosen = set(order[:count].tolist())
    return [image for i, image in enumerate(images) if i not in chosen], [images[i] for i in sorted(chosen)]


def train(plan, images, resume, clock):
    """Trains, keeps the best epoch, exports; says so of a run that is finished.

    Args:
        plan: `Plan`.
        images: list of `data.labelled.reader.Labelled` at 40X, their colours moved to the fixed target.
        resume: whether a run in the folder is gone on with.
        clock: `train.runs.callbacks.Clock` that was started with the command.

    Raises:
        ValueError: for a share that is not one, or a folder with another run.
        train.runs.checkpoints.Diverged: if a loss or a weight is not finite.
    """
    schedule, folder = plan.settings.schedule, plan.folder
    training, validation = split(images, plan.share, schedule.seed)
    about = {"updates": plan.updates, "training": _names(training), "validation": _names(validation)}
    about |= {"model": str(plan.start)} if plan.start else {}
    with locks.exclusive(folder):
        record.check(folder, plan.settings, resume)
        record.begin(folder, plan.settings, about)
        if told := record.finished(folder):
            print(told, end="")
            return
        print(f"{len(training)} images to train with, {len(validation)} to choose the epoch")
        devices.seed(schedule)
        trainer, start = TaskTrainer(plan.settings, plan.updates), None
        if plan.start:
            start = finetuning.network(plan.start)
            trainer.task.set_weights(start.get_weights())
        rows = epochs.fit(trainer, folder, training, validation, plan.updates, clock, start)
        finish(folder, plan.models, rows, clock.minutes())


def _names(images):
    return [image.name for image in images]


def finish(run, models, rows, minutes):
    """Exports the best network and writes `scores.json`; says what is next."""
    best = [row for row in rows if row["best"]][-1]
    task = keras.saving.load_model(run / "task.keras")
    result = {**best, "minutes": minutes}
    served = saved_model.write(run, pathlib.Path(models) / run.name, task, result=result)
    told = [
        f"best epoch: {best['epoch']} of {rows[-1]['epoch']}; curve: {run / 'curve.png'}",
        f"{record.MODEL}      {served}",
        f"next:       python -m train.evaluate --model {served} --data LABELLED",
    ]
    record.end(run, result, told)
