"""Runs of `train.universal` that are there already: their settings, their tiles and their networks."""

import json
import os
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from data import tiles
from hou_synth import config
from hou_synth.io import files
from train.loop import phases
from train.loop.trainer import UniversalTrainer
from train.loop.weighting import Weighting
from train.runs import kept_state
from train.runs.callbacks import Clock
from train.runs.checkpoints import Checkpoints
from train.serving.signatures import Refinement

NETWORKS = ("refiner", "discriminator", "task")
ESTIMATES = "weighting.json"  # what the importance weights of a finished run depend on, beside its networks


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

    Its task network is the one that the run has chosen so far.

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
        recall(trainer, run)
    kept_state.best(trainer, run)
    return trainer


def adversarial(run):
    """Whether a folder holds a run of `train.universal` and not of a training on labelled images alone.

    Raises:
        ValueError: if it holds no run.
    """
    if not (run / "run.json").exists():
        raise ValueError(f"Expected a run folder. Received: {run}, which has no run.json.")
    return "tile_names" in json.loads((run / "run.json").read_text())


def surroundings():
    """What `run.json` says of libraries and hardware."""
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return {
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__},
        "machine": {"cores": os.cpu_count(), "gpus": [about.get("device_name", "unnamed") for about in gpus]},
    }


def remember(trainer, run):
    """Keeps in `weighting.json` what the importance weights depend on, for when the checkpoints are gone."""
    if trainer.weighed:
        kept = {"seen": trainer.seen.numpy().tolist(), **trainer.weighting.estimates()}
        files.write_text(run / ESTIMATES, json.dumps(kept, indent=2) + "\n")


def recall(trainer, run):
    """Takes over what `remember` kept; says so if there is nothing, as in runs of version 0.1."""
    if not trainer.weighed:
        return
    if not (run / ESTIMATES).exists():
        print(f"warning: {run} has no {ESTIMATES}: its importance weights are not known", file=sys.stderr)
        return
    kept = json.loads((run / ESTIMATES).read_text())
    trainer.seen.assign(kept["seen"])
    trainer.weighting.recall(kept)


def refinement(trainer, plain):
    """What a served model needs to refine and weigh patches as a run does.

    Args:
        trainer: `UniversalTrainer`.
        plain: its networks as `trainer.plain` returns them.

    Returns:
        `train.serving.signatures.Refinement`; None for a run without refiner or discriminator, or whose weights are not
        known.
    """
    if not (trainer.refined and trainer.weighed and float(trainer.seen[1]) > 0):
        return None
    weighting = Weighting(trainer.config.losses)
    weighting.recall(trainer.weighting.estimates())
    return Refinement(trainer.config, plain["refiner"], plain["discriminator"], weighting, float(trainer.ratio()))
