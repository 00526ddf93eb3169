import dataclasses
import hashlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from hou_synth import config, released
from models.blocks import convolution, fused, joined, with_code
from models.classifier import classifier, vgg16
from models.cnn import cnn
from models.dcan import dcan
from models.discriminator import discriminator, smallest_patch
from models.refiner import refiner
from models.task import folded, learned, multiple, padded, task
from models.unet import unet
from tests.paths import ROOT

PAPER = config.preset("paper").networks
RELEASE = config.preset("release").networks
SMALL = config.preset("quick").networks
VERSION_1 = ROOT / "tests" / "hou_synth" / "configurations"  # as the program of that time wrote them


def count(model, *kinds):
    return sum(isinstance(layer, kinds) for layer in model.layers)


def convolutions(model):
    """Those of the paper's count; the code's half of a kernel is a part of one."""
    return sum(type(layer) is keras.layers.Conv2D and not layer.name.endswith("_code") for layer in model.layers)


def pools(model):
    return count(model, keras.layers.AveragePooling2D, keras.layers.GlobalAveragePooling2D)


def noise(side, batch=1, seed=0):
    return tf.random.stateless_uniform((batch, side, side, 3), (seed, 1), -1.0, 1.0)


def parameters(model, *names):
    """Numbers of parameters of the layers whose names begin so, in their order; the halves of one kernel together."""
    found = {}
    for layer in model.layers:
        if layer.weights and layer.name.startswith(names):
            name = layer.name.removesuffix("_code")
            found[name] = found.get(name, 0) + layer.count_params()
    return list(found.values())


REFERENCE = [1568, 25632, 25632, 25632, 25632]  # 4*4*3*32 + 32, then 5*5*32*32 + 32


@pytest.mark.parametrize("networks,blocks,total", [(PAPER, 7, 490307), (RELEASE, 5, 387779)])
def test_refiner_layers(networks, blocks, total):
    model = refiner(networks)
    assert (convolutions(model), pools(model)) == (7 + 2 * blocks, 2)
    assert parameters(model, "reference") == REFERENCE
    assert parameters(model, "first", "change") == [896, 867]  # 3*3*3*32 + 32, 3*3*32*3 + 3
    # 5*5*64*32 + 32, as the reference's code comes in there, then 5*5*32*32 + 32
    assert parameters(model, "block") == [51232] + [25632] * (2 * blocks - 1)
    assert model.count_params() == total


def test_first_block_of_the_refiner_has_no_skip_connection():
    names = {layer.name for layer in refiner(RELEASE).layers if type(layer) is keras.layers.Add}
    assert {f"block{number}" for number in range(1, 6)} & names == {"block2", "block3", "block4", "block5"}


def test_paper_discriminator_layers():
    model = discriminator(PAPER)
    assert (convolutions(model), pools(model)) == (15, 3)
    assert parameters(model, "reference") == REFERENCE
    groups = [[51232, 25632], [38448, 57648, 57648], [76864, 102464, 102464]]  # kernels 5x5
    assert [parameters(model, f"group{number}_") for number in (1, 2, 3)] == groups
    assert parameters(model, "first", "logits") == [896, 65]  # 3*3*3*32 + 32, 64 + 1
    assert model.count_params() == 617457


def test_release_discriminator_layers():
    model = discriminator(RELEASE)
    assert (convolutions(model), pools(model)) == (21, 6)
    assert parameters(model, "reference") == REFERENCE
    groups = [[51232, 25632], [38448, 57648, 57648], [76864, 102464, 102464], [128080, 160080, 160080]]  # kernels 5x5
    assert [parameters(model, f"group{number}_") for number in (1, 2, 3, 4)] == groups
    assert parameters(model, "group5_") == [256128, 147584, 147584]  # 5*5*80*128 + 128, 3*3*128*128 + 128 twice
    assert parameters(model, "first", "logits") == [896, 258]  # 3*3*3*32 + 32, 128*2 + 2
    assert model.count_params() == 1617186
    windows = [model.get_layer(f"pool{number}") for number in (1, 2, 3, 4)]
    assert [(pool.pool_size, pool.strides) for pool in windows] == [((side, side), (2, 2)) for side in (2, 3, 3, 3)]


def test_two_logits_become_their_difference():
    model = discriminator(RELEASE)
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([np.zeros_like(kernel), bias + [3.0, 1.0]])
    logits = model({"patch": noise(336), "reference": noise(336)})
    assert logits.dtype == tf.float32 and np.array_equal(logits, [[[[2.0]]]])  # of softmax e^3 / (e^3 + e^1)


@pytest.mark.parametrize("networks", [PAPER, RELEASE])
def test_unet_layers(networks):
    model = unet(networks)
    assert (convolutions(model), count(model, keras.layers.Conv2DTranspose)) == (39, 4)
    assert parameters(model, "down1", "down2") == [448, 2320, 2320, 4640, 9248, 9248, 9248]
    assert parameters(model, "down3", "down4") == [18496, *[36928] * 3, 73856, *[147584] * 4]
    assert parameters(model, "down5") == [295168, *[590080] * 5]
    assert parameters(model, "grow") == [262400, 65664, 16448, 4128]  # 2*2*c*c + c of 256, 128, 64, 32
    # 3*3*(256 + 128)*128 + 128, and so on: the transposed convolution's channels and those of the level beside it
    assert parameters(model, "up4", "up3") == [442496, *[147584] * 4, 110656, *[36928] * 3]
    assert parameters(model, "up2", "up1") == [27680, *[9248] * 3, 6928, 2320, 2320]
    assert parameters(model, "logits") == [290] and model.count_params() == 5746706
    assert {name: logits.shape[-1] for name, logits in model.output.items()} == {
        "segmentation": 1,
        "detection": 1,
    }


