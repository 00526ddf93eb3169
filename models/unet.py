"""The task network: U-Net with two outputs, detection and segmentation (paper Sec. 5.1; release)."""

import keras
import tensorflow as tf
from keras import layers

from models.blocks import SLOPE


def convolutions(width, count, name, normalisation):
    """A row of 3x3 convolutions with leaky ReLU, batch-normalised if asked for."""

    def apply(x):
        for number in range(1, count + 1):
            x = layers.Conv2D(width, 3, padding="same", use_bias=not normalisation, name=f"{name}_{number}")(x)
            if normalisation:
                x = layers.BatchNormalization(name=f"{name}_{number}_norm")(x)
            x = layers.LeakyReLU(SLOPE, name=f"{name}_{number}_leaky")(x)
        return x

    return apply


def unet(networks):
    """U-Net: 39 convolutions 3x3 and 4 transposed 2x2 with the release's numbers.

    Args:
        networks: `Networks`.

    Returns:
        keras.Model, (b, h, w, 3) float32 in [-1, 1], h and w multiples of `multiple(networks)` -> dict of
        `segmentation` and `detection`, (b, h, w, 1) float32 logits.
    """
    widths, normalisation = networks.unet_widths, networks.normalisation
    images = keras.Input((None, None, 3), name="images")
    x, skips = images, []
    for level, (width, count) in enumerate(zip(widths, networks.unet_down, strict=True), 1):
        x = layers.MaxPooling2D(name=f"pool{level}")(x) if skips else x
        x = convolutions(width, count, f"down{level}", normalisation)(x)
        skips.append(x)
    for level, count in zip(range(len(widths) - 1, 0, -1), networks.unet_up, strict=True):
        x = layers.Conv2DTranspose(widths[level - 1], 2, strides=2, name=f"grow{level}")(x)
        x = layers.Concatenate(name=f"skip{level}")([x, skips[level - 1]])
        x = convolutions(widths[level - 1], count, f"up{level}", normalisation)(x)
    logits = layers.Conv2D(2, 3, padding="same", name="logits")(x)
    outputs = {"segmentation": logits[..., :1], "detection": logits[..., 1:]}
    return keras.Model(images, outputs, name="unet")


def padded(network, images, multiple, training=False):
    """Applies a network to images of any size: edges are repeated to the next multiple, and cut off again.

    Args:
        network: callable, (b, h, w, 3) -> dict of (b, h, w, c).
        images: (b, h, w, 3) float32, h and w of at least 1.
        multiple: of the sides that the network takes.
        training: passed on to the network.

    Returns:
        dict of (b, h, w, c).
    """
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    rows = tf.minimum(tf.range(-(-height // multiple) * multiple), height - 1)
    columns = tf.minimum(tf.range(-(-width // multiple) * multiple), width - 1)
    enlarged = tf.gather(tf.gather(images, rows, axis=1), columns, axis=2)
    outputs = network(enlarged, training=training)
    return {name: output[:, :height, :width] for name, output in outputs.items()}


def multiple(network):
    """The number of pixels that both sides of the U-Net's input are a multiple of."""
    return 2 ** sum(isinstance(layer, layers.MaxPooling2D) for layer in network.layers)
