"""Which nuclei are lymphocytes: a classifier looks at a patch around each."""

import cv2
import numpy as np

from hou_synth import model, released
from hou_synth.io import quiet

SIDE = 64  # of a patch, in pixels at 0.25 microns
BATCH = 256  # patches in one call; ours
OUTPUT = "lymphocyte"  # of the classifier


def load(path=None):
    """A classifier: a callable from patches, (n, s, s, 3) uint8, to probabilities, (n,) float32.

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

    def classifier(cut):
        return loaded.signatures["serving_default"](images=tf.constant(cut))[OUTPUT].numpy()

    return classifier


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
