"""The task network as the paper's CNN: 15 convolutions, 2 pools (paper Sec. 5; layer widths are ours)."""

import keras
from keras import layers

from models.blocks import convolutions, maps

_COUNTS = (2, 4, 6, 2)  # convolutions at full, half, quarter and again half resolution; the logits are the 15th


def cnn(networks):
    """CNN of one path, without skip connections: its field of view is about the paper's patch of 75x75.

    Two transposed convolutions bring the maps back to the image's size, as in the U-Net; they are counted apart.

    Args:
        networks: `Networks`.

    Returns:
        keras.Model, (b, h, w, 3) float32 in [-1, 1], h and w multiples of `models.task.multiple` -> dict of
        `segmentation` and `detection`, (b, h, w, 1) float32 logits.
    """
    full, half, quarter = networks.cnn_widths
    images = keras.Input((None, None, 3), name="images")
    x = convolutions(full, _COUNTS[0], "full", networks.normalisation)(images)
    x = convolutions(half, _COUNTS[1], "half", networks.normalisation)(layers.MaxPooling2D(name="pool1")(x))
    x = convolutions(quarter, _COUNTS[2], "quarter", networks.normalisation)(layers.MaxPooling2D(name="pool2")(x))
    x = layers.Conv2DTranspose(half, 2, strides=2, name="grow1")(x)
    x = convolutions(half, _COUNTS[3], "back", networks.normalisation)(x)
    x = layers.Conv2DTranspose(full, 2, strides=2, name="grow2")(x)
    logits = layers.Conv2D(networks.heads, 3, padding="same", dtype="float32", name="logits")(x)
    return keras.Model(images, maps(logits), name="cnn")
