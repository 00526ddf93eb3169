"""The tf.data.Dataset that training eats."""

import functools
import sys

import numpy as np
import tensorflow as tf

from data import synthetic, workers

CHANNELS = {"image": 3, "reference": 3, "real": 3, "target": 1}
THREADS = 2  # that make examples where there are no worker processes


class Source:
    """Training examples in the order of their indices, made by this process's threads or by worker processes.

    Indices are mapped to examples; `from_generator` would also do, but it lowers the allocator's trim threshold
    for the whole process, which doubled the time of a training step on 2 cores.
    """

    def __init__(self, bank, config, workers=0):
        """Starts nothing yet.

        Args:
            bank: `data.tiles.Bank`.
            config: `Config`.
            workers: processes; 0 for threads of this one, which are enough to feed a training on a CPU.
        """
        self.bank, self.config, self.workers = bank, config, workers
        self.error = None  # the exception behind the dataset's own, if worker processes failed
        self._blocks, self._next = None, 0

    def dataset(self, start=0):
        """Examples as an endless dataset of dicts of uint8 tensors: image, reference, real (s, s, 3), target (s, s, 1).

        Args:
            start: first index: where a resumed run goes on.
        """
        side = self.config.schedule.patch
        shape = (workers.BLOCK, side, side) if self.workers else (side, side)
        function = self._block if self.workers else self._example

        def tensors(index):
            made = tf.numpy_function(function, [index], [tf.uint8] * len(CHANNELS), stateful=bool(self.workers))
            pairs = zip(CHANNELS.items(), made, strict=True)
            return {name: tf.ensure_shape(tensor, (*shape, count)) for (name, count), tensor in pairs}

        if not self.workers:
            indices = tf.data.Dataset.range(start, tf.int64.max)
            return indices.map(tensors, num_parallel_calls=THREADS, deterministic=True)
        return tf.data.Dataset.range(start, tf.int64.max, workers.BLOCK).map(tensors).unbatch()

    def rounds(self, updates, start=0):
        """Batches for whole training rounds: leading dimensions (updates, batch), endless.

        Args:
            updates: network updates in a round; each has its own minibatch.
            start: first index.

        Returns:
            tf.data.Dataset of dicts of (updates, batch, s, s, channels) uint8.
        """
        batches = self.dataset(start).batch(self.config.schedule.batch, drop_remainder=True)
        return batches.batch(updates, drop_remainder=True).prefetch(2)

    def close(self):
        """Ends the worker processes."""
        if self._blocks is not None:
            self._blocks.close()
            self._blocks = None

    def _example(self, index):
        return [np.ascontiguousarray(array) for array in synthetic.training(self.bank, self.config, int(index))]

    def _block(self, first):
        """The block of examples that begins at an index: the workers' next one, unless the dataset began anew."""
        if self._blocks is None or first != self._next:
            self.close()
            function = functools.partial(workers.training_block, str(self.bank.path), self.config)
            self._blocks = workers.ordered(function, range(int(first), sys.maxsize, workers.BLOCK), self.workers)
        self._next = first + workers.BLOCK
        try:
            return next(self._blocks)
        except Exception as error:
            self.error = self.error or error  # the first: the dataset asks again
            raise
