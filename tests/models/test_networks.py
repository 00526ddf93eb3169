import dataclasses
import hashlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from hou_synth import config, released
from models.blocks import convolution, joined, with_code
from models.cnn import cnn
from models.discriminator import discriminator, smallest_patch
from models.refiner import refiner
from models.task import folded, multiple, padded, task
from models.unet import unet
from tests.paths import ROOT

PAPER = config.preset("paper").networks
RELEASE = config.preset("release").networks
SMALL = config.preset("quick").networks


def count(model, *kinds):
    return sum(isinstance(layer, kinds) for layer in model.layers)


def convolutions(model):
    """Those of the paper's count; the code's half of a kernel is a part of one."""
    return sum(type(layer) is keras.layers.Conv2D and not layer.name.endswith("_code") for layer in model.layers)


def pools(model):
    return count(model, keras.layers.AveragePooling2D, keras.layers.GlobalAveragePooling2D)


def noise(side, batch=1, seed=0):
    return tf.random.stateless_uniform((batch, side, side, 3), (seed, 1), -1.0, 1.0)


@pytest.mark.parametrize("networks,number", [(PAPER, 21), (RELEASE, 17)])
def test_refiner_layers(networks, number):
    assert (convolutions(refiner(networks)), pools(refiner(networks))) == (number, 2)


@pytest.mark.parametrize("networks,numbers", [(PAPER, (15, 3)), (RELEASE, (21, 6))])
def test_discriminator_layers(networks, numbers):
    assert (convolutions(discriminator(networks)), pools(discriminator(networks))) == numbers


def test_unet_layers():
    model = unet(PAPER)
    assert (convolutions(model), count(model, keras.layers.Conv2DTranspose)) == (39, 4)
    assert {name: logits.shape[-1] for name, logits in model.output.items()} == {
        "segmentation": 1,
        "detection": 1,
    }


def test_cnn_layers():
    model = cnn(PAPER)
    assert (convolutions(model), count(model, keras.layers.MaxPooling2D)) == (15, 2)
    assert {name: logits.shape[-1] for name, logits in model.output.items()} == {"segmentation": 1, "detection": 1}


def test_cnn_sees_about_the_paper_s_patch():
    model, image = cnn(PAPER), tf.zeros((1, 160, 160, 3))
    with tf.GradientTape() as tape:
        tape.watch(image)
        middle = model(image)["segmentation"][0, 80, 80, 0]
    seen = tf.reduce_any(tape.gradient(middle, image)[0] != 0, axis=(0, 2))
    assert 70 <= int(tf.reduce_sum(tf.cast(seen, tf.int32))) <= 110


@pytest.mark.parametrize("network", ["unet", "cnn"])
def test_task_is_the_network_that_is_asked_for(network):
    assert task(config.preset("quick", network=network).networks).name == network


@pytest.mark.parametrize("network", ["unet", "cnn"])
def test_folded_is_the_same_function_without_batch_normalisation(network):
    networks = dataclasses.replace(SMALL, network=network, normalisation=True)
    whole, random = task(networks), np.random.default_rng(0)
    kept = whole.get_weights()
    whole.set_weights([w + random.uniform(0, 0.5, w.shape) if w.ndim == 1 else w for w in kept])  # statistics, biases
    plain = folded(whole, networks)
    assert count(whole, keras.layers.BatchNormalization) > 0 == count(plain, keras.layers.BatchNormalization)
    assert folded(plain, dataclasses.replace(networks, normalisation=False)) is plain
    expected, found = whole(noise(64), training=False), plain(noise(64), training=False)
    for name, logits in expected.items():
        assert np.std(logits) > 0.01
        np.testing.assert_allclose(found[name], logits, rtol=1e-4, atol=1e-4)


def digest(networks):
    """SHA-256 of the names of all layers of the three networks and the weights that they begin with."""
    keras.utils.set_random_seed(0)
    told = hashlib.sha256()
    for layer in (layer for build in (refiner, discriminator, task) for layer in build(networks).layers):
        told.update(b"".join([layer.name.encode(), *(weight.tobytes() for weight in layer.get_weights())]))
    return told.hexdigest()


def test_runs_of_version_1_have_the_networks_that_they_began_with():
    earlier = config.load(ROOT / "tests/hou_synth/configurations/quick_1.json").networks
    counts = [build(earlier).count_params() for build in (refiner, discriminator, task)]
    assert counts == [152067, 617457, 488162]
    assert digest(earlier) == "cda91f26bf33d9b843b1d28044258de408459e4da91ab11ad6cadf5c1ea902cf"


def test_preset_cpu_has_the_networks_of_version_1():
    known = "90588ca159f68742c0efb9770029b50ed08e532e116baed9b6c33bfb574df1c2"
    assert digest(config.preset("cpu").networks) == digest(config.preset("thorough").networks) == known


def test_the_released_model_s_configuration_builds_its_network():
    kept = keras.saving.load_model(released.FOLDER / "assets.extra" / "task.keras", compile=False)
    built = task(config.load(released.FOLDER / "assets.extra" / "config.json").networks)
    shapes = [[(layer.name, [w.shape for w in layer.weights]) for layer in model.layers] for model in (kept, built)]
    assert shapes[0] == shapes[1] and built.count_params() == 1945794


@pytest.mark.parametrize("side", [64, 75, 200])
def test_refined_patches_keep_size_and_range(side):
    refined = refiner(PAPER)({"synthetic": noise(side), "reference": noise(side, seed=1)})
    assert refined.shape == (1, side, side, 3)
    assert -1.0 <= float(tf.reduce_min(refined)) and float(tf.reduce_max(refined)) <= 1.0


