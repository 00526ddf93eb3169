"""The learning rate of the task network over a run [ours]."""

import math

import keras
import tensorflow as tf

LEAST = 0.01  # what is left of a rate at the end of its decay


class Decay(keras.optimizers.schedules.LearningRateSchedule):
    """Cosine decay to a hundredth over the first updates, and again from half of the rate over every later round."""

    def __init__(self, rate, first, later=0):
        """Fixes the lengths.

        Args:
            rate: at the beginning.
            first: updates until the first decay ends; 0 if a run begins with a round of self-training.
            later: updates of every round of self-training after that; 0 if there is none.
        """
        super().__init__()
        self.rate, self.first, self.later = rate, first, max(later, 1)

    def __call__(self, step):
        """Rate of an update, float32 scalar."""
        step = tf.cast(step, tf.float32)
        begun = step < self.first
        part = tf.where(begun, step / max(self.first, 1), (step - self.first) % self.later / self.later)
        cosine = 0.5 * (1.0 + tf.cos(math.pi * part))
        return self.rate * tf.where(begun, 1.0, 0.5) * (LEAST + (1.0 - LEAST) * cosine)

    def get_config(self):
        """Arguments of the constructor."""
        return {"rate": self.rate, "first": self.first, "later": self.later}
