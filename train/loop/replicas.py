"""One batch, several replicas: what each takes of it, and what they tell each other.

Under a strategy every replica is given the whole batch, takes its share of the rows, and has the sums and the rows
of all replicas wherever a step needs more than its own: a step is the same function of the batch, however many
replicas there are. With one replica all of this does nothing.
"""

import tensorflow as tf

ALIKE = tf.VariableAggregation.ONLY_FIRST_REPLICA  # of variables that every replica gives the same value


def share_size(size, number):
    """Rows of a batch for each of a number of replicas.

    Raises:
        ValueError: if the batch cannot be shared evenly.
    """
    if size % number:
        raise ValueError(f"Expected batches of a multiple of {number} patches, one for a replica. Received: {size}.")
    return size // number


def count():
    """Number of replicas that work on a step; 1 outside of a step."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def share(rows):
    """This replica's rows of the tensors that all replicas have.

    Args:
        rows: a tensor (b, ...), b a multiple of the replicas, or a structure of such.

    Returns:
        (b / replicas, ...), or a structure of such.
    """
    number = count()
    if number == 1:
        return rows
    place = tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.nest.map_structure(
        lambda part: tf.reshape(part, (number, share_size(part.shape[0], number), *part.shape[1:]))[place], rows
    )


def gathered(rows):
    """The rows of all replicas, in the order of the shares.

    Args:
        rows: (n, ...), as many in every replica.

    Returns:
        (n replicas, ...) of the same type.
    """
    if count() == 1:
        return rows
    sent = tf.cast(rows, tf.float16) if rows.dtype == tf.uint8 else rows  # which holds bytes; CPUs do not gather uint8
    received = tf.distribute.get_replica_context().all_gather(sent, 0)
    return tf.cast(tf.ensure_shape(received, (rows.shape[0] * count(), *rows.shape[1:])), rows.dtype)


def spread(function, *tensors):
    """Rows of a function's output, to which every replica contributes a share.

    Args:
        function: of tensors (n, ...) to a tensor (n, ...), row by row.
        *tensors: (b, ...) that all replicas have, b any number.

    Returns:
        (b, ...), the same in all replicas.
    """
    number, size = count(), tensors[0].shape[0]
    if number == 1:
        return function(*tensors)
    places = tf.minimum(share(tf.range(-(-size // number) * number)), size - 1)
    return gathered(function(*(tf.gather(tensor, places) for tensor in tensors)))[:size]


def once(function, *values):
    """Calls a function once in each process, for what it does to variables outside of the strategy.

    Args:
        function: of structures of tensors.
        *values: its arguments, which all replicas have alike.
    """
    if count() == 1:
        function(*values)
        return

    def call(strategy, *values):
        function(*tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], values))

    tf.distribute.get_replica_context().merge_call(call, values)


def summed(values):
    """The sum over the replicas of every tensor of a structure."""
    return values if count() == 1 else _reduced("SUM", values)


def averaged(values):
    """The mean over the replicas of every tensor of a structure."""
    return values if count() == 1 else _reduced("MEAN", values)


def _reduced(kind, values):
    return tf.distribute.get_replica_context().all_reduce(kind, values)
