"""What the training steps compute on, and in which arithmetic.

Under a strategy every replica is given the whole batch, takes its share of the rows, and has the sums and the rows
of all replicas wherever a step needs more than its own: a step is the same function of the batch, however many
replicas there are. With one replica all of this does nothing.
"""

import contextlib
import pathlib
import shutil
import tempfile

import keras
import tensorflow as tf

SCALE = 8.0  # of float16's losses at first; Keras' 2^15 is for means, over 2^12 pixels and not sums; ours
ALIKE = tf.VariableAggregation.ONLY_FIRST_REPLICA  # of variables that every replica gives the same value


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
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in found])


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
        share_size(size, count)
    if schedule.jit and count > 1:
        raise ValueError(f"Expected --jit on one device alone. Received: {count} replicas.")


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


def share_size(count, replicas):
    """Rows of a batch for each replica.

    Raises:
        ValueError: if the batch cannot be shared evenly.
    """
    if count % replicas:
        raise ValueError(f"Expected batches of a multiple of {replicas} patches, one for a replica. Received: {count}.")
    return count // replicas


def replicas():
    """Number of replicas that work on a step; 1 outside of a step."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def share(rows):
    """This replica's rows of a tensor that all replicas have.

    Args:
        rows: (b, ...), b a multiple of the replicas.

    Returns:
        (b / replicas, ...).
    """
    count = replicas()
    if count == 1:
        return rows
    shared = tf.reshape(rows, (count, share_size(rows.shape[0], count), *rows.shape[1:]))
    return shared[tf.distribute.get_replica_context().replica_id_in_sync_group]


def gathered(rows):
    """The rows of all replicas, in the order of the shares.

    Args:
        rows: (n, ...), as many in every replica.

    Returns:
        (n replicas, ...) of the same type.
    """
    if replicas() == 1:
        return rows
    sent = tf.cast(rows, tf.float16) if rows.dtype == tf.uint8 else rows  # which holds bytes; CPUs do not gather uint8
    received = tf.distribute.get_replica_context().all_gather(sent, 0)
    return tf.cast(tf.ensure_shape(received, (rows.shape[0] * replicas(), *rows.shape[1:])), rows.dtype)


def spread(function, *tensors):
    """Rows of a function's output, to which every replica contributes a share.

    Args:
        function: of tensors (n, ...) to a tensor (n, ...), row by row.
        *tensors: (b, ...) that all replicas have, b any number.

    Returns:
        (b, ...), the same in all replicas.
    """
    number, count = replicas(), tensors[0].shape[0]
    if number == 1:
        return function(*tensors)
    places = tf.minimum(share(tf.range(-(-count // number) * number)), count - 1)
    return gathered(function(*(tf.gather(tensor, places) for tensor in tensors)))[:count]


def once(function, *values):
    """Calls a function once in each process, for what it does to variables outside of the strategy.

    Args:
        function: of structures of tensors.
        *values: its arguments, which all replicas have alike.
    """
    if replicas() == 1:
        function(*values)
        return

    def call(strategy, *values):
        function(*tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], values))

    tf.distribute.get_replica_context().merge_call(call, values)


def summed(values):
    """The sum over the replicas of every tensor of a structure."""
    return values if replicas() == 1 else _reduced("SUM", values)


def averaged(values):
    """The mean over the replicas of every tensor of a structure."""
    return values if replicas() == 1 else _reduced("MEAN", values)


def _reduced(kind, values):
    return tf.distribute.get_replica_context().all_reduce(kind, values)
