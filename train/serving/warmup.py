"""Requests that TensorFlow Serving answers before it lets a model go into service: the first answers are slow ones."""

import cv2
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from data import tissue

NAME = "tf_serving_warmup_requests"  # in assets.extra; Serving's
BATCHES = (1, 2, 4, 8)  # the sizes that the shipped batching configuration allows; ours
WINDOW = 512  # side of its image: nearly a window that `hou_synth.segment` sends, and all that the tissue has
GLASS = 255  # grey level of a slide where there is no tissue


def write(path, name, document, patch=None):
    """Writes requests of every signature and batch size, the first image tissue and the others glass.

    Args:
        path: of the TFRecord file.
        name: of the model.
        document: name of a file that `document` knows.
        patch: side of a patch for `refine`; None for a model without it.
    """
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests(document, patch):
            writer.write(_logged(name, signature, inputs).SerializeToString())


def requests(document, patch=None):
    """Yields the name of a signature and its inputs, a dict of `TensorProto`.

    Args:
        document: as for `write`.
        patch: as for `write`.
    """
    image = next(iter(tissue.tiles().values()))[:WINDOW, :WINDOW]
    pictures = image, np.full_like(image, GLASS)
    files = [cv2.imencode(".png", picture[..., ::-1])[1].tobytes() for picture in pictures]
    for count in BATCHES:
        yield "serving_default", {"images": _images(image, count)}
        yield "encoded", {"image_bytes": tf.make_tensor_proto([files[number > 0] for number in range(count)])}
        yield "document", {"names": tf.make_tensor_proto([document] * count)}
        if patch:
            patches = _images(image[:patch, :patch], count)
            yield "refine", {"synthetic": patches, "reference": patches}


def _images(image, count):
    """(count, h, w, 3) uint8; the last of the values that a `TensorProto` names stands for all that follow."""
    proto = tf.make_tensor_proto(GLASS, tf.uint8, (count, *image.shape))
    proto.int_val[:] = [*image.ravel().tolist(), GLASS][: image.size + (count > 1)]
    return proto


def _logged(name, signature, inputs):
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(value)
    return log
