"""Task network -> ONNX file, for programs that have no TensorFlow."""

import importlib
import json
import pathlib

import numpy as np
import tensorflow as tf

import hou_synth
from hou_synth import inference
from hou_synth.io import files
from train.serving import labels_json, signatures

LIBRARIES = ("onnx", "onnxruntime", "tf2onnx")
OPSET = 15  # tf2onnx's own choice; onnxruntime reads it since 1.10, of the year 2021
TOLERANCE = 1e-4  # largest difference from the Keras network, in probability; ours
SIZES = ((1, 64, 64), (2, 97, 131), (1, 200, 75))  # batch, height and width of the images that are compared
MEANING = {
    "images": "(batch, height, width, 3) uint8 RGB of H&E tissue, of any size, its colours normalised by the caller",
    "segmentation": f"(batch, height, width, 1) {labels_json.SEGMENTATION}",
    "detection": "(batch, height, width, 1) probability that a pixel belongs to the core or centre of a nucleus",
}


def write(task, path):
    """Writes the task network as ONNX, atomically; it takes and returns what `serving_default` does.

    The file says in its metadata what it is: `name`, version of `hou_synth`, `microns_per_pixel` and, as JSON, the
    `meaning` of its tensors.

    Args:
        task: task network, logits out.
        path: the file to write; its stem is the name.

    Raises:
        ValueError: if the libraries are not installed, or the file would differ from the network.
        OSError: if it cannot be written; nothing of it stays.
    """
    serve = tf.function(
        lambda images: signatures.probabilities(task, images),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")],
    )
    model = described(converted(serve), pathlib.Path(path).stem)
    content = model.SerializeToString()
    check(network(content), serve)
    files.write_bytes(path, content)


def libraries():
    """The modules `onnx`, `onnxruntime` and `tf2onnx`.

    Raises:
        ValueError: if one is not installed.
    """
    try:
        return [importlib.import_module(name) for name in LIBRARIES]
    except ImportError as error:
        raise ValueError(f'Expected the libraries of ONNX: pip install ".[onnx]". Received: {error}.') from error


def converted(serve):
    """ONNX model of a traced function of images."""
    onnx, _, tf2onnx = libraries()
    model, _ = tf2onnx.convert.from_function(serve, input_signature=serve.input_signature, opset=OPSET)
    outputs = {output.name: output for output in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(outputs[name] for name in inference.OUTPUTS)
    for value in (*model.graph.input, *model.graph.output):
        named = ("batch", "height", "width", 3 if value.name == "images" else 1)
        kind = value.type.tensor_type.elem_type
        value.type.CopyFrom(onnx.helper.make_tensor_type_proto(kind, named))
    return model


def described(model, name):
    """The model with what it is in its metadata."""
    onnx = libraries()[0]
    about = {
        "name": name,
        "hou_synth": hou_synth.__version__,
        "microns_per_pixel": str(inference.MICRONS_PER_PIXEL),
        "meaning": json.dumps(MEANING),
    }
    onnx.helper.set_model_props(model, about)
    onnx.checker.check_model(model)
    return model


def network(source):
    """Network of an ONNX model, as `hou_synth.inference` takes it.

    Args:
        source: path of the file, or its bytes.

    Returns:
        Callable, (b, h, w, 3) uint8 -> dict of `segmentation` and `detection`, (b, h, w, 1) float32.

    Raises:
        ValueError: if onnxruntime is not installed.
    """
    source = source if isinstance(source, bytes) else str(source)
    session = libraries()[1].InferenceSession(source, providers=["CPUExecutionProvider"])

    def run(images):
        return dict(zip(inference.OUTPUTS, session.run(list(inference.OUTPUTS), {"images": images}), strict=True))

    return run


def check(network, expected):
    """Raises ValueError if a network's maps are not those of another, on noise of several sizes."""
    random = np.random.default_rng(0)
    for size in SIZES:
        images = random.integers(0, 256, (*size, 3), np.uint8)
        maps, others = network(images), expected(tf.constant(images))
        for name in inference.OUTPUTS:
            if maps[name].shape != others[name].shape:
                raise ValueError(f"Expected ONNX output {name} of {others[name].shape}. Received: {maps[name].shape}.")
            difference = float(np.abs(maps[name] - others[name]).max())
            if not difference <= TOLERANCE:
                raise ValueError(f"Expected ONNX {name} within {TOLERANCE} of Keras. Received: {difference:.2g} off.")
