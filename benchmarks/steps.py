"""What a training step costs: its time, its forward part, its operations and its memory."""

import contextlib
import functools
import resource
import time

import keras
import numpy as np
import tensorflow as tf

from data import pipeline
from train.loop.task_trainer import signed
from train.loop.trainer import UniversalTrainer

STEPS = {"refine": (1, 0, 0), "discriminate": (0, 1, 0), "segment": (0, 0, 1)}  # name -> updates of its round
COLUMNS = "size batch precision step forward_ms training_ms ninth_decile_ms patches/s waiting GFLOP GFLOP/s peak_MB"


def device():
    """What trains: "GPU" or "CPU"."""
    return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"


def rows(bank, settings, workers, seconds):
    """Measures and prints the rows of one configuration, a step after the other."""
    trainer, schedule = UniversalTrainer(settings), settings.schedule
    with contextlib.closing(pipeline.Source(bank, settings, workers)) as source:
        for step, updates in STEPS.items():
            trainer.compile(updates=updates)
            batches = iter(source.rounds(1))
            ahead = tf.function(FORWARD[step], autograph=False, jit_compile=schedule.jit)
            alone, _ = measured(functools.partial(ahead, trainer), batches, seconds / 2)
            train = tf.function(trainer.train_step, autograph=False, jit_compile=schedule.jit)
            times, waiting = measured(train, batches, seconds)
            median, decile = np.quantile(times, (0.5, 0.9))
            rate = schedule.batch * (2 if step == "discriminate" else 1) / median
            work = operations(trainer, step) / 1e9
            print(
                f"{schedule.patch:4} {schedule.batch:5} {schedule.mixed_precision:9} {step:12} "
                f"{np.median(alone) * 1e3:10.1f} {median * 1e3:11.1f} {decile * 1e3:15.1f} {rate:9.1f} {waiting:7.1%} "
                f"{work:6.1f} {work / median:8.1f} {peak():7.0f}",
                flush=True,
            )


def measured(function, batches, seconds):
    """Seconds of each call after the two that trace, without those of its data; and the share of all for data."""
    for _ in range(2):
        function(next(batches))
    times, waiting, end = [], 0.0, time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        asked = time.perf_counter()
        batch = next(batches)
        started = time.perf_counter()
        tf.nest.map_structure(lambda value: value.numpy(), function(batch))
        times.append(time.perf_counter() - started)
        waiting += started - asked
    return times, waiting / (waiting + sum(times))


def _refine(trainer, data):
    synthetic, reference = signed(data["image"][0]), signed(data["reference"][0])
    refined = trainer.refiner({"synthetic": synthetic, "reference": reference}, training=True)
    logits = trainer.discriminator({"patch": refined, "reference": reference}, training=False)
    return tf.reduce_sum(logits) + tf.reduce_sum(trainer(refined)["segmentation"])


def _discriminate(trainer, data):
    pairs = [signed(tf.concat([data[name][0]] * 2, 0)) for name in ("real", "reference")]
    return tf.reduce_sum(trainer.discriminator(dict(zip(("patch", "reference"), pairs, strict=True)), training=True))


def _segment(trainer, data):
    return tf.reduce_sum(trainer(signed(data["image"][0]), training=True)["segmentation"])


FORWARD = {"refine": _refine, "discriminate": _discriminate, "segment": _segment}  # networks that are learned through


def operations(trainer, step):
    """Floating-point operations of the convolutions of a step; a gradient takes as many as what it is of.

    Args:
        trainer: `UniversalTrainer`.
        step: one of `STEPS`.
    """
    schedule = trainer.config.schedule
    side, batch = schedule.patch, schedule.batch
    refiner = multiplications(trainer.refiner, side)
    task = multiplications(trainer.task, -(-side // trainer.multiple) * trainer.multiple)
    whole, reference = (multiplications(trainer.discriminator, side, prefix) for prefix in ("", "reference"))
    fresh = batch // 2 * refiner
    each = {
        "refine": batch * (3 * refiner + 2 * whole - reference + 2 * task),  # through D and task network to the patch
        "discriminate": fresh + 2 * batch * 3 * whole,
        "segment": fresh + batch * (whole + 3 * task),
    }
    return 2 * each[step]


def multiplications(network, side, prefix=""):
    """Multiplications of a network's convolutions for one image.

    Args:
        network: functional `keras.Model`.
        side: of the image in pixels.
        prefix: of the names of the layers that count.
    """
    kinds = (keras.layers.Conv2D, keras.layers.Conv2DTranspose)
    counted = [layer for layer in network.layers if isinstance(layer, kinds) and layer.name.startswith(prefix)]
    image = tf.zeros((1, side, side, 3))
    inputs = dict.fromkeys(network.input, image) if isinstance(network.input, dict) else image
    maps = keras.Model(network.input, {layer.name: layer.output for layer in counted})(inputs)
    total = 0
    for layer in counted:
        places = int(np.prod(maps[layer.name].shape[1:3]))
        if isinstance(layer, keras.layers.Conv2DTranspose):
            places //= layer.strides[0] * layer.strides[1]  # the kernel is applied at places of its input
        total += places * int(np.prod(layer.kernel.shape))
    return total


def peak():
    """Most memory that was in use so far, of the GPU if there is one, in MB."""
    if device() == "GPU":
        return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
