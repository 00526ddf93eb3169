"""What runs the network of a SavedModel: TensorFlow, or OpenVINO, which is faster on processors with bfloat16."""

import os

import numpy as np

from hou_synth import inference
from hou_synth.io import quiet

ENGINES = ("tensorflow", "openvino")
PRECISIONS = {"BF16": "bf16", "FP32": "f32"}  # OpenVINO's capabilities and hints, the fastest first


def network(folder, engine):
    """Network of a SavedModel.

    Args:
        folder: the SavedModel.
        engine: one of `ENGINES`.

    Returns:
        A callable, see `inference`; and a text that names what changes its answers, "" for TensorFlow.

    Raises:
        ValueError: for another engine or one that is not installed, and a SavedModel that cannot be read or does not
            take images and return the two maps.
    """
    if engine not in ENGINES:
        raise ValueError(f"Expected an engine out of {', '.join(ENGINES)}. Received: {engine!r}.")
    return (_tensorflow(folder), "") if engine == "tensorflow" else _openvino(folder)


def _tensorflow(folder):
    quiet.tensorflow()
    import tensorflow as tf  # here, so that everything else works without it

    try:
        model = tf.saved_model.load(str(folder))
    except Exception as error:  # a damaged model raises types of protobuf and TensorFlow
        raise ValueError(f"Expected a readable SavedModel. Received: {folder} ({error}).") from error
    serving, outputs = model.signatures.get("serving_default"), inference.OUTPUTS
    spec = serving.structured_input_signature[1].get("images") if serving else None
    if spec is None or spec.dtype != tf.uint8 or not set(outputs) <= set(serving.structured_outputs):
        raise _unexpected(folder)

    def network(images):
        if not spec.shape.is_compatible_with(images.shape):
            raise ValueError(f"Expected images of shape {spec.shape}. Received: {images.shape}.")
        try:
            maps = model.signatures["serving_default"](images=tf.constant(images))
            return {name: maps[name].numpy() for name in outputs}
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(f"TensorFlow has none for images of shape {images.shape}") from error

    return network


def _openvino(folder):
    try:
        import openvino  # here, as it is an extra
    except ImportError as error:
        raise ValueError(f"Expected OpenVINO, which the extra [openvino] installs. Received: {error}.") from None
    core = openvino.Core()
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    precision = next(hint for name, hint in PRECISIONS.items() if name in able)
    try:
        model = core.read_model(folder)
    except RuntimeError as error:
        raise ValueError(f"Expected a readable SavedModel. Received: {folder} ({error}).") from error
    names = {name for output in model.outputs for name in output.names}
    if {"images"} != {name for entry in model.inputs for name in entry.names} or not set(inference.OUTPUTS) <= names:
        raise _unexpected(folder)
    hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": os.cpu_count()}
    compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY", **hints})

    def network(images):
        answer = compiled.create_infer_request().infer([np.ascontiguousarray(images)])  # one for each thread
        return {name: np.array(answer[name], np.float32) for name in inference.OUTPUTS}

    return network, f"openvino {precision}"


def _unexpected(folder):
    outputs = " and ".join(inference.OUTPUTS)
    return ValueError(f"Expected serving_default of uint8 images to {outputs}. Received: {folder}.")