def test_refiner_adds_to_its_input():
    model = refiner(PAPER)
    kernel = model.get_layer("change")
    kernel.set_weights([np.zeros_like(w) for w in kernel.get_weights()])
    image = noise(64)
    assert np.allclose(model({"synthetic": image, "reference": noise(64, seed=1)}), image, atol=1e-6)


@pytest.mark.parametrize("networks,side", [(PAPER, 75), (RELEASE, 400)])
@pytest.mark.parametrize("build,name", [(refiner, "synthetic"), (discriminator, "patch")])
def test_the_reference_changes_the_output(networks, side, build, name):
    model = build(networks)
    outputs = [model({name: noise(side), "reference": noise(side, seed=s) * s}) for s in (0, 1)]
    assert float(tf.reduce_max(tf.abs(outputs[0] - outputs[1]))) > 1e-6


def test_paper_discriminator_has_local_logits_at_75():
    logits = discriminator(PAPER)({"patch": noise(75), "reference": noise(75)})
    assert logits.shape == (1, 8, 8, 1)


def test_release_discriminator_takes_400():
    logits = discriminator(RELEASE)({"patch": noise(400), "reference": noise(400)})
    assert logits.shape[1] == logits.shape[2] > 1


@pytest.mark.parametrize("networks", [PAPER, RELEASE])
def test_smallest_patch_is_the_smallest(networks):
    model, side = discriminator(networks), smallest_patch(networks)
    assert model({"patch": noise(side), "reference": noise(side)}).shape[1:] == (1, 1, 1)
    symbolic = [keras.Input((size, size, 3)) for size in (side - 1, side)]  # on arrays, some processors do not complain
    with pytest.raises(ValueError, match=r"[Nn]egative|output|[Ss]ize"):
        model(dict(zip(("patch", "reference"), symbolic, strict=True)))


def test_patches_from_64_on_fit_the_paper_networks():
    assert smallest_patch(PAPER) <= 64


@pytest.mark.parametrize("build", [unet, cnn])
@pytest.mark.parametrize("shape", [(16, 16), (75, 64), (1, 5), (130, 33)])
def test_padded_gives_maps_of_the_image_s_size(shape, build):
    model = build(SMALL)
    maps = padded(model, tf.zeros((2, *shape, 3)), multiple(model))
    assert all(maps[name].shape == (2, *shape, 1) for name in ("segmentation", "detection"))


def test_padded_is_the_network_itself_where_nothing_is_padded():
    model, image = unet(SMALL), noise(64)
    assert multiple(model) == 16
    for name, expected in model(image, training=False).items():
        assert np.array_equal(padded(model, image, 16)[name], expected)


def test_joined_is_the_convolution_of_map_and_tiled_code():
    x, code = keras.Input((None, None, 8)), keras.Input((1, 1, 8))
    halves = keras.Model([x, code], joined(4, 5, "conv")(x, code))
    whole = keras.Model([x, code], convolution(4, 5, "conv", "valid")(with_code("with_code")(x, code)))
    random, codes = tf.random.stateless_normal((2, 9, 11, 8), (0, 1)), tf.random.stateless_normal((2, 1, 1, 8), (0, 2))
    other, bias = halves.get_layer("conv").get_weights()
    one = halves.get_layer("conv_code").get_weights()[0]
    whole.get_layer("conv").set_weights([np.concatenate([other, one], 2), bias + 1.0])
    halves.get_layer("conv").set_weights([other, bias + 1.0])
    assert halves.count_params() == whole.count_params()
    assert np.allclose(halves([random, codes]), whole([random, codes]), atol=1e-5)


def test_joined_starts_with_the_weights_of_one_convolution():
    model = discriminator(PAPER)
    halves = [model.get_layer(name).get_weights()[0] for name in ("group1_1", "group1_1_code")]
    limit = np.sqrt(6 / (25 * (64 + 32)))  # Glorot and Bengio 2010
    assert all(0.99 * limit < np.abs(half).max() <= limit for half in halves)
    assert (halves[0] != halves[1]).mean() > 0.99


@pytest.mark.parametrize("build", [refiner, discriminator, unet, cnn])
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_networks_of_lower_precision_end_in_float32(build, policy):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = build(SMALL)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert {w.dtype for w in model.weights} == {"float32"}
    assert "float16" in model.layers[3].compute_dtype
    inputs = {name: noise(64) for name in model.input} if isinstance(model.input, dict) else noise(64)
    outputs = tf.nest.flatten(model(inputs))
    plain = build(SMALL)
    plain.set_weights(model.get_weights())
    for output, expected in zip(outputs, tf.nest.flatten(plain(inputs)), strict=True):
        assert output.dtype == tf.float32
        assert np.allclose(output, expected, atol=0.05 * np.abs(expected).max())


def test_refined_patches_are_not_rounded_to_the_precision_of_the_networks():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        model = refiner(PAPER)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    kernel = model.get_layer("change")
    kernel.set_weights([np.zeros_like(w) for w in kernel.get_weights()])
    image = noise(64)
    assert np.allclose(model({"synthetic": image, "reference": noise(64, seed=1)}), image, atol=1e-6)


def test_code_is_tiled_over_the_whole_map():
    code = tf.constant([[[[1.0, -2.0]]]])
    tiled = with_code("tiled_code")(tf.ones((1, 3, 5, 2)), code)
    assert tiled.shape == (1, 3, 5, 4)
    assert np.array_equal(tiled[..., 2:], np.broadcast_to(code, (1, 3, 5, 2)))
