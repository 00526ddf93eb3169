import dataclasses
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import hou_synth
from hou_synth import config, inference
from models.task import task
from train.serving import onnx, signatures

pytest.importorskip("tf2onnx")
SMALL = config.Networks(unet_widths=(4, 6, 8), unet_down=(1, 1, 1), unet_up=(1, 1), cnn_widths=(4, 6, 8))
SIZES = [(1, 64, 64), (3, 65, 71), (1, 1, 6), (2, 96, 130), (1, 301, 200)]


def network(kind, normalisation):
    """A task network whose weights and moving statistics are all random, so that nothing cancels."""
    keras.utils.set_random_seed(3)
    made = task(dataclasses.replace(SMALL, network=kind, normalisation=normalisation))
    random = np.random.default_rng(3)
    made.set_weights([w + random.uniform(-0.1, 0.1, w.shape).astype(np.float32) for w in made.get_weights()])
    return made


@pytest.fixture(scope="module", params=[(k, n) for k in ("unet", "cnn") for n in (False, True)], ids=str)
def written(request, tmp_path_factory):
    """A task network and its file."""
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    made = network(*request.param)
    onnx.write(made, path)
    return made, path


def test_the_file_gives_the_network_s_probabilities_at_any_size(written):
    made, path = written
    run, random = onnx.network(path), np.random.default_rng(4)
    for size in SIZES:
        images = random.integers(0, 256, (*size, 3), np.uint8)
        maps, expected = run(images), signatures.probabilities(made, tf.constant(images))
        for name in inference.OUTPUTS:
            assert maps[name].dtype == np.float32 and maps[name].shape == (*size, 1)
            assert expected[name].numpy().std() > 0.001  # a constant map would equal too easily
            np.testing.assert_allclose(maps[name], expected[name], rtol=0, atol=1e-4)
            np.testing.assert_allclose(maps[name][-1:], run(images[-1:])[name], rtol=0, atol=1e-5)


def test_the_file_says_what_it_is(written):
    session = onnx.libraries()[1].InferenceSession(written[1], providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["batch", "height", "width", 3])
    assert [output.name for output in session.get_outputs()] == ["segmentation", "detection"]
    assert all(output.shape == ["batch", "height", "width", 1] for output in session.get_outputs())
    about = session.get_modelmeta().custom_metadata_map
    assert (about["name"], about["hou_synth"]) == ("small", hou_synth.__version__)
    assert float(about["microns_per_pixel"]) == 0.25
    assert json.loads(about["meaning"]).keys() == {"images", "segmentation", "detection"}


def test_the_file_needs_neither_tensorflow_nor_this_package(written, tmp_path):
    program = (
        "import sys, numpy, onnxruntime\n"
        f"session = onnxruntime.InferenceSession({str(written[1])!r}, providers=['CPUExecutionProvider'])\n"
        "maps = session.run(['segmentation'], {'images': numpy.zeros((1, 33, 50, 3), numpy.uint8)})\n"
        "print(maps[0].shape, {'tensorflow', 'hou_synth', 'train'} & set(sys.modules))"
    )
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "check": True}
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    assert subprocess.run([sys.executable, "-c", program], env=bare, **options).stdout == "(1, 33, 50, 1) set()\n"


def off(by):
    """What makes a network of a file whose segmentation is wrong by so much."""
    right = onnx.network

    def wrong(source):
        run = right(source)
        return lambda images: {name: map + by * (name == "segmentation") for name, map in run(images).items()}

    return wrong


@pytest.mark.parametrize("by", [2e-4, np.nan])
def test_a_wrong_file_is_not_written(monkeypatch, tmp_path, by):
    monkeypatch.setattr(onnx, "network", off(by))
    path = tmp_path / "small.onnx"
    path.write_bytes(b"earlier")
    with pytest.raises(ValueError, match="segmentation within 0.0001 of Keras. Received: (0.0002|nan) off"):
        onnx.write(network("cnn", False), path)
    assert [p.name for p in tmp_path.iterdir()] == ["small.onnx"] and path.read_bytes() == b"earlier"


def test_an_interrupted_file_is_not_there(monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        onnx.write(network("cnn", False), tmp_path / "small.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("library", onnx.LIBRARIES)
def test_without_the_libraries_it_says_what_to_install(monkeypatch, tmp_path, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ValueError, match=r'pip install "\.\[onnx\]"') as error:
        onnx.write(network("cnn", False), tmp_path / "small.onnx")
    assert library in str(error.value) and not list(tmp_path.iterdir())
