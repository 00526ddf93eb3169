"""Training on labelled images: which images, validation by image, the best epoch, the curve."""

import csv
import dataclasses
import json
import os
import pathlib
import shlex
import sys
import time

import keras
import matplotlib.figure
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from data import labelled, pipeline
from hou_synth import command, config, files, inference, metrics
from hou_synth.normalise import reinhard
from train import export, sources
from train.callbacks import Finite, Means, save

EPOCH = 200  # updates between two validations; ours
VALIDATION = 0.2  # share of the images that validate; ours
CHOSEN_BY = "dice"  # the measure that chooses the best epoch: the paper's DICE average
VALIDATED = ("dice1", "dice", "aji", "pq")
COLUMNS = ("epoch", "updates", "task_loss", "dice_patch", *VALIDATED, "best")


def add_data(parser, flag="--data", **kwargs):
    """Adds the options that name the images to learn from to an argparse parser."""
    sources.add_data(parser, flag, **kwargs)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="train with these images alone, named without ending")
    parser.add_argument("--skip", action="store_true", help="name images that cannot be read and go on without them")


def images(args, folders):
    """The labelled images that a command line asks for, at 40X, with their colours moved to the fixed target.

    Args:
        args: with the options of `add_data`.
        folders: list of paths.

    Returns:
        list of `data.labelled.Labelled`.

    Raises:
        ValueError: naming the file that cannot be read, or the image of `--only` that is not there; if there is
            no image.
    """
    on_error = command.complain if args.skip else None
    entries = [entry for members in sources.sets(args, folders, on_error).values() for entry in members]
    names = [entry.name for entry in entries]
    unknown = sorted(set(args.only or names) - set(names))
    if unknown or not names:
        raise ValueError(f"Expected labelled images {', '.join(unknown)}. Received: {', '.join(names) or 'none'}.")
    wanted = [entry for entry in entries if entry.name in set(args.only or names)]
    return [image for entry in tqdm(wanted, "reading", unit="image", disable=None) for image in _read(entry, on_error)]


def _read(entry, on_error):
    """The image of an entry as a list, which is empty if it cannot be read and errors are not fatal."""
    try:
        image = labelled.at_40x(labelled.read(entry))
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


