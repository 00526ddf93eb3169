"""How many updates fit into some minutes on this machine."""

import dataclasses
import functools
import json
import time

import numpy as np
import tensorflow as tf

from hou_synth.io import files
from train.loop import phases
from train.loop.trainer import UniversalTrainer

MEASURED = 20  # updates that are timed; the first ones are slower
OVERHEAD = 30.0  # seconds of a training beside its updates: start, tracing, export; measured
SHARE = 0.85  # of the rest is for updates, the others for validation; measured with images of 1000x1000
LABEL_FREE = ("universal", "real")  # kinds of training that may have a refiner and a discriminator
COUNTS = ("refiner_steps", "discriminator_steps", "adversarial_rounds", "task_steps", "joint_rounds", "final_steps")


def affordable(out, minutes, settings, cell, counts):
    """Numbers of updates or rounds, all cut by one factor so that they take about the minutes at most.

    What an update takes is measured once for each network and kept in `speed.json`, so that all cells of a row
    have the same number of updates, in every sitting.

    Args:
        out: folder of `speed.json`.
        minutes: bound of the training; None cuts nothing.
        settings: `Config`.
        cell: `train.tables.protocols.Cell`.
        counts: dict of the names in `COUNTS`, or `task` for updates of the task network, to numbers.

    Returns:
        Dict of the same names.
    """
    if minutes is None:
        return counts
    path, key = out / "speed.json", f"{cell.network} {cell.kind if cell.kind in LABEL_FREE else 'alone'}"
    speeds = json.loads(path.read_text()) if path.exists() else {}
    if key not in speeds:
        speeds[key] = seconds(settings, cell)
        files.write_text(path, json.dumps(speeds, indent=2) + "\n")
    refiner, discriminator, task = (speeds[key][name] for name in ("refiner", "discriminator", "task"))
    schedule = settings.schedule
    adversarial = schedule.refiner_updates * refiner + schedule.discriminator_updates * discriminator
    each = {
        "task": task,
        "refiner_steps": refiner,
        "discriminator_steps": discriminator,
        "adversarial_rounds": adversarial,
        "task_steps": task,
        "joint_rounds": adversarial + schedule.task_updates * task,
        "final_steps": task,
    }
    total = sum(count * each[name] for name, count in counts.items())
    factor = min(SHARE * max(60 * minutes - OVERHEAD, 1.0) / total, 1.0)
    return {name: max(round(factor * count), min(count, 1)) for name, count in counts.items()}


def seconds(settings, cell):
    """Seconds that a refiner, a discriminator and a task update take on this machine, measured."""
    settings = dataclasses.replace(settings, networks=dataclasses.replace(settings.networks, network=cell.network))
    schedule, run = settings.schedule, phases.phases(settings.schedule)
    adversarial = cell.kind in LABEL_FREE and phases.adversarial(run)
    trainer = UniversalTrainer(settings, refined=adversarial)
    batch = noise(schedule.patch, schedule.batch, ("image", "reference", "real", "target"))
    more = noise(schedule.patch, schedule.labelled_batch, ("labelled_image", "labelled_target"))
    task = functools.partial(trainer.segment, batch | more if cell.kind == "real" else batch, False)
    measured = {"refiner": 0.0, "discriminator": 0.0, "task": timed(task)}
    if adversarial:
        measured["refiner"] = timed(lambda: trainer.refine(batch, False))
        measured["discriminator"] = timed(lambda: trainer.discriminate(batch, False))
    return measured


def noise(side, count, names):
    """A batch of random uint8 patches, (count, side, side, 3), and targets, (count, side, side, 1)."""
    shapes = {name: (count, side, side, 1 if name.endswith("target") else 3) for name in names}
    return {name: tf.cast(tf.random.uniform(shape, 0, 256, tf.int32), tf.uint8) for name, shape in shapes.items()}


def timed(step):
    """Median seconds of a step, over the later half of the calls after the one that traces it."""
    step()
    times = []
    for _ in range(MEASURED):
        started = time.monotonic()
        step()
        times.append(time.monotonic() - started)
    return float(np.median(times[MEASURED // 2 :]))
