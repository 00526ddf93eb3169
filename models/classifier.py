"""The task network that says of a patch whether a lymphocyte is at its centre (paper Sec. 5.4)."""

import keras
from keras import layers

from models.blocks import convolutions

_COUNTS = (1, 2, 3, 4)  # convolutions between the pools; the logits are the 11th
SMALLEST = 64  # side of the smallest patch: four pools leave what the last kernel takes
_VGG_MEAN = 123.68, 116.779, 103.939  # grey levels that Keras's weights of VGG16 want subtracted


def classifier(networks):
    """Classifier: 11 convolutions [paper], 4 max pools; layer widths and pools are ours.

    The last kernel is as large as what is left of a patch of 64x64, so that the network knows where its centre is. Of
    larger patches it has several local logits, whose mean is taken.

    Args:
        networks: `Networks`.

    Returns:
        keras.Model, (b, h, w, 3) float32 in [-1, 1], h and w of at least 64 -> (b, 1) float32 logits; positive means
        a lymphocyte at the centre.
    """
    x = images = keras.Input((None, None, 3), name="images")
    for level, (width, count) in enumerate(zip(networks.classifier_widths, _COUNTS, strict=True), 1):
        x = convolutions(width, count, f"level{level}", networks.normalisation)(x)
        x = layers.MaxPooling2D(name=f"pool{level}")(x)
    x = layers.Conv2D(1, 4, dtype="float32", name="logits")(x)
    return keras.Model(images, layers.GlobalAveragePooling2D(dtype="float32", name="mean")(x), name="classifier")


def vgg16(networks):
    """VGG16 of Keras's applications with one logit, its weights random [the paper's comparison, Table 4].

    Args:
        networks: `Networks`, of which nothing counts.

    Returns:
        keras.Model as `classifier`; its layer `vgg16` takes Keras's weights without top layers.
    """
    images = keras.Input((None, None, 3), name="images")
    reversed_mean = [127.5 - mean for mean in reversed(_VGG_MEAN)]
    x = layers.Rescaling(127.5, reversed_mean, name="levels")(images[..., ::-1])
    x = keras.applications.VGG16(include_top=False, weights=None, pooling="avg", name="vgg16")(x)
    return keras.Model(images, layers.Dense(1, dtype="float32", name="logits")(x), name="vgg16_classifier")
