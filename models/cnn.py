"""The task network as the paper's CNN: 15 convolutions, 2 pools (paper Sec. 5; layer widths are ours)."""

import keras
from keras import layers

from models.blocks import convolutions, maps

_COUNTS = (2, 4, 6, 2)  # convolutions at full, half, quarter and again half resolution; the logits are the 15th


def cnn(networks):
    """CNN of one path, without skip connections: its field of view is about the paper's patch of 75x75.

    The maps are computed at half resolution and enlarged, so outlines are smoother than the U-Net's [ours].

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
    x = layers.UpSampling2D(2, interpolation="bilinear", name="grow1")(x)
    x = convolutions(half, _COUNTS[3], "back", networks.normalisation)(x)
    logits = layers.Conv2D(2, 3, padding="same", name="logits")(x)
    logits = layers.UpSampling2D(2, interpolation="bilinear", name="grow2")(logits)
    return keras.Model(images, maps(logits), name="cnn")
