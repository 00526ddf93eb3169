"""What happens beside the training steps: checkpoints, and the end of a run that diverges."""

import contextlib
import math
import sys
import time

import keras
import tensorflow as tf

from train.runs.checkpoints import Diverged, reason


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
                place = f"round {self.first + batch + 1} of phase {self.phase}"
                raise Diverged(f"Expected finite losses. Received: {name} = {value} in {place}.")


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


def save(checkpoints, clock):
    """Writes a checkpoint.

    Args:
        checkpoints: `train.runs.checkpoints.Checkpoints`.
        clock: the run's `Clock`, part of what is saved.

    Raises:
        train.runs.checkpoints.Diverged: if a weight is not finite.
        OSError: if it cannot be written. Either way the one before is kept.
    """
    clock.keep()
    checkpoints.save()


@contextlib.contextmanager
def spared():
    """Context in which a file that cannot be written, the disk being full, is told on stderr and training goes on."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        print(f"\nwarning: training goes on. {reason(error)}.", file=sys.stderr)


class Curves(keras.callbacks.Callback):
    """The values of every twentieth round for TensorBoard; a full disk ends the curves and not the training."""

    EVERY = 20

    def __init__(self, folder, first):
        """Opens nothing yet.

        Args:
            folder: of the event files.
            first: number of rounds of this phase that were done before.
        """
        super().__init__()
        self.folder, self.first, self.open = str(folder), first, True

    def on_train_begin(self, logs=None):
        """Opens a new event file."""
        with self._while_there_is_room():
            self.writer = tf.summary.create_file_writer(self.folder)

    def on_train_batch_end(self, batch, logs=None):
        """Writes the values of the round."""
        if self.open and (self.first + batch) % self.EVERY == 0:
            with self._while_there_is_room(), self.writer.as_default(self.first + batch):
                for name, value in (logs or {}).items():
                    tf.summary.scalar(name, value)
                self.writer.flush()

    @contextlib.contextmanager
    def _while_there_is_room(self):
        self.open, still = False, self.open
        with spared():
            yield
            self.open = still


class Checkpoint(keras.callbacks.Callback):
    """Counts the rounds of a phase, and saves the whole state of a run every few minutes."""

    def __init__(self, checkpoints, progress, clock, minutes):
        """Takes what to save and how often.

        Args:
            checkpoints: `train.runs.checkpoints.Checkpoints` of the run's state.
            progress: `tf.Variable` with the rounds done in the phase, saved with the rest.
            clock: the run's `Clock`.
            minutes: between two checkpoints, also if one cannot be written.
        """
        super().__init__()
        self.checkpoints, self.progress, self.clock, self.seconds = checkpoints, progress, clock, 60 * minutes
        self.saved = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        """Counts the round, and saves when it is time."""
        self.progress.assign_add(1)
        if time.monotonic() - self.saved > self.seconds:
            with spared():
                save(self.checkpoints, self.clock)
            self.saved = time.monotonic()
