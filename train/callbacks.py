"""What happens beside the training steps: checkpoints, and the end of a run that diverges."""

import math
import time

import keras
import tensorflow as tf


class Diverged(ValueError):
    """A loss is not finite; the last checkpoint is still good."""


class Finite(keras.callbacks.Callback):
    """Stops the run when a loss is not finite, before anything of it is kept."""

    def __init__(self, phase, first):
        """Names the phase and its first round for the message.

        Args:
            phase: name.
            first: number of rounds of this phase that were done before.
        """
        super().__init__()
        self.phase, self.first = phase, first

    def on_train_batch_end(self, batch, logs=None):
        """Checks every value of the round.

        Raises:
            Diverged: naming the loss and the round.
        """
        for name, value in (logs or {}).items():
            if not math.isfinite(value):
                raise Diverged(
                    f"Expected finite losses. Received: {name} = {value} in round {self.first + batch + 1} of "
                    f"phase {self.phase}. The last good checkpoint is kept; a new run wants a lower rate or clip."
                )


class Means(keras.callbacks.Callback):
    """Means of the values that the training step returned, in `values`; Keras keeps the last ones alone."""

    def on_train_begin(self, logs=None):
        """Forgets earlier rounds."""
        self.values, self.rounds = {}, 0

    def on_train_batch_end(self, batch, logs=None):
        """Takes in the values of the round."""
        self.rounds += 1
        for name, value in (logs or {}).items():
            mean = self.values.get(name, 0.0)
            self.values[name] = mean + (float(value) - mean) / self.rounds


class Clock(tf.Module):
    """Minutes that a run takes over all its starts; the run's checkpoints carry them."""

    def __init__(self):
        """Starts it."""
        super().__init__()
        self.kept, self.started = tf.Variable(0.0, trainable=False, dtype=tf.float64), time.monotonic()

    def minutes(self):
        """Those of earlier starts up to the checkpoint, and those since this start."""
        return float(self.kept) + (time.monotonic() - self.started) / 60

    def keep(self):
        """Takes the time so far into what a checkpoint saves."""
        self.kept.assign(self.minutes())
        self.started = time.monotonic()


def save(manager, clock):
    """Writes a checkpoint.

    Args:
        manager: `tf.train.CheckpointManager`; it names a checkpoint as the latest only when it is complete.
        clock: the run's `Clock`, part of what is saved.

    Raises:
        OSError: if it cannot be written; the one before is kept.
    """
    clock.keep()
    try:
        manager.save()
    except tf.errors.OpError as error:
        reason = str(error).splitlines()[0]
        raise OSError(
            f"Expected room for a checkpoint in {manager.directory}. Received: {reason} "
            "The last complete one is kept; make room and --resume."
        ) from error


class Checkpoint(keras.callbacks.Callback):
    """Counts the rounds of a phase, and saves the whole state of a run every few minutes."""

    def __init__(self, manager, progress, clock, minutes):
        """Takes what to save and how often.

        Args:
            manager: `tf.train.CheckpointManager` over the run's state.
            progress: `tf.Variable` with the rounds done in the phase, saved with the rest.
            clock: the run's `Clock`.
            minutes: between two checkpoints.
        """
        super().__init__()
        self.manager, self.progress, self.clock, self.seconds = manager, progress, clock, 60 * minutes
        self.saved = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        """Counts the round, and saves when it is time."""
        self.progress.assign_add(1)
        if time.monotonic() - self.saved > self.seconds:
            save(self.manager, self.clock)
            self.saved = time.monotonic()
