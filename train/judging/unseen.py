"""Synthetic patches that training never sees, and what a trainer makes of them."""

import numpy as np
import tensorflow as tf

from data import synthetic

OTHER_SEED = 2**31  # the examples' seed less the training's


def examples(bank, settings, count, side=None):
    """Synthetic examples of another seed than the training's.

    Args:
        bank: `data.tiles.Bank`.
        settings: `Config`.
        count: of the examples.
        side: of a patch, in pixels; None for the training's.

    Returns:
        list of `data.synthetic.Example`.
    """
    seed, side = settings.schedule.seed + OTHER_SEED, side or settings.schedule.patch
    return [synthetic.example(bank, seed, index, side, settings.synthesis) for index in range(count)]


def batches(examples, size):
    """Examples, a list or an array, in parts of `size`, the last one shorter."""
    return [examples[start : start + size] for start in range(0, len(examples), size)]


def stacked(examples, *names):
    """Attributes of examples as arrays.

    Args:
        examples: list of `data.synthetic.Example`.
        *names: of the attributes, such as `image`.

    Returns:
        list of (n, s, s, 3) uint8, one for each name.
    """
    return [np.stack([getattr(example, name) for example in examples]) for name in names]


def refined(trainer, examples):
    """What the task network would learn from: refined patches, or initial ones if the run has no refiner.

    Args:
        trainer: `UniversalTrainer`.
        examples: list of `data.synthetic.Example`.

    Returns:
        (n, s, s, 3) float32 in [-1, 1].
    """
    return in_batches(trainer, trainer.patch, *stacked(examples, "image", "reference"))


def in_batches(trainer, function, *arrays):
    """What a trainer makes of arrays, in batches of its training, so that it takes no more memory than that.

    Args:
        trainer: `UniversalTrainer`.
        function: of its networks, from as many tensors to one or an array.
        *arrays: of the same length.

    Returns:
        Array of that length.
    """
    parts = (batches(array, trainer.config.schedule.batch) for array in arrays)
    return np.concatenate([function(*map(tf.constant, part)) for part in zip(*parts, strict=True)])


def maps(trainer, examples):
    """The task network's maps of these patches.

    Args:
        trainer: `UniversalTrainer`.
        examples: list of `data.synthetic.Example`.

    Returns:
        list of (s, s, 2) float32 probabilities, segmentation and detection.
    """

    def mapped(patches):
        outputs = trainer.probabilities(patches)
        return np.concatenate([outputs[name] for name in ("segmentation", "detection")], axis=-1)

    return list(in_batches(trainer, mapped, refined(trainer, examples)))
