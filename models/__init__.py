"""Networks and losses of the paper as functional Keras models and pure functions."""
