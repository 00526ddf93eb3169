"""What the training computes on, and in which arithmetic."""

import contextlib
import pathlib
import shutil
import tempfile

import keras
import tensorflow as tf

from train.loop import replicas

SCALE = 8.0  # of float16's losses at first; Keras' 2^15 is for means, over 2^12 pixels and not sums; ours


def strategy(name):
    """The `tf.distribute.Strategy` of a name.

    Args:
        name: "one": the default device; "mirrored": all GPUs of this machine, or all its logical CPUs where there
            is none; "multiworker": the machines that the environment's TF_CONFIG lists. The last must be made
            before TensorFlow computes anything.
    """
    if name == "one":
        return tf.distribute.get_strategy()
    if name == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def check(strategy, schedule, labelled):
    """Refuses a schedule that several replicas cannot share.

    Args:
        strategy: `tf.distribute.Strategy`.
        schedule: `Schedule`.
        labelled: whether labelled patches join the batches.

    Raises:
        ValueError: for batches that cannot be shared evenly, or XLA, in which replicas cannot meet.
    """
    count = strategy.num_replicas_in_sync
    for size in (schedule.batch, schedule.labelled_batch)[: 1 + labelled]:
        replicas.share_size(size, count)
    if schedule.jit and count > 1:
        raise ValueError(f"Expected --jit on one device alone. Received: {count} replicas.")


def seed(schedule):
    """Seeds all random numbers; has all operations give the same bits each time, if a schedule says so.

    Args:
        schedule: `Schedule`.
    """
    keras.utils.set_random_seed(schedule.seed)
    if schedule.deterministic:
        tf.config.experimental.enable_op_determinism()


@contextlib.contextmanager
def folder(strategy, path, resume):
    """The folder that this process writes a run to: the run's own for the chief, a temporary one for the others.

    Args:
        strategy: `tf.distribute.Strategy`.
        path: of the run's folder; all machines must see it if the run is to be resumed.
        resume: whether the others begin with a copy of what is there.

    Yields:
        A path of the same name.
    """
    if strategy.extended.should_checkpoint:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="hou_synth-") as parent:
        copy = pathlib.Path(parent) / path.name
        if resume and path.exists():
            shutil.copytree(path, copy, ignore=shutil.ignore_patterns(".*", "*.part*", "logs", "*.png"))
        yield copy


@contextlib.contextmanager
def precision(name):
    """Networks that are built inside compute in another arithmetic; their weights stay float32.

    Args:
        name: "float32", "bfloat16" or "float16".
    """
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(name if name == "float32" else f"mixed_{name}")
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def scaled(optimizer, name):
    """An optimiser whose losses are scaled where the arithmetic's range is too small for gradients.

    Args:
        optimizer: `keras.optimizers.Optimizer`.
        name: of the arithmetic, as for `precision`.
    """
    return keras.optimizers.LossScaleOptimizer(optimizer, SCALE) if name == "float16" else optimizer
