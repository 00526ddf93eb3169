"""Blocks that the networks share. A block is a closure from tensor to tensor."""

import tensorflow as tf
from keras import initializers, layers

WIDTH = 32  # channels of the refiner, and of the reference branch; release
SLOPE = 0.2  # of the leaky ReLU; release
SMALLEST_REFERENCE = 38  # side of the smallest patch that the reference branch has a code for


def convolution(width, size, name, padding="same"):
    """Convolution with Glorot uniform weights and zero biases, then leaky ReLU 0.2 [release]."""

    def apply(x):
        x = layers.Conv2D(width, size, padding=padding, name=name)(x)
        return layers.LeakyReLU(SLOPE, name=f"{name}_leaky")(x)

    return apply


def residual(width, size, name):
    """Two convolutions, added to the input when it has as many channels [release]."""

    def apply(x):
        y = convolution(width, size, f"{name}_a")(x)
        y = convolution(width, size, f"{name}_b")(y)
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


def no_reference(name="reference"):
    """A code of zeros in the reference branch's place, (b, 1, 1, 32), without parameters [paper, Table 3]."""

    def apply(x):
        x = layers.Rescaling(0.0, name=f"{name}_off")(layers.GlobalAveragePooling2D(name=f"{name}_mean")(x))
        x = layers.RepeatVector(WIDTH, name=f"{name}_wide")(x)
        x = layers.GlobalAveragePooling1D(data_format="channels_first", name=f"{name}_zero")(x)
        return layers.Reshape((1, 1, WIDTH), name=f"{name}_code")(x)

    return apply


def reference_code(networks):
    """The reference branch, or zeros where networks are to do without a reference patch."""
    return reference_branch() if networks.reference else no_reference()


def with_code(name):
    """Concatenates a (b, 1, 1, c) code, tiled over the map, to a map of any size and c channels (Fig. 5)."""

    def apply(x, code):
        blank = layers.Rescaling(0.0, name=f"{name}_blank")(x)  # broadcasting tiles without knowing the size
        return layers.Concatenate(name=name)([x, layers.Add(name=f"{name}_tiled")([blank, code])])

    return apply


def joined(width, size, name):
    """`convolution` of a map concatenated with a tiled code, without "same" padding, in half the work.

    A convolution of a constant map is constant, so the code's half of the kernel is applied to a single tile, and
    what it gives is added everywhere. It is one convolution, of (size, size, 2 c, width) weights in two halves,
    which start as those of the whole would: Glorot's limit knows 2 c + width channels, not c + width.
    """

    def apply(x, code):
        scale = (x.shape[-1] + width) / (2 * x.shape[-1] + width)
        of_code, of_map = (initializers.VarianceScaling(scale, "fan_avg", "uniform") for _ in range(2))
        tile = layers.UpSampling2D(size, name=f"{name}_tile")(code)
        code = layers.Conv2D(width, size, use_bias=False, kernel_initializer=of_code, name=f"{name}_code")(tile)
        x = layers.Conv2D(width, size, kernel_initializer=of_map, name=name)(x)
        return layers.LeakyReLU(SLOPE, name=f"{name}_leaky")(layers.Add(name=f"{name}_joined")([x, code]))

    return apply


def convolutions(width, count, name, normalisation):
    """A row of 3x3 convolutions with leaky ReLU, batch-normalised over all replicas' images if asked for."""
    several = tf.distribute.get_strategy().num_replicas_in_sync > 1

    def apply(x):
        for number in range(1, count + 1):
            x = layers.Conv2D(width, 3, padding="same", use_bias=not normalisation, name=f"{name}_{number}")(x)
            if normalisation:
                x = layers.BatchNormalization(synchronized=several, name=f"{name}_{number}_norm")(x)
            x = layers.LeakyReLU(SLOPE, name=f"{name}_{number}_leaky")(x)
        return x

    return apply


def maps(logits):
    """Channels of logits as the task network's dict of `segmentation` and `detection`; of a single one, it is both."""
    return {"segmentation": logits[..., :1], "detection": logits[..., -1:]}


def fused(segmentation, contour):
    """Logit of what is nucleus and no contour.

        p = sigmoid(s) (1 - sigmoid(c))      =>      logit p = - log(e^-s + e^c + e^(c - s))      [Chen et al. 2016]

    Args:
        segmentation: (b, h, w, 1) logits s.
        contour: (b, h, w, 1) logits c.

    Returns:
        The same shape; no loss is needed on it.
    """

    def softplus(x, name):
        return layers.Activation("softplus", dtype="float32", name=name)(x)

    either = contour + softplus(-segmentation - contour, "fused_either")  # log(e^-s + e^c)
    return -(either + softplus(contour - segmentation - either, "fused_all"))
