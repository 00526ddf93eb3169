"""The task network as a U-Net with two outputs, detection and segmentation (paper Sec. 5.1; release)."""

import keras
from keras import layers

from models.blocks import SLOPE, convolutions, maps


def unet(networks):
    """U-Net: 39 convolutions 3x3 and 4 transposed 2x2 with the release's numbers.

    Args:
        networks: `Networks`.

    Returns:
        keras.Model, (b, h, w, 3) float32 in [-1, 1], h and w multiples of `models.task.multiple` -> dict of
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
        width = widths[level] if networks.grow_wide else widths[level - 1]
        x = layers.Conv2DTranspose(width, 2, strides=2, name=f"grow{level}")(x)
        x = layers.LeakyReLU(SLOPE, name=f"grow{level}_leaky")(x) if networks.grow_wide else x
        x = layers.Concatenate(name=f"skip{level}")([x, skips[level - 1]])
        x = convolutions(widths[level - 1], count, f"up{level}", normalisation)(x)
    logits = layers.Conv2D(networks.heads, 3, padding="same", dtype="float32", name="logits")(x)
    return keras.Model(images, maps(logits), name="unet")
