"""The tf.data.Dataset that training eats."""

import numpy as np
import tensorflow as tf

from data import synthetic


def patches(bank, config, start=0, stop=None):
    """Generator of training examples number `start` to `stop` (endless if None).

    Args:
        bank: `data.tiles.Bank`.
        config: `Config`.
        start: first index.
        stop: index after the last.

    Yields:
        dict of uint8 arrays: image, reference, real (s, s, 3) and target (s, s, 1) bits.
    """
    schedule = config.schedule
    index = start
    while stop is None or index < stop:
        example = synthetic.example(bank, schedule.seed, index, schedule.patch, config.synthesis)
        yield {
            "image": np.ascontiguousarray(example.image),
            "reference": np.ascontiguousarray(example.reference),
            "real": np.ascontiguousarray(example.real),
            "target": example.target(config.losses)[..., None],
        }
        index += 1


def dataset(bank, config, start=0, stop=None):
    """Training examples as a tf.data.Dataset, in the order of their indices.

    Args:
        bank: `data.tiles.Bank`.
        config: `Config`.
        start: first index: where a resumed run goes on.
        stop: index after the last.

    Returns:
        tf.data.Dataset of dicts of uint8 tensors, see `patches`.
    """
    side = config.schedule.patch
    channels = {"image": 3, "reference": 3, "real": 3, "target": 1}
    signature = {name: tf.TensorSpec((side, side, count), tf.uint8) for name, count in channels.items()}
    return tf.data.Dataset.from_generator(lambda: patches(bank, config, start, stop), output_signature=signature)


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
