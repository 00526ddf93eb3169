"""Checks inside the graph of a served model, with messages of ours.

A server checks the type of a tensor and not its shape, and a graph that declares a shape takes every check of it for
passed. So what is checked here is a tensor whose shape the graph does not know.
"""

import tensorflow as tf

IMAGES = tf.TensorSpec((None, None, None, 3), tf.uint8)
TEXTS = tf.TensorSpec((None,), tf.string)


def checked(images, name):
    """Images that the graph has found to be (b, h, w, 3) with a pixel at least."""
    hidden = tf.compat.v1.placeholder_with_default(images, None)
    shape = tf.shape(hidden)
    right = (tf.size(shape) == 4) & (tf.concat([[0], shape], 0)[-1] == 3) & (tf.reduce_min(shape) > 0)
    with required(right, f"Expected {name} of shape (b, h, w, 3), uint8 RGB, not empty. Received: shape {{}}.", shape):
        return tf.ensure_shape(hidden, IMAGES.shape)


def listed(texts, name):
    """Texts that the graph has found to be (b,) with one at least."""
    hidden = tf.compat.v1.placeholder_with_default(texts, None)
    shape = tf.shape(hidden)
    right = (tf.size(shape) == 1) & (tf.reduce_min(shape) > 0)
    with required(right, f"Expected {name} of shape (b,), not empty. Received: shape {{}}.", shape):
        return tf.ensure_shape(hidden, TEXTS.shape)


def required(condition, message, *values):
    """Context whose operations run only if a condition holds; else the call fails with a message.

    Args:
        condition: () bool.
        message: template with `{}` for each value.
        *values: tensors.
    """
    text = tf.strings.format(message, values) if values else message
    return tf.control_dependencies([tf.debugging.Assert(condition, [text])])
