"""The tf.data.Dataset that training eats."""

import numpy as np
import tensorflow as tf

from data import synthetic

CHANNELS = {"image": 3, "reference": 3, "real": 3, "target": 1}


def dataset(bank, config, start=0):
    """Training examples as an endless tf.data.Dataset, in the order of their indices.

    Indices are mapped to examples; `from_generator` would also do, but it lowers the allocator's trim threshold
    for the whole process, which doubled the time of a training step on 2 cores.

    Args:
        bank: `data.tiles.Bank`.
        config: `Config`.
        start: first index: where a resumed run goes on.

    Returns:
        tf.data.Dataset of dicts of uint8 tensors: image, reference, real (s, s, 3) and target (s, s, 1) bits.
    """
    schedule = config.schedule

    def arrays(index):
        example = synthetic.example(bank, schedule.seed, int(index), schedule.patch, config.synthesis)
        target = example.target(config.losses)[..., None]
        return [np.ascontiguousarray(a) for a in (example.image, example.reference, example.real, target)]

    def tensors(index):
        made = tf.numpy_function(arrays, [index], [tf.uint8] * len(CHANNELS), stateful=False)
        shapes = [(schedule.patch, schedule.patch, count) for count in CHANNELS.values()]
        return {name: tf.ensure_shape(m, shape) for name, m, shape in zip(CHANNELS, made, shapes, strict=True)}

    return tf.data.Dataset.range(start, tf.int64.max).map(tensors, num_parallel_calls=2, deterministic=True)


def rounds(bank, config, updates, start=0):
    """Batches for whole training rounds: leading dimensions (updates, batch), endless.

    Args:
        bank: `data.tiles.Bank`.
        config: `Config`.
        updates: network updates in a round; each has its own minibatch.
        start: first index.

    Returns:
        tf.data.Dataset of dicts of (updates, batch, s, s, channels) uint8.
    """
    batches = dataset(bank, config, start).batch(config.schedule.batch, drop_remainder=True)
    return batches.batch(updates, drop_remainder=True).prefetch(2)
