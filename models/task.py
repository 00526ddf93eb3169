"""The task network, whichever was asked for, on images of any size."""

import dataclasses

import numpy as np
import tensorflow as tf
from keras import layers

from models.classifier import classifier, vgg16
from models.cnn import cnn
from models.dcan import dcan
from models.unet import unet

SEGMENTERS = {"unet": unet, "cnn": cnn, "dcan": dcan}  # task networks whose outputs are maps of an image
CLASSIFIERS = {"classifier": classifier, "vgg16": vgg16}  # and whose output is one number for a patch


def task(networks):
    """The task network that `networks.network` names, one of `SEGMENTERS` or `CLASSIFIERS`."""
    return (SEGMENTERS | CLASSIFIERS)[networks.network](networks)


def learned(networks):
    """Names of the maps that a task network has a loss on; the others follow from these."""
    if networks.network == "dcan":
        return "segmentation", "contour"
    return ("segmentation", "detection")[: networks.heads]


def folded(network, networks):
    """The same function without batch normalisation, for inference: it is part of the convolutions before it.

    Args:
        network: task network in float32.
        networks: its `Networks`.

    Returns:
        keras.Model of the same inputs and outputs; the network itself if it has no batch normalisation.
    """
    if not networks.normalisation:
        return network
    plain = task(dataclasses.replace(networks, normalisation=False))
    layer_of = {layer.name: layer for layer in network.layers}
    for layer in plain.layers:
        weights = layer_of[layer.name].get_weights()
        if norm := layer_of.get(f"{layer.name}_norm"):
            gamma, beta, mean, variance = norm.get_weights()
            scale = gamma / np.sqrt(variance + norm.epsilon)
            weights = [weights[0] * scale, beta - mean * scale]
        layer.set_weights(weights)
    return plain


def padded(network, images, multiple, training=False):
    """Applies a network to images of any size: edges are repeated to the next multiple, and cut off again.

    Args:
        network: callable, (b, h, w, 3) -> dict of (b, h, w, c).
        images: (b, h, w, 3) float32, h and w of at least 1.
        multiple: of the sides that the network takes.
        training: passed on to the network.

    Returns:
        dict of (b, h, w, c).
    """
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    rows = tf.minimum(tf.range((height + multiple - 1) // multiple * multiple), height - 1)
    columns = tf.minimum(tf.range((width + multiple - 1) // multiple * multiple), width - 1)
    enlarged = tf.gather(tf.gather(images, rows, axis=1), columns, axis=2)
    outputs = network(enlarged, training=training)
    return {name: output[:, :height, :width] for name, output in outputs.items()}


def multiple(network):
    """The number of pixels that both sides of the network's input are a multiple of."""
    return 2 ** sum(isinstance(layer, layers.MaxPooling2D) for layer in network.layers)
