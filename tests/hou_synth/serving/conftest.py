"""The stand-in for TensorFlow Serving, with two versions of a model."""

import copy

import numpy as np
import pytest

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")

import keras

from hou_synth import config, inference
from hou_synth.serving import retries
from tests import fake_server
from train.serving import signatures


def dark(threshold):
    """A task network to which tissue darker than a threshold is nucleus."""
    image = keras.Input((None, None, 3))
    near = keras.layers.AveragePooling2D(3, 1, padding="same")(image)
    tint = keras.layers.Conv2D(2, 1, kernel_initializer="zeros", name="tint")
    maps = tint(near)
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[0, 0, 1] = -20, -8
    tint.set_weights([kernel, np.float32([20 * threshold, 3])])
    outputs = {name: keras.layers.Conv2D(1, 1, name=name) for name in inference.OUTPUTS}
    network = keras.Model(image, {name: layer(maps) for name, layer in outputs.items()})
    for channel, layer in enumerate(outputs.values()):
        layer.set_weights([np.eye(2, dtype=np.float32)[channel].reshape(1, 1, 2, 1), np.zeros(1, np.float32)])
    return network


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Folder discs/ with versions 1 and 2, which differ in what is dark."""
    folder = tmp_path_factory.mktemp("models") / "discs"
    config.save(config.preset("cpu", area_min=33), folder.parent / "config.json")
    for version, threshold in {1: -0.2, 2: 0.1}.items():
        documents = {"config.json": (folder.parent / "config.json").read_text()}
        signatures.Served(dark(threshold), documents).save(folder / str(version))
    return folder


@pytest.fixture(scope="session")
def core(folder):
    return fake_server.Core(discs=folder)


@pytest.fixture(scope="session")
def listening(core):
    with fake_server.StandIn(core) as server:
        yield server


@pytest.fixture
def server(listening, core, monkeypatch):
    """The stand-in with versions 1 and 2, as new."""
    monkeypatch.setattr(core, "models", {"discs": {n: copy.copy(core.models["discs"][n]) for n in (1, 2)}})
    core.requests.clear()
    core.tricks.clear()
    core.always.clear()
    return listening


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """The seconds that would have been waited between attempts."""
    waits = []
    monkeypatch.setattr(retries.Attempts, "pause", lambda self, seconds: waits.append(seconds))
    return waits


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (2, 67, 45, 3), np.uint8)
