"""How long the updates of a training take on this machine."""

import functools
import time

import numpy as np
import tensorflow as tf

from train.loop import phases
from train.loop.trainer import UniversalTrainer

MEASURED = 20  # updates that are timed; the first ones are slower


def seconds(settings, label_free=True, real=False):
    """Seconds that a refiner, a discriminator and a task update take on this machine, measured.

    Args:
        settings: `Config`.
        label_free: whether the schedule's refiner and discriminator, if it has them, are trained.
        real: whether labelled images join the task batches.

    Returns:
        Dict of `refiner`, `discriminator` and `task`, float; 0 for what is not trained.
    """
    schedule, run = settings.schedule, phases.phases(settings.schedule)
    adversarial = label_free and phases.adversarial(run)
    trainer = UniversalTrainer(settings, refined=adversarial)
    batch = noise(schedule.patch, schedule.batch, ("image", "reference", "real", "target"))
    more = noise(schedule.patch, schedule.labelled_batch, ("labelled_image", "labelled_target"))
    task = functools.partial(trainer.segment, batch | more if real else batch, False)
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