def test_transposed_convolutions_of_the_release_have_a_leaky_relu():
    inner = keras.Model(
        (model := unet(RELEASE)).input, [model.get_layer(f"grow4{end}").output for end in ("", "_leaky")]
    )
    before, after = inner(noise(16))
    assert float(tf.reduce_min(before)) < 0
    np.testing.assert_allclose(after, np.where(before > 0, before, 0.2 * np.asarray(before)), rtol=1e-6)
    assert model.get_layer("skip4").input[0] is model.get_layer("grow4_leaky").output


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
    earlier = config.load(VERSION_1 / "quick_1.json").networks
    counts = [build(earlier).count_params() for build in (refiner, discriminator, task)]
    assert counts == [152067, 617457, 488162]
    assert digest(earlier) == "cda91f26bf33d9b843b1d28044258de408459e4da91ab11ad6cadf5c1ea902cf"


def test_a_release_run_of_version_1_has_its_own_discriminator(tmp_path):
    record = json.loads((VERSION_1 / "paper_1.json").read_text())
    record["networks"] |= {"discriminator": "release", "refiner_blocks": 5}
    (tmp_path / "config.json").write_text(json.dumps(record))
    earlier = config.load(tmp_path / "config.json").networks
    counts = [build(earlier).count_params() for build in (refiner, discriminator, task)]
    assert counts == [207555, 1166497, 5376546] and smallest_patch(earlier) == 242  # as that program built them


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
    assert logits.shape == (1, 5, 5, 1)


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


def test_classifier_layers():
    """The paper's 11 convolutions, and what it says is a number for each patch of at least 64x64."""
    model = classifier(config.preset("lymphocyte").networks)
    assert (convolutions(model), count(model, keras.layers.MaxPooling2D)) == (11, 4)
    assert model(noise(64, 3)).shape == (3, 1) and model(noise(90, 2)).shape == (2, 1)


def test_vgg16_is_that_of_keras_with_one_logit():
    model = vgg16(config.preset("lymphocyte").networks)
    inner = model.get_layer("vgg16")
    assert (convolutions(inner), inner.count_params()) == (13, 14714688)  # Simonyan and Zisserman's, without top
    levels = keras.Model(model.input, model.get_layer("levels").output)
    grey = levels(tf.constant([[[[-1.0, 0.0, 1.0]]]])).numpy().ravel()  # RGB; Keras's weights want BGR, less a mean
    assert grey == pytest.approx([255 - 103.939, 127.5 - 116.779, -123.68], abs=1e-3)


def test_what_is_fused_is_a_nucleus_and_no_contour():
    """Probabilities by hand: p (1 - q), also where exponentials of the logits would overflow."""
    probability, contour = np.array([0.5, 0.9, 0.2, 0.99]), np.array([0.5, 0.1, 0.6, 0.98])
    logits = [np.log(p / (1 - p)).astype(np.float32).reshape(1, 2, 2, 1) for p in (probability, contour)]
    assert tf.sigmoid(fused(*map(tf.constant, logits))).numpy().ravel() == pytest.approx(
        probability * (1 - contour), abs=1e-6
    )
    extreme = fused(
        *(tf.constant(each, shape=(1, 3, 1, 1)) for each in ([200.0, -200.0, 200.0], [-200.0, -200.0, 200.0]))
    )
    assert extreme.numpy().ravel() == pytest.approx([200.0 - np.log(2), -200.0, -200.0], abs=1e-3)


def test_contour_aware_network():
    networks = dataclasses.replace(SMALL, network="dcan")
    model = dcan(networks)
    outputs = model(noise(2 * multiple(model)))
    assert {name: output.shape for name, output in outputs.items()} == dict.fromkeys(
        ("segmentation", "contour", "detection"), (1, 32, 32, 1)
    )
    assert outputs["detection"].numpy() == pytest.approx(
        fused(outputs["segmentation"], outputs["contour"]).numpy(), abs=1e-5
    )
    assert learned(networks) == ("segmentation", "contour")
    plain = folded(model, networks)(noise(32))
    assert plain["detection"].numpy() == pytest.approx(outputs["detection"].numpy(), abs=1e-4)


@pytest.mark.parametrize("network", ["unet", "cnn"])
def test_a_network_of_one_head_has_one_map_for_both(network):
    networks = dataclasses.replace(SMALL, network=network, heads=1)
    model = task(networks)
    outputs = model(noise(32))
    assert (outputs["segmentation"].numpy() == outputs["detection"].numpy()).all()
    assert learned(networks) == ("segmentation",) and model.get_layer("logits").filters == 1
