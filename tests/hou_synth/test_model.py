import subprocess
import sys

import numpy as np
import pytest

import hou_synth
from hou_synth import config, engines, inference, instances, model
from tests.paths import ROOT


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (150, 233, 3), np.uint8)


def test_a_model_segments_with_its_own_thresholds(tmp_path, stained):
    exported(tmp_path / "unet" / "3", -1.0, offset=1.0)  # what is dark in green is nucleus
    (tmp_path / "unet" / "3" / "assets.extra").mkdir()
    own = config.preset("cpu", segmentation_threshold=0.6, detection_threshold=0.6, area_min=230)
    config.save(own, tmp_path / "unet" / "3" / "assets.extra" / "config.json")
    loaded = hou_synth.load(tmp_path / "unet")
    labels = loaded.segment(stained, microns_per_pixel=0.25, normalise=False)
    assert labels.dtype == np.int32 and labels.shape == stained.shape[:2]
    assert labels.max() > 1 and np.bincount(labels.ravel())[1:].min() >= 230
    expected = inference.segment(loaded.network, stained, False, 0.25, own.instances)
    np.testing.assert_array_equal(labels, expected)
    assert (loaded.segment(stained, normalise=False) == labels).all()
    assert loaded.segment(stained, 0.5, False).max() > labels.max() and loaded.microns_per_pixel == 0.25
    assert loaded.identity.startswith("unet/3 sha256:") and loaded.card == ""


def test_the_released_model_is_the_default():
    loaded = hou_synth.load()
    assert loaded.card.startswith("# universal_unet\n") and loaded.thresholds.transposed
    assert loaded.identity == model.identity("saved_models/universal_unet/2")


def test_the_package_imports_nothing_heavy():
    code = "import sys, hou_synth; sys.exit(any(name in sys.modules for name in ('numpy', 'cv2', 'tensorflow')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("path", ["", "nowhere"])
def test_no_model_under_a_path(path):
    with pytest.raises(ValueError, match="Expected a SavedModel folder"):
        hou_synth.load(path)


def test_a_run_is_told_from_its_model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="a run: its model lies in saved_models"):
        hou_synth.load(tmp_path)


def exported(folder, scale, name="images", offset=0.0):
    tf = pytest.importorskip("tensorflow")

    class Dark(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8, name=name)])
        def serve(self, images):
            segmentation = tf.cast(images[..., 1:2], tf.float32) * self.scale + offset
            return {"segmentation": segmentation, "detection": segmentation / 2}

        def __init__(self):
            super().__init__()
            self.scale = tf.Variable(scale / 255)

    module = Dark()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


def test_load_takes_the_highest_version(tmp_path, noise):
    exported(tmp_path / "unet" / "9", 0.5)
    exported(tmp_path / "unet" / "10", 1.0)
    maps = hou_synth.load(tmp_path / "unet").network(noise[None])
    np.testing.assert_allclose(maps["segmentation"][0, ..., 0], noise[..., 1] / 255, atol=1e-6)
    maps = hou_synth.load(tmp_path / "unet" / "9").network(noise[None])
    np.testing.assert_allclose(maps["segmentation"][0, ..., 0], noise[..., 1] / 510, atol=1e-6)
    with pytest.raises(ValueError, match="Expected images of shape"):
        hou_synth.load(tmp_path / "unet").network(noise[None, ..., :1])


def test_openvino_answers_as_tensorflow_does(tmp_path, noise):
    pytest.importorskip("openvino")
    exported(tmp_path / "unet" / "1", 1.0)
    one, other = (hou_synth.load(tmp_path / "unet", engine) for engine in engines.ENGINES)
    for images in (noise[None], np.stack([noise[:64, :96]] * 2)):
        expected, found = one.network(images), other.network(images)
        assert set(found) == set(inference.OUTPUTS)
        for name in inference.OUTPUTS:
            assert found[name].dtype == np.float32
            np.testing.assert_allclose(found[name], expected[name], atol=0.01)  # bfloat16
    assert other.identity.startswith(one.identity + " openvino ")


def test_engines_that_cannot_be_had(tmp_path, monkeypatch):
    exported(tmp_path / "unet" / "1", 1.0)
    with pytest.raises(ValueError, match="engine out of tensorflow, openvino. Received: 'torch'"):
        hou_synth.load(tmp_path / "unet", "torch")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ValueError, match="which the extra"):
        hou_synth.load(tmp_path / "unet", "openvino")


def test_identity_changes_with_the_model(tmp_path):
    folder = tmp_path / "unet" / "3"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"weights")
    first = model.identity(tmp_path / "unet")
    assert first.startswith("unet/3 sha256:") and model.identity(folder) == first
    (folder / "variables" / "variables.index").write_bytes(b"Weights")
    assert model.identity(folder) != first
    with pytest.raises(ValueError, match="SavedModel"):
        model.identity(tmp_path / "nowhere")


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_load_what_is_no_model(tmp_path, engine):
    pytest.importorskip(engine)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="readable SavedModel"):
        hou_synth.load(tmp_path, engine)
    exported(tmp_path / "other", 1.0, name="pictures")
    with pytest.raises(ValueError, match="serving_default of uint8 images"):
        hou_synth.load(tmp_path / "other", engine)


def test_thresholds_come_with_the_model(tmp_path):
    folder = tmp_path / "model" / "3"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"")
    assert model.thresholds(tmp_path / "model") == instances.DEFAULT
    (folder / "assets.extra").mkdir()
    own = config.preset("cpu", area_min=33)
    config.save(own, folder / "assets.extra" / "config.json")
    assert model.thresholds(tmp_path / "model") == own.instances
