"""The tf.data.Dataset that training eats."""

import contextlib
import functools
import sys

import numpy as np
import tensorflow as tf

from data import draws, patches, synthetic, workers

CHANNELS = {"image": 3, "reference": 3, "real": 3, "target": 1}
LABELLED = {"image": 3, "target": 1}
THREADS = 2  # that make examples where there are no worker processes


def labelled_patches(groups, config, start=0):
    """Patches of labelled images as an endless dataset of dicts of uint8 tensors: image (s, s, 3), target (s, s, 1).

    Args:
        groups: list of lists of `data.labelled.reader.Labelled` at 40X, see `data.patches.training`.
        config: `Config`.
        start: first index.
    """
    function = functools.partial(_patch, groups, config)
    shape = (config.schedule.patch,) * 2
    return _range(start).map(_tensors(function, LABELLED, shape), num_parallel_calls=THREADS, deterministic=True)


def _patch(groups, config, index):
    return patches.training(groups, config, int(index))


def _range(start, step=1):
    return tf.data.Dataset.range(start, tf.int64.max, step)


def _tensors(function, channels, shape, stateful=False):
    """From a function of an index to arrays, a function of an index to a dict of uint8 tensors (*shape, count)."""

    def tensors(index):
        made = tf.numpy_function(function, [index], [tf.uint8] * len(channels), stateful=stateful)
        pairs = zip(channels.items(), made, strict=True)
        return {name: tf.ensure_shape(tensor, (*shape, count)) for (name, count), tensor in pairs}

    return tensors


class Source:
    """Training examples in the order of their indices, made by this process's threads or by worker processes.

    Indices are mapped to examples; `from_generator` would also do, but it lowers the allocator's trim threshold
    for the whole process, which doubled the time of a training step on 2 cores.
    """

    def __init__(self, bank, config, workers=0, images=(), stored=None):
        """Starts nothing yet.

        Args:
            bank: `data.tiles.Bank`.
            config: `Config`.
            workers: processes; 0 for threads of this one, which are enough to feed a training on a CPU.
            images: labelled ones, `data.labelled.reader.Labelled` at 40X, whose patches join every task batch.
            stored: `data.sets.stored.Stored` that gives the examples instead, without processes; closed with this.
        """
        self.bank, self.config, self.images, self.stored = bank, config, images, stored
        self.workers = 0 if stored else workers
        self.error = None  # the exception behind the dataset's own, if examples cannot be made
        self._blocks, self._next = None, 0

    def dataset(self, start=0):
        """Examples as an endless dataset of dicts of uint8 tensors: image, reference, real (s, s, 3), target (s, s, 1).

        Args:
            start: first index: where a resumed run goes on.
        """
        side = self.config.schedule.patch
        if not self.workers:
            tensors = _tensors(self._example, CHANNELS, (side, side))
            return _range(start).map(tensors, num_parallel_calls=THREADS, deterministic=True)
        tensors = _tensors(self._block, CHANNELS, (workers.BLOCK, side, side), stateful=True)
        return _range(start, workers.BLOCK).map(tensors).unbatch()

    def rounds(self, updates, start=0, further=()):
        """Batches for whole training rounds: leading dimensions (updates, batch), endless.

        Args:
            updates: network updates in a round; each has its own minibatch.
            start: first index.
            further: labelled images beside `images`.

        Returns:
            tf.data.Dataset of dicts of (updates, batch, s, s, channels) uint8; with labelled images also
            `labelled_image` and `labelled_target`, `schedule.labelled_batch` of them in each batch.
        """
        schedule = self.config.schedule
        batches = self.dataset(start).batch(schedule.batch, drop_remainder=True)
        images = [*self.images, *further]
        if images:
            groups = draws.by_type(images) if self.config.synthesis.by_type else [images]
            real = labelled_patches(groups, self.config, start // schedule.batch * schedule.labelled_batch)
            real = real.batch(schedule.labelled_batch, drop_remainder=True)
            batches = tf.data.Dataset.zip((batches, real)).map(
                lambda synthetic, real: synthetic | {f"labelled_{name}": part for name, part in real.items()}
            )
        return batches.batch(updates, drop_remainder=True).prefetch(2)

    def close(self):
        """Ends the worker processes, and closes what is stored."""
        if self._blocks is not None:
            self._blocks.close()
            self._blocks = None
        if self.stored:
            self.stored.close()

    def _example(self, index):
        with self._noted():
            if self.stored:
                return self.stored.training(int(index))
            return [np.ascontiguousarray(array) for array in synthetic.training(self.bank, self.config, int(index))]

    @contextlib.contextmanager
    def _noted(self):
        """Context whose first exception is kept: the dataset asks again, and its own exception has no type."""
        try:
            yield
        except Exception as error:
            self.error = self.error or error
            raise

    def _block(self, first):
        """The block of examples that begins at an index: the workers' next one, unless the dataset began anew."""
        if self._blocks is None or first != self._next:
            self.close()
            function = functools.partial(workers.training_block, str(self.bank.path), self.config)
            self._blocks = workers.ordered(function, range(int(first), sys.maxsize, workers.BLOCK), self.workers)
        self._next = first + workers.BLOCK
        with self._noted():
            return next(self._blocks)