def fit(trainer, run, training, validation, updates, start=None):
    """Trains on labelled images from the last checkpoint on; the best epoch's network is `<run>/task.keras`.

    Without validation images the last epoch counts as the best. With a network to start from, the network that
    is validated and kept is the average of its weights and the trained ones, see `averaged`.

    Args:
        trainer: `TaskTrainer`.
        run: folder with `config.json`.
        training: list of `data.labelled.Labelled` at 40X.
        validation: list of the same; may be empty.
        updates: of the task network.
        start: network whose weights the trainer began with; None if it learns from nothing.

    Returns:
        Rows of `history.csv`, one an epoch, the first before any update.

    Raises:
        train.callbacks.Diverged: if a loss is not finite.
    """
    epoch, batch = tf.Variable(0, dtype=tf.int64), trainer.config.schedule.batch
    state = tf.train.Checkpoint(trainer=trainer, epoch=epoch)
    manager = tf.train.CheckpointManager(state, str(run / "checkpoints"), max_to_keep=1)
    if manager.latest_checkpoint:
        state.restore(manager.latest_checkpoint).assert_existing_objects_matched()
        print(f"going on from {manager.latest_checkpoint}")
    share = len(training) / (len(training) + 1)

    def kept():
        return averaged(start, trainer.task, share) if start else trainer.task

    about = {"epoch": 0, "updates": 0}
    rows = _history(run)[: int(epoch) + 1] or [_validated(kept(), trainer.config, run, [], validation, about)]
    epochs = -(-updates // EPOCH)
    trainer.compile()
    for number in range(int(epoch), epochs):
        steps = min(EPOCH, updates - number * EPOCH)
        data = pipeline.labelled(training, trainer.config, number * EPOCH * batch).batch(batch).prefetch(2)
        kwargs = {"initial_epoch": number, "epochs": number + 1, "shuffle": False}
        means = Means()
        trainer.fit(data, steps_per_epoch=steps, callbacks=[Finite("task", 0), means], **kwargs)
        about = {"epoch": number + 1, "updates": number * EPOCH + steps}
        about |= {"task_loss": means.values["task_loss"], "dice_patch": means.values["dice"]}
        rows.append(_validated(kept(), trainer.config, run, rows, validation, about))
        files.write_csv(run / "history.csv", rows, COLUMNS)
        curve(rows, run / "curve.png")
        epoch.assign(number + 1)
        save(manager)
    return rows


def _history(run):
    """Rows of an earlier `history.csv`, numbers as numbers."""
    path = run / "history.csv"
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kinds = {"epoch": int, "updates": int, "best": int}
    return [{key: kinds.get(key, float)(value) for key, value in row.items() if value != ""} for row in rows]


def averaged(start, trained, share):
    """A network whose weights are (1 - share) of one's and share of the other's [Wortsman et al. 2022].

    A network fine-tuned on a few images gains on their tissue and loses on others; the average keeps most of the
    gain without the loss. With n images the share is n / (n + 1): half for one, nearly all for many [ours].

    Args:
        start: network.
        trained: network of the same architecture, fine-tuned from `start`.
        share: of the trained one, 0 to 1.

    Returns:
        A new network.
    """
    both = zip(start.get_weights(), trained.get_weights(), strict=True)
    made = keras.models.clone_model(trained)
    made.set_weights([(1 - share) * one + share * other for one, other in both])
    return made


def _validated(network, settings, run, rows, validation, about):
    """Row of an epoch; its network is kept if it is the best so far, or if nothing can tell."""
    row = {**about, **(scores(network, settings, validation) if validation else {})}
    row["best"] = int(not validation or all(row[CHOSEN_BY] > other[CHOSEN_BY] for other in rows))
    if row["best"]:
        keep(network, run / "task.keras")
    if validation:
        print("validation: " + ", ".join(f"{name} {row[name]:.3f}" for name in VALIDATED))
    return row


def scores(network, settings, images):
    """Mean measures of a task network on labelled images at 40X whose colours are normalised."""
    serve, rows = tf.function(lambda batch: export.probabilities(network, batch), reduce_retracing=True), []
    for image in images:
        maps = lambda batch: serve(tf.constant(batch))  # noqa: E731
        found = inference.segment(maps, image.image, False, None, settings.instances)
        rows.append(metrics.scores(found, image.labels))
    return {name: float(np.mean([row[name] for row in rows])) for name in VALIDATED}


def keep(network, path):
    """Writes a network as `.keras`, atomically."""
    partial = path.with_suffix(".part.keras")
    network.save(partial)
    os.replace(partial, path)


def curve(rows, path):
    """Draws the loss and the validation scores of a run over its updates as PNG, atomically.

    Args:
        rows: as `fit` returns them.
        path: of the picture.
    """
    figure = matplotlib.figure.Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*_series(rows, "task_loss"), ".-")
    left.set(xlabel="updates", ylabel="task loss a pixel, augmented training patches", yscale="log")
    for name in VALIDATED:
        right.plot(*_series(rows, name), ".-", label=name)
    right.axvline([row["updates"] for row in rows if row["best"]][-1], color="grey", ls=":", label="kept")
    right.set(xlabel="updates", ylabel="validation images", ylim=(0, 1))
    right.legend(loc="lower right")
    with files.replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _series(rows, name):
    """Updates and values of a column, where there is a value."""
    both = [(row["updates"], row[name]) for row in rows if name in row]
    return [x for x, _ in both], [y for _, y in both]


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
    if (run / "config.json").exists():
        if not resume:
            raise ValueError(f"Expected an --out that does not hold a run. Received: {run}. Add --resume to go on.")
        earlier = json.loads((run / "run.json").read_text())
        differing = config.differences(config.load(run / "config.json"), settings)
        differing += [
            f"{key}: {earlier.get(key)} != {value}" for key, value in about.items() if earlier.get(key) != value
        ]
        if differing:
            raise ValueError(f"Expected the settings of the run in {run}. Received: {'; '.join(differing)}.")
        return (run / "scores.json").exists()
    run.mkdir(parents=True, exist_ok=True)
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__}
    record = {"command": shlex.join(sys.argv), **about, "versions": versions}
    files.write_text(run / "run.json", json.dumps(record, indent=2) + "\n")
    config.save(settings, run / "config.json")
    return False


def finish(run, models, rows, started):
    """Exports the best network and writes `scores.json`; says what is next."""
    best = [row for row in rows if row["best"]][-1]
    task = keras.saving.load_model(run / "task.keras")
    served = export.export(task, pathlib.Path(models) / run.name, [run / "config.json", run / "run.json"])
    minutes = (time.monotonic() - started) / 60
    files.write_text(run / "scores.json", json.dumps({**best, "minutes": minutes}, indent=2) + "\n")
    print(
        f"best epoch: {best['epoch']} of {rows[-1]['epoch']}; curve: {run / 'curve.png'}\nmodel:      {served}"
    )
    print(f"next:       python -m train.evaluate --model {served} --data LABELLED")
