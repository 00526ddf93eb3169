"""The refiner G(I, S) (paper Sec. 4.2, Fig. 5)."""

import keras
from keras import layers

from models.blocks import WIDTH, convolution, reference_code, residual, with_code


def refiner(networks):
    """Refiner: X = clip(I + r(I, S), -1, 1).

    21 convolutions and 2 pools [paper] with 7 residual blocks; 17 with the release's 5. The first block takes 64
    channels and returns 32, so it has no skip connection [release].

    Args:
        networks: `Networks`.

    Returns:
        keras.Model, dict of `synthetic` and `reference`, (b, h, w, 3) float32 in [-1, 1], h and w of at least
        38 -> (b, h, w, 3) float32 in [-1, 1].
    """
    synthetic = keras.Input((None, None, 3), name="synthetic")
    reference = keras.Input((None, None, 3), name="reference")
    x = convolution(WIDTH, 3, "first")(synthetic)
    x = with_code("with_reference")(x, reference_code(networks)(reference))
    for number in range(1, networks.refiner_blocks + 1):
        x = residual(WIDTH, networks.refiner_size, f"block{number}")(x)
    start = "zeros" if networks.identity else "glorot_uniform"
    change = layers.Conv2D(3, 3, padding="same", kernel_initializer=start, dtype="float32", name="change")(x)
    x = layers.Add(dtype="float32", name="refined")([synthetic, change])
    x = layers.Rescaling(1.0, 1.0, dtype="float32", name="up")(x)
    x = layers.ReLU(max_value=2.0, dtype="float32", name="clip")(x)
    x = layers.Rescaling(1.0, -1.0, dtype="float32", name="down")(x)
    return keras.Model({"synthetic": synthetic, "reference": reference}, x, name="refiner")
