"""A criterion of models without labels: does the output agree with itself, and in amount with a classical estimate?"""

import dataclasses
import functools
from collections.abc import Callable

import cv2
import numpy as np
from skimage.color import hed2rgb, rgb2hed

from hou_synth import inference, instances, metrics

MULTIPLE = 128  # of which sides are multiples, so that three quarters of them are multiples of 32; ours
BATCH = 8  # images in one call; ours
PALER = (0.75, 1.15, 1.0)  # factors of haematoxylin, eosin and the residual; ours


@dataclasses.dataclass(frozen=True)
class View:
    """Another look at the same tissue: `there` changes an image, `back` brings a map of it to the image's shape."""

    there: Callable
    back: Callable


def turned(pixels, _shape=None):
    """Image or map with rows and columns exchanged."""
    return np.ascontiguousarray(pixels.swapaxes(0, 1))


def restained(image, factors):
    """Image (h, w, 3) uint8 with other amounts of stains: factors of haematoxylin, eosin and the residual."""
    return np.clip(np.rint(255 * hed2rgb(rgb2hed(image) * factors)), 0, 255).astype(np.uint8)


def resized(mapped, shape):
    """Map of another shape (height, width); linear, so that probabilities stay within 0 to 1."""
    larger = shape[0] > mapped.shape[0]
    return cv2.resize(mapped, shape[::-1], interpolation=cv2.INTER_LINEAR if larger else cv2.INTER_AREA)


VIEWS = {
    "turned": View(turned, turned),
    "paler": View(functools.partial(restained, factors=PALER), lambda mapped, shape: mapped),
    "smaller": View(functools.partial(inference.resized, factor=0.75), resized),
    "larger": View(functools.partial(inference.resized, factor=1.25), resized),
}
PARTS = ("criterion", "agreement", "amount", *VIEWS, "separation")


def criterion(network, images, settings=instances.DEFAULT):
    """How far a network can be trusted on images without labels: agreement x amount      [ours].

    Agreement is the mean DICE average of the nuclei of an image and of its views, so it falls with ragged, broken and
    doubtful nuclei. Networks that call too much or too little can agree with themselves: amount is the overlap of the
    share of each image that is called nucleus with the share that Otsu's threshold finds,

        amount = min(o(s, t), o(1 - s, 1 - t)),    o(s, t) = 2 sum_i min(s_i, t_i) / sum_i (s_i + t_i)

    so that calling everything, or nothing where there is something, gives 0. The `separation` beside it is no factor;
    it judges states of a network that is adapted.

    Args:
        network: callable, see `hou_synth.inference`.
        images: (n, h, w, 3) uint8 RGB with their colours moved to the fixed target; sides are multiples of 128.
        settings: thresholds and sizes, an `Instances`.

    Returns:
        Dict of `PARTS`, floats from 0 to 1; more is better. The views' own agreement is under their names.

    Raises:
        ValueError: for images of other shapes, or a network that returns something else.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images) or any(n % MULTIPLE for n in images.shape[1:3]):
        raise ValueError(
            f"Expected uint8 images of shape (n, h, w, 3), sides multiples of {MULTIPLE}. "
            f"Received: {images.dtype} of shape {images.shape}."
        )
    mapped = maps(network, images)
    parts = judged(mapped, otsu_shares(images), settings)
    return {**parts, "separation": separation(nuclei(mapped["plain"], settings), images)}


def maps(network, images):
    """A network's maps of images and of their views, on the pixels of the images.

    Args:
        network: callable, see `hou_synth.inference`.
        images: as for `criterion`.

    Returns:
        Dict of "plain" and the names of `VIEWS` to lists of (h, w, 2) float32, segmentation and detection.
    """
    mapped = {"plain": list(outputs(network, images))}
    for name, view in VIEWS.items():
        changed = outputs(network, np.stack([view.there(image) for image in images]))
        back = ([view.back(np.ascontiguousarray(m[..., i]), images.shape[1:3]) for i in range(2)] for m in changed)
        mapped[name] = [np.stack(pair, axis=-1) for pair in back]
    return mapped


def outputs(network, images):
    """Yields a network's maps of images (n, h, w, 3), (h, w, 2) float32, `BATCH` images a call."""
    for first in range(0, len(images), BATCH):
        yield from inference.outputs(network, images[first : first + BATCH])


def judged(maps, expected, settings):
    """The criterion of maps that are there already: `criterion` for other thresholds.

    Args:
        maps: as `maps` returns them.
        expected: as `otsu_shares` returns them.
        settings: thresholds and sizes, an `Instances`.

    Returns:
        As `criterion`, without the separation.
    """
    views = {name: nuclei(mapped, settings) for name, mapped in maps.items()}
    plain = views.pop("plain")
    parts = {name: alike(plain, labelled) for name, labelled in views.items()}
    agreement, share = float(np.mean(list(parts.values()))), amount(shares(plain), expected)
    return {"criterion": agreement * share, "agreement": agreement, "amount": share, **parts}


def nuclei(maps, settings):
    """Label maps, list of (h, w) int32, of maps (h, w, 2)."""
    return [instances.nuclei(*np.ascontiguousarray(m.transpose(2, 0, 1)), settings) for m in maps]


def otsu_shares(images):
    """Share of each image that Otsu's threshold calls nucleus, (n,) float64."""
    return shares([inference.otsu_nuclei(image) for image in images])


def alike(ones, others):
    """Mean DICE average of the label maps of two lists."""
    return float(np.mean([metrics.dice_average(*pair) for pair in zip(ones, others, strict=True)]))


def shares(labelled):
    """Share of each label map that is nucleus, (n,) float64."""
    return np.array([np.mean(labels > 0) for labels in labelled])


def amount(called, expected):
    """Agreement of the shares of images that are nucleus, and of the rest: the lower one of their overlaps.

    Args:
        called: (n,) from 0 to 1.
        expected: (n,) from 0 to 1.

    Returns:
        float from 0 to 1.
    """
    return min(overlap(called, expected), overlap(1 - called, 1 - expected))


def overlap(ones, others):
    """2 sum min(a, b) / sum (a + b) of two arrays of at least 0; 1 if both are 0."""
    total = (ones + others).sum()
    return float(2 * np.minimum(ones, others).sum() / total) if total else 1.0


def separation(labelled, images):
    """How far nuclei differ from the rest of their image: the share of the variance of absorbed red that they explain.

        eta = p (1 - p) (mean inside - mean outside)^2 / variance      [Otsu 1979, who chooses a threshold by it]

    with p the share that is nucleus. Other than the amount it falls when nuclei are missed here and invented there, and
    it does not ask for the share that Otsu's threshold finds.

    Args:
        labelled: list of (h, w) label maps.
        images: (n, h, w, 3) uint8 RGB.

    Returns:
        Mean over the images, float from 0 to 1.
    """
    red = (cv2.GaussianBlur(-np.log((image[..., 0] + 1.0) / 256.0), (0, 0), 1.0) for image in images)
    return float(np.mean([explained(labels > 0, values) for labels, values in zip(labelled, red, strict=True)]))


def explained(mask, values):
    """Share of the variance of values (h, w) between those inside and outside of a mask; 0 if one of these is empty."""
    share, variance = mask.mean(), values.var()
    if share in (0, 1) or variance == 0:
        return 0.0
    return share * (1 - share) * (values[mask].mean() - values[~mask].mean()) ** 2 / variance
