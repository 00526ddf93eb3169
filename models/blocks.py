"""Blocks that the networks share. A block is a closure from tensor to tensor."""

from keras import layers

WIDTH = 32  # channels of the refiner, and of the reference branch; release
SLOPE = 0.2  # of the leaky ReLU; release
SMALLEST_REFERENCE = 38  # side of the smallest patch that the reference branch has a code for


def convolution(width, size, name, padding="same"):
    """Convolution with Glorot uniform weights and zero biases, then leaky ReLU 0.2 [release]."""

    def apply(x):
        x = layers.Conv2D(width, size, padding=padding, name=name)(x)
        return layers.LeakyReLU(SLOPE, name=f"{name}_leaky")(x)

    return apply


def residual(width, name):
    """Two convolutions 3x3, added to the input when it has as many channels [release]."""

    def apply(x):
        y = convolution(width, 3, f"{name}_a")(x)
        y = convolution(width, 3, f"{name}_b")(y)
        return layers.Add(name=name)([x, y]) if x.shape[-1] == width else y

    return apply


def reference_branch(name="reference"):
    """The Siamese branch: a real patch -> (b, 1, 1, 32) code of its texture; 5 convolutions, 2 pools [release]."""

    def apply(x):
        x = convolution(WIDTH, 4, f"{name}_1", "valid")(x)
        x = layers.AveragePooling2D(3, 2, name=f"{name}_pool")(x)
        for number in range(2, 6):
            x = convolution(WIDTH, 5, f"{name}_{number}", "valid")(x)
        return layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_code")(x)

    return apply


def with_code(name):
    """Concatenates a (b, 1, 1, c) code, tiled over the map, to a map of any size and c channels (Fig. 5)."""

    def apply(x, code):
        blank = layers.Rescaling(0.0, name=f"{name}_blank")(x)  # broadcasting tiles without knowing the size
        return layers.Concatenate(name=name)([x, layers.Add(name=f"{name}_tiled")([blank, code])])

    return apply


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


def maps(logits):
    """Two channels of logits as the task network's dict of `segmentation` and `detection`."""
    return {"segmentation": logits[..., :1], "detection": logits[..., 1:]}
