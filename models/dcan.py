"""The contour-aware network: nuclei and their contours, fused (Chen et al. 2016; in the paper's Table 1)."""

import keras
from keras import layers

from models.blocks import convolution, convolutions, fused

_WIDTH = 8  # channels of what a level adds to a head; ours


def dcan(networks):
    """Contour-aware network: one path down, and from each of its levels a path up to each of two heads.

    The path down is the U-Net's, of `unet_widths` and `unet_down`. A level's maps are brought to the image's size at
    once by a transposed convolution, as in Chen et al., and the levels' scores are added up. Ours: all levels instead
    of the three deepest, as nuclei are small; no auxiliary losses of single levels.

    Args:
        networks: `Networks`.

    Returns:
        keras.Model, (b, h, w, 3) float32 in [-1, 1], h and w multiples of `models.task.multiple` -> dict of
        `segmentation` and `contour`, and of `detection`, which is a nucleus that is no contour, see
        `models.blocks.fused`: (b, h, w, 1) float32 logits.
    """
    images = keras.Input((None, None, 3), name="images")
    x, scores = images, {"segmentation": [], "contour": []}
    for level, (width, count) in enumerate(zip(networks.unet_widths, networks.unet_down, strict=True)):
        x = layers.MaxPooling2D(name=f"pool{level + 1}")(x) if level else x
        x = convolutions(width, count, f"down{level + 1}", networks.normalisation)(x)
        for head, parts in scores.items():
            parts.append(_grown(2**level, f"{head}{level + 1}")(x))
    segmentation, contour = (layers.Add(dtype="float32", name=head)(parts) for head, parts in scores.items())
    outputs = {"segmentation": segmentation, "contour": contour, "detection": fused(segmentation, contour)}
    return keras.Model(images, outputs, name="dcan")


def _grown(stride, name):
    """What a level says of each pixel of the image: one channel of logits."""

    def apply(x):
        x = convolution(_WIDTH, 1, f"{name}_narrow")(x)
        if stride > 1:
            x = layers.Conv2DTranspose(_WIDTH, 2 * stride, strides=stride, padding="same", name=f"{name}_grow")(x)
        return layers.Conv2D(1, 1, dtype="float32", name=f"{name}_logits")(x)

    return apply
