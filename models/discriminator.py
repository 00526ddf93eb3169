"""The discriminator D(X, S) (paper Sec. 4.2, Fig. 4)."""

import keras
from keras import layers

from models.blocks import SMALLEST_REFERENCE, WIDTH, convolution, joined, reference_code

# Groups of (channels, side of each convolution's kernel, side of the average pool after them, with stride 2, or 0)
# after the first main convolution.
_GROUPS = {
    # 15 = 5 reference + 1 + 8 + 1 logits.
    "paper": [(32, (5, 5), 2), (48, (5, 5, 5), 0), (64, (5, 5, 5), 0)],
    # The release goes deeper for 400x400: 21 = 5 reference + 1 + 14 + 1 logits.
    "release": [(32, (5, 5), 2), (48, (5, 5, 5), 3), (64, (5, 5, 5), 3), (80, (5, 5, 5), 3), (128, (5, 3, 3), 0)],
    # What preset `release` had in configurations of version 1: the release's channels, with kernels and pools of ours.
    "early": [(32, (5, 5), 2), (48, (5, 5, 5), 2), (64, (5, 5, 5), 2), (80, (3, 3, 3), 2), (128, (3, 3, 3), 0)],
}


def smallest_patch(networks):
    """Side of the smallest patch on which the discriminator has a logit and the reference branch a code."""
    side = 1
    for _, sizes, pool in reversed(_GROUPS[networks.discriminator]):
        side = (2 * (side - 1) + pool if pool else side) + sum(size - 1 for size in sizes)
    return max(side + 2, SMALLEST_REFERENCE)


def discriminator(networks):
    """Discriminator: a map of local logits; positive means real in the type of the reference.

    15 convolutions and 3 pools at 75x75 [paper], or the release's 21 and 6, which has 5x5 logits at 400x400.

    Args:
        networks: `Networks`.

    Returns:
        keras.Model, dict of `patch` and `reference`, (b, h, w, 3) float32 in [-1, 1], h and w of at least
        `smallest_patch` -> (b, h', w', 1) float32 logits.
    """
    patch = keras.Input((None, None, 3), name="patch")
    reference = keras.Input((None, None, 3), name="reference")
    x = convolution(WIDTH, 3, "first", "valid")(patch)
    code = reference_code(networks)(reference)
    for group, (width, sizes, pool) in enumerate(_GROUPS[networks.discriminator], 1):
        for number, size in enumerate(sizes, 1):
            name = f"group{group}_{number}"
            first = (group, number) == (1, 1)
            x = joined(width, size, name)(x, code) if first else convolution(width, size, name, "valid")(x)
        if pool:
            x = layers.AveragePooling2D(pool, 2, name=f"pool{group}")(x)
    if networks.discriminator == "release":  # the softmax of two logits is the sigmoid of their difference
        x = layers.Conv2D(2, 1, dtype="float32", name="logits")(x)
        x = x[..., :1] - x[..., 1:]
    else:
        x = layers.Conv2D(1, 1, dtype="float32", name="logits")(x)
    return keras.Model({"patch": patch, "reference": reference}, x, name="discriminator")
