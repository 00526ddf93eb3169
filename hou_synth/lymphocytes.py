"""Which nuclei are lymphocytes: a classifier looks at a patch around each."""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from hou_synth import inference, model, released
from hou_synth.io import quiet
from hou_synth.normalise import reinhard

SIDE = 64  # of a patch, in pixels at 0.25 microns
BATCH = 256  # patches in one call; ours
OUTPUT = "lymphocyte"  # of the classifier


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """What says how probable a lymphocyte is at the centre of a patch.

    Attributes:
        network: callable, (n, s, s, 3) uint8 -> (n,) float32 probabilities.
        identity: text that names it and changes with its graph or weights.
    """

    network: Callable
    identity: str = ""

    def scores(self, image, labels, microns_per_pixel=None, normalise=True):
        """Probability that each nucleus is a lymphocyte.

        Args:
            image: (h, w, 3) uint8 RGB.
            labels: (h, w) integer ids, 0 = background.
            microns_per_pixel: resolution of the image; None means 0.25 (40X).
            normalise: whether colours are moved to the fixed target first.

        Returns:
            dict of `lymphocyte`, (labels.max() + 1,) float32 by id, NaN for ids that no pixel has.
        """
        whole = inference.at_40x(image, microns_per_pixel)
        whole = reinhard(whole) if normalise else whole
        found = np.full(int(labels.max()) + 1, np.nan, np.float32)
        ids, places = centroids(labels)
        found[ids] = probabilities(self.network, whole, places * inference.scale(microns_per_pixel))
        return {OUTPUT: found}


def centroids(labels):
    """Ids of the nuclei of a label map, and their centroids, (n, 2) x and y in pixels from its corner."""
    counts = np.bincount(labels.ravel())
    ids = np.flatnonzero(counts[1:]) + 1
    rows, columns = np.nonzero(labels)
    sums = [np.bincount(labels[rows, columns], each, len(counts))[ids] for each in (columns, rows)]
    return ids, np.stack(sums, axis=1) / counts[ids, None] + 0.5


def load(path=None):
    """A `Classifier`.

    A SavedModel is a program, which TensorFlow runs: load only those that you trust.

    Args:
        path: `saved_models/<name>` or `saved_models/<name>/<version>`; the released one by default.

    Raises:
        ValueError: if there is no SavedModel, or one that does something else.
    """
    folder = model.model_folder(released.lymphocyte() if path is None else path)
    quiet.tensorflow()
    import tensorflow as tf  # here, so that everything else works without it

    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:  # a damaged model raises types of protobuf and TensorFlow
        raise ValueError(f"Expected a readable SavedModel. Received: {folder} ({error}).") from error
    serving = loaded.signatures.get("serving_default")
    if serving is None or OUTPUT not in serving.structured_outputs:
        raise ValueError(f"Expected a model with the output {OUTPUT}, of train.lymphocyte. Received: {folder}.")

    def network(cut):
        return loaded.signatures["serving_default"](images=tf.constant(cut))[OUTPUT].numpy()

    return Classifier(network, model.identity(folder))


def patches(image, places, side=SIDE):
    """Patches of an image around places; beyond its border it is mirrored.

    Args:
        image: (h, w, 3) uint8 RGB.
        places: (n, 2) x and y in pixels from the image's corner.
        side: of the patches.

    Returns:
        (n, side, side, 3) uint8.
    """
    margin = side // 2
    mirrored = cv2.copyMakeBorder(image, *[margin] * 4, cv2.BORDER_REFLECT_101)
    corners = np.clip(np.floor(places).astype(int), 0, np.array(image.shape[1::-1]) - 1)
    cut = [mirrored[y : y + side, x : x + side] for x, y in corners.tolist()]
    return np.stack(cut) if cut else np.zeros((0, side, side, 3), np.uint8)


def probabilities(network, image, places):
    """Probability that a lymphocyte is at each place: the mean over the patch, its transpose, and both upside down.

    Args:
        network: callable, (n, s, s, 3) uint8 -> (n,) float32 probabilities.
        image: (h, w, 3) uint8 RGB at 0.25 microns per pixel, its colours normalised.
        places: (n, 2) x and y in pixels from the image's corner.

    Returns:
        (n,) float32.
    """
    found = np.zeros(len(places), np.float32)
    for first in range(0, len(places), BATCH):
        cut = patches(image, places[first : first + BATCH])
        turned = (cut, cut[:, ::-1], cut.swapaxes(1, 2), cut.swapaxes(1, 2)[:, ::-1])
        found[first : first + BATCH] = np.mean([network(np.ascontiguousarray(each)) for each in turned], axis=0)
    return found
