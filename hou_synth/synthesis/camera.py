"""The microscope's camera: focus, noise and compression of a whole patch [ours].

Real tissue has been through them; what is painted onto it has not, and a network would tell it by that.
"""

import math

import cv2
import numpy as np
from scipy.special import ndtri

FOCUS = (0.4, 1.4)  # pixels, standard deviation of the blur
NOISE = 9.0  # grey levels, largest standard deviation
QUALITY = (40, 95)  # of JPEG
_NORMAL = ndtri((np.arange(256, dtype=np.float32) + 0.5) / 256)  # of a random byte: quicker than a draw


def photographed(random, image, probability):
    """A patch that is blurred and noisy, each with a probability, and compressed.

    Args:
        random: `numpy.random.Generator`.
        image: (s, s, 3) float32 grey levels.
        probability: of the blur, and of the noise.

    Returns:
        (s, s, 3) uint8.
    """
    if random.random() < probability:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(*FOCUS))
    if random.random() < probability:
        image = cv2.add(image, noise(random, image.shape))
    return compressed(levels(image), int(random.integers(QUALITY[0], QUALITY[1] + 1)))


def noise(random, shape):
    """Normal noise of single pixels, or of grains of about two, float32 of a shape, in grey levels around 0."""
    single = np.frombuffer(random.bytes(math.prod(shape)), np.uint8).reshape(shape)
    values = cv2.LUT(single, random.uniform(0.0, NOISE) * _NORMAL)
    return 2.0 * cv2.GaussianBlur(values, (0, 0), 0.7) if random.random() < 0.5 else values


def compressed(image, quality):
    """An RGB image, (h, w, 3) uint8, after JPEG of a quality."""
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def levels(image):
    """float32 grey levels as uint8, rounded and clipped."""
    return cv2.convertScaleAbs(cv2.max(image, 0.0))
