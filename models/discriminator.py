"""The discriminator D(X, S) (paper Sec. 4.2, Fig. 4)."""

import keras
from keras import layers

from models.blocks import SMALLEST_REFERENCE, WIDTH, convolution, joined, reference_code

# Groups of (channels, size, convolutions) after the first main convolution; an average pool of 2 between groups
# where the flag says so. The paper's 15 = 5 reference + 1 + 8 + 1 logits.
_GROUPS = {
    "paper": [(32, 5, 2, True), (48, 5, 3, False), (64, 5, 3, False)],
    # The release goes deeper for 400x400, with pools after each group. It names the channels and the number of
    # convolutions, 21 = 5 reference + 1 + 14 + 1 logits; how many are in each group is ours.
    "release": [(32, 5, 2, True), (48, 5, 3, True), (64, 5, 3, True), (80, 3, 3, True), (128, 3, 3, False)],
}


def smallest_patch(networks):
    """Side of the smallest patch on which the discriminator has a logit and the reference branch a code."""
    side = 1
    for _, size, count, pooled in reversed(_GROUPS[networks.discriminator]):
        side = (2 * side if pooled else side) + count * (size - 1)
    return max(side + 2, SMALLEST_REFERENCE)


def discriminator(networks):
    """Discriminator: a map of local logits; positive means real in the type of the reference.

    15 convolutions and 3 pools at 75x75 [paper], or the release's deeper one for 400x400.

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
    for group, (width, size, count, pooled) in enumerate(_GROUPS[networks.discriminator], 1):
        for number in range(1, count + 1):
            name = f"group{group}_{number}"
            first = (group, number) == (1, 1)
            x = joined(width, size, name)(x, code) if first else convolution(width, size, name, "valid")(x)
        if pooled:
            x = layers.AveragePooling2D(2, name=f"pool{group}")(x)
    x = layers.Conv2D(1, 1, dtype="float32", name="logits")(x)
    return keras.Model({"patch": patch, "reference": reference}, x, name="discriminator")
