"""Features of a patch that no training optimises, to compare sets of patches by: random-convolutional, textural.

They replace the features of a trained network that the Frechet distance is usually taken of: those need weights
that are not at hand, and were learned on other pictures. Both are few, so that the covariance of a few hundred
patches is well estimated.
"""

import functools

import cv2
import numpy as np
from skimage.color import rgb_from_hed
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern

from hou_synth.synthesis import stain

_WIDTH, _SCALES = 8, 4  # channels of a layer; scales, of half the size each
_SLOPE = 0.2  # of the leaky ReLU
_PERCENTILES = (5, 50, 95)
_SIGMAS = (1.0, 2.0, 4.0)  # of the gradients
_GREYS = 16  # levels of the co-occurrence
_DISTANCES = (1, 4)  # and its pixels apart
_PROPERTIES = ("contrast", "homogeneity", "correlation")


def convolutional(image):
    """Features of fixed random networks of two convolutions, one for each scale: mean and deviation by channel.

        y_k = f(V_k * f(W_k * x_k)),   x_0 = I / 127.5 - 1,   x_k = half(x_k-1),   f leaky ReLU
        V, W ~ Normal(0, 2 / fan in)      [He 2015]

    Half of the kernels sum to zero in every channel: the others follow colour, which would drown texture.

    Args:
        image: (h, w, 3) uint8 RGB, at least 40 pixels a side.

    Returns:
        (64,) float32.
    """
    x, statistics = image.astype(np.float32) / 127.5 - 1.0, []
    for scale, layers in enumerate(_network()):
        x = y = _halved(x) if scale else x
        for weights in layers:
            y = _convolved(y, weights)
            y = np.maximum(y, _SLOPE * y)
        statistics += [y.mean((0, 1)), y.std((0, 1))]
    return np.concatenate(statistics)


@functools.cache
def _network():
    """The frozen weights: for every scale two matrices (9 channels, 8)."""
    random = np.random.default_rng(0)
    return [[_kernels(random, channels) for channels in (3, _WIDTH)] for _ in range(_SCALES)]


def _kernels(random, channels):
    """Kernels 3x3 of one layer, half of them without their mean, as a matrix (9 channels, 8) float32."""
    made = random.normal(0, np.sqrt(2 / (9 * channels)), (9, channels, _WIDTH))
    made[..., : _WIDTH // 2] -= made[..., : _WIDTH // 2].mean(0)
    return made.reshape(9 * channels, _WIDTH).astype(np.float32)


def _convolved(x, weights):
    """Valid convolution 3x3."""
    height, width = x.shape[0] - 2, x.shape[1] - 2
    shifted = [x[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.concatenate(shifted, -1) @ weights


def _halved(x):
    """Mean of 2x2 pixels; an odd last row or column is cut off."""
    x = x[: x.shape[0] // 2 * 2, : x.shape[1] // 2 * 2]
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4.0


def textural(image):
    """Hand-made features of stain and texture.

    Of haematoxylin, eosin and residual the mean, deviation and percentiles; of the first two the mean gradient
    at several scales; of the grey image the local binary patterns and the co-occurrence at two distances.

    Args:
        image: (h, w, 3) uint8 RGB.

    Returns:
        (36,) float32.
    """
    stains = (*stain.deconvolve(image), _residual(image))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    values = [value for layer in stains for value in (layer.mean(), layer.std(), *np.percentile(layer, _PERCENTILES))]
    values += [_gradient(layer, sigma) for layer in stains[:2] for sigma in _SIGMAS]
    return np.float32([*values, *_patterns(grey), *_cooccurrence(grey)])


def _residual(image):
    """The part of -log10(2 + I / 255) that neither stain explains, (h, w) float32, summed over the channels."""
    haematoxylin, eosin = stain.deconvolve(image)
    density = -np.log10(2.0 + image.astype(np.float32) / 255.0).sum(-1)
    return density - haematoxylin * rgb_from_hed[0].sum() - eosin * rgb_from_hed[1].sum()


def _gradient(layer, sigma):
    """Mean length of the gradient after a Gaussian."""
    smooth = cv2.GaussianBlur(layer, (0, 0), sigma)
    return np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)).mean()


def _patterns(grey):
    """Shares of the uniform local binary patterns [Ojala 2002] but the last, as all sum to 1; (9,)."""
    codes = local_binary_pattern(grey, 8, 1, "uniform").astype(np.uint8)
    return np.bincount(codes.ravel(), minlength=10)[:9] / codes.size


def _cooccurrence(grey):
    """Contrast, homogeneity and correlation of grey levels [Haralick 1973], mean over both directions; (6,)."""
    levels = grey // (256 // _GREYS)
    matrix = graycomatrix(levels, _DISTANCES, (0, np.pi / 2), _GREYS, symmetric=True, normed=True)
    return np.concatenate([graycoprops(matrix, name).mean(1) for name in _PROPERTIES])
