"""Runs on labelled images: which images train and which validate, the run folder, its end."""

import dataclasses
import pathlib

import keras
import numpy as np
from tqdm import tqdm

from data.labelled import reader
from hou_synth.io import command
from hou_synth.normalise import reinhard
from train.runs import labelled_sets, record
from train.serving import saved_model

VALIDATION = 0.2  # share of the images that validate; ours


def add_data(parser, flag="--data", **kwargs):
    """Adds the options that name the images to learn from to an argparse parser."""
    labelled_sets.add_data(parser, flag, **kwargs)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="train with these images alone, named without ending")
    parser.add_argument("--skip", action="store_true", help="name images that cannot be read and go on without them")


def images(args, folders):
    """The labelled images that a command line asks for, at 40X, with their colours moved to the fixed target.

    Args:
        args: with the options of `add_data`.
        folders: list of paths.

    Returns:
        list of `data.labelled.reader.Labelled`.

    Raises:
        ValueError: naming the file that cannot be read, or the image of `--only` that is not there; if there is
            no image.
    """
    on_error = command.complain if args.skip else None
    entries = [entry for members in labelled_sets.sets(args, folders, on_error).values() for entry in members]
    names = [entry.name for entry in entries]
    unknown = sorted(set(args.only or names) - set(names))
    if unknown or not names:
        raise ValueError(f"Expected labelled images {', '.join(unknown)}. Received: {', '.join(names) or 'none'}.")
    wanted = [entry for entry in entries if entry.name in set(args.only or names)]
    return [image for entry in tqdm(wanted, "reading", unit="image", disable=None) for image in _read(entry, on_error)]


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


def begin(run, settings, resume, about):
    """Makes a run folder with `config.json` and `run.json`, or checks the one that is to be resumed.

    Args:
        run: folder.
        settings: `Config`.
        resume: whether it may exist.
        about: dict of what else `run.json` says: data, command.

    Returns:
        Whether the run is finished already.

    Raises:
        ValueError: if the run exists and is not to be resumed, or had another configuration or other images.
    """
    record.check(run, settings, resume)
    record.begin(run, settings, about)
    return bool(record.scores(run))


def finish(run, models, rows, minutes):
    """Exports the best network and writes `scores.json`; says what is next."""
    best = [row for row in rows if row["best"]][-1]
    task = keras.saving.load_model(run / "task.keras")
    result = {**best, "minutes": minutes}
    served = saved_model.write(run, pathlib.Path(models) / run.name, task, result=result)
    record.write(run / record.SCORES, result)
    print(f"best epoch: {best['epoch']} of {rows[-1]['epoch']}; curve: {run / 'curve.png'}\nmodel:      {served}")
    print(f"next:       python -m train.evaluate --model {served} --data LABELLED")
