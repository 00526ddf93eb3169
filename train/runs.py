"""Runs of `train.universal` that are there already: their settings, their tiles and their networks."""

import json
import pathlib

import keras
import tensorflow as tf

from data import tiles
from hou_synth import config
from train import phases
from train.callbacks import Clock
from train.checkpoints import Checkpoints
from train.trainer import UniversalTrainer

NETWORKS = ("refiner", "discriminator", "task")


def settings(run):
    """The `Config` of a run.

    Raises:
        ValueError: if the folder holds no run.
    """
    if not (run / "config.json").exists():
        raise ValueError(f"Expected a run folder of train.universal. Received: {run}, which has no config.json.")
    return config.load(run / "config.json")


def bank(run, settings, folder=None):
    """The bank of a run, whether its tiles are still there or not, or that of another folder of tiles.

    Args:
        run: folder.
        settings: `Config`.
        folder: of other tiles.

    Raises:
        ValueError: if there are no such tiles, or none that a patch fits.
    """
    about = json.loads((run / "run.json").read_text())
    if not folder and pathlib.Path(about["bank"]).exists():
        found = tiles.Bank(about["bank"])
    else:
        own = None if about["tiles"] == tiles.EMBEDDED else about["tiles"]
        found = tiles.prepare(folder or own, settings.synthesis, beside=run.parent / "banks")
    found.fitting(settings.schedule.patch)
    return found


def load(run, settings):
    """The trainer of a run as its last checkpoint left it, or as the networks that a finished run kept.

    Args:
        run: folder.
        settings: `Config`.

    Raises:
        ValueError: if there is neither, or they are of other networks.
    """
    trainer = UniversalTrainer(settings, phases.task_updates(phases.phases(settings.schedule)))
    counts = {name: tf.Variable(0, dtype=tf.int64) for name in ("done", "progress")}
    states = Checkpoints(run / "checkpoints", trainer=trainer, clock=Clock(), **counts)
    kept = run / f"{NETWORKS[-1]}.keras"
    try:
        states.restore()
    except ValueError:
        if not kept.exists():
            raise
        states.whole.clear()  # a checkpoint of an earlier version, whose networks are still good
    if not states.whole:
        if not kept.exists():
            raise ValueError(f"Expected a checkpoint or the networks of a run in {run}. Received: neither.")
        for name in NETWORKS:
            setattr(trainer, name, keras.saving.load_model(run / f"{name}.keras", compile=False))
    return trainer
