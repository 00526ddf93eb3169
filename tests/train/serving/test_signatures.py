import dataclasses
import io

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from hou_synth import config
from hou_synth.io import image_files
from train.loop.task_trainer import signed, unsigned
from train.loop.weighting import Weighting
from train.serving import assets, labels_json
from train.serving.signatures import Refinement

SIZES = [(64, 64), (65, 97), (96, 65), (333, 517), (1000, 31), (31, 1000), (1, 1), (2080, 64), (2079, 2080)]


@pytest.fixture(scope="module")
def served(exported):
    return tf.saved_model.load(str(exported.version)).signatures


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def expected(task, images):
    """Maps by the Keras network, its sides padded to even ones by repeating edges."""
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge").astype(np.float32)
    logits = task(padded / 127.5 - 1, training=False)
    return {name: 1 / (1 + np.exp(-each.numpy()[:, :height, :width])) for name, each in logits.items()}


def png(image):
    return cv2.imencode(".png", image[..., ::-1] if image.shape[-1] == 3 else image)[1].tobytes()


def jpeg(image):
    return cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()


def failure(signature, **inputs):
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        signature(**{name: tf.constant(value) for name, value in inputs.items()})
    return str(error.value)


@pytest.mark.parametrize("size", SIZES)
def test_served_equals_keras_at_any_size(exported, served, size):
    image = noise(1, *size)
    maps, keras_maps = served["serving_default"](images=tf.constant(image)), expected(exported.trainer.task, image)
    for name in ("segmentation", "detection"):
        assert maps[name].dtype == tf.float32 and maps[name].shape == (1, *size, 1)
        np.testing.assert_allclose(maps[name], keras_maps[name], atol=1e-5)
    assert size == (1, 1) or np.ptp(maps["segmentation"]) > 0.05


def test_a_row_of_a_batch_is_that_of_a_batch_of_one(served):
    images = noise(5, 67, 90)
    maps = served["serving_default"](images=tf.constant(images))
    for row in range(5):
        alone = served["serving_default"](images=tf.constant(images[row : row + 1]))
        for name in maps:
            np.testing.assert_allclose(alone[name][0], maps[name][row], atol=1e-5)


def test_the_signatures_are_what_labels_json_says(exported, served):
    described = labels_json.labels(config.load(exported.run / "config.json"), True)["signatures"]
    assert described.keys() == served.keys() == {"serving_default", "encoded", "document", "refine"}
    for name, sides in described.items():
        specs = served[name].structured_input_signature[1], served[name].structured_outputs
        for side, found in zip(("inputs", "outputs"), specs, strict=True):
            assert sides[side].keys() == found.keys()
            for key, spec in found.items():
                assert sides[side][key]["dtype"] == spec.dtype.name, (name, key)
                assert tf.TensorShape(sides[side][key]["shape"]).is_compatible_with(spec.shape), (name, key)
    images = described["serving_default"]["inputs"]["images"]
    assert served["serving_default"].structured_input_signature[1]["images"].shape.as_list() == images["shape"]


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((1, 1, 4, 4, 3), np.uint8),
        np.zeros((), np.uint8),
        np.zeros((1, 4, 4, 1), np.uint8),
        np.zeros((1, 4, 4, 4), np.uint8),
        np.zeros((0, 4, 4, 3), np.uint8),
        np.zeros((1, 0, 4, 3), np.uint8),
        np.zeros((1, 4, 0, 3), np.uint8),
    ],
)
def test_what_are_no_images_is_refused_with_the_shape(served, images):
    told = failure(served["serving_default"], images=images)
    assert "Expected images of shape (b, h, w, 3), uint8 RGB" in told
    assert f"[{' '.join(map(str, images.shape))}]" in told


def test_encoded_images_are_decoded_as_files_are(exported, served, tmp_path):
    image, other = cv2.GaussianBlur(noise(70, 51), (0, 0), 2), noise(70, 51, seed=1)
    transparent = cv2.cvtColor(image, cv2.COLOR_RGB2BGRA)
    transparent[:20, ..., 3] = 0
    palette = io.BytesIO()
    write_palette(palette, other)
    contents = {"a.png": png(image), "b.jpg": jpeg(image), "c.png": png(transparent), "d.png": palette.getvalue()}
    maps = served["encoded"](image_bytes=tf.constant(list(contents.values())))
    assert maps["height"].numpy().tolist() == [70] * 4 and maps["width"].numpy().tolist() == [51] * 4
    for number, (name, content) in enumerate(contents.items()):
        (tmp_path / name).write_bytes(content)
        pixels = image_files.image(tmp_path / name)[None]
        for key, each in expected(exported.trainer.task, pixels).items():
            np.testing.assert_allclose(maps[key][number], each[0], atol=1e-5, err_msg=name)
    assert np.abs(maps["segmentation"][0] - maps["segmentation"][1]).max() > 1e-4  # the JPEG is another image


def write_palette(file, image):
    """Writes a PNG of 8 colours with a palette."""
    from PIL import Image

    Image.fromarray(image).quantize(8).save(file, "PNG")


def test_images_of_one_call_may_differ_in_size(served):
    images = [noise(30, 80), noise(65, 41), noise(8, 9)]
    maps = served["encoded"](image_bytes=tf.constant([png(images[0]), jpeg(images[1]), png(images[2])]))
    assert maps["segmentation"].shape == maps["detection"].shape == (3, 65, 80, 1)
    assert maps["height"].numpy().tolist() == [30, 65, 8] and maps["width"].numpy().tolist() == [80, 41, 9]
    for row in (0, 2):
        alone = served["serving_default"](images=tf.constant(images[row][None]))
        height, width = images[row].shape[:2]
        for name in alone:
            np.testing.assert_allclose(maps[name][row, :height, :width], alone[name][0], atol=1e-6)
            assert not maps[name][row, height:].numpy().any() and not maps[name][row, :, width:].numpy().any()


WHOLE = png(noise(30, 40))
NONE = "Expected image_bytes to be whole PNG or JPEG files. Received: image_bytes[1]"
KIND = "Expected image_bytes to be 8-bit RGB images. Received: image_bytes[1]"
DAMAGED = "Expected_an_8-bit_RGB_PNG_or_JPEG_file_that_is_not_damaged"


@pytest.mark.parametrize(
    "content,message",
    [
        pytest.param(b"", NONE, id="empty"),
        pytest.param(b"hello", NONE, id="text"),
        pytest.param(WHOLE[:8], NONE, id="start"),
        pytest.param(WHOLE[: len(WHOLE) // 2], NONE, id="half"),
        pytest.param(jpeg(noise(30, 40))[:700], NONE, id="half jpeg"),
        pytest.param(cv2.imencode(".tif", noise(9, 9))[1].tobytes(), NONE, id="tiff"),
        pytest.param(png(noise(9, 9)[..., :1]), KIND, id="grey"),
        pytest.param(cv2.imencode(".jpg", noise(9, 9)[..., 0])[1].tobytes(), KIND, id="grey jpeg"),
        pytest.param(png(noise(9, 9).astype(np.uint16)), KIND, id="16 bit"),
        pytest.param(WHOLE[:16] + bytes(4) + WHOLE[20:], KIND, id="no pixel"),
        pytest.param(WHOLE[:300] + bytes([WHOLE[300] ^ 255]) + WHOLE[301:], DAMAGED, id="damaged"),
        pytest.param(b"\xff\xd8\xff\xd9", DAMAGED, id="no image"),
    ],
)
def test_files_that_are_no_images_are_refused_and_named(served, content, message):
    assert message in failure(served["encoded"], image_bytes=[WHOLE, content])
    assert served["encoded"](image_bytes=tf.constant([WHOLE]))["height"].numpy().tolist() == [30]


def test_no_files_and_a_table_of_files_are_refused(served):
    assert "Expected image_bytes of shape (b,), not empty" in failure(served["encoded"], image_bytes=np.array([], "S"))
    assert "Received: shape [1 1]" in failure(served["encoded"], image_bytes=[[WHOLE]])


def test_document_tells_the_files_beside_the_model(exported, served):
    extra = exported.version / "assets.extra"
    names = [assets.CARD, assets.CONFIG, assets.LABELS, assets.RUN, assets.CARD]
    texts = served["document"](names=tf.constant(names))["texts"].numpy()
    assert [text.decode() for text in texts] == [(extra / name).read_text() for name in names]
    told = failure(served["document"], names=["config.json", "../../etc/passwd"])
    assert "config.json, run.json, labels.json, model_card.md" in told and "../../etc/passwd" in told


def test_refine_gives_what_the_task_network_learned_from(exported, served):
    trainer, image, reference = exported.trainer, noise(3, 64, 64), noise(3, 64, 64, seed=1)
    found = served["refine"](synthetic=tf.constant(image), reference=tf.constant(reference))
    refined = unsigned(trainer.patch(image, reference))
    difference = found["refined"].numpy().astype(int) - refined.numpy()
    assert np.abs(difference).max() <= 1 and (difference != 0).mean() < 0.01  # rounding
    assert (found["refined"].numpy() != image).mean() > 0.5
    weights = trainer.weight(signed(found["refined"]), signed(reference))
    np.testing.assert_allclose(found["weight"], weights, rtol=1e-4)
    assert float(trainer.ratio()) == 1.5 and np.ptp(weights) > 1e-3


@pytest.mark.parametrize("choice", config.CHOICES["weighting"])
def test_refine_weighs_as_each_choice_does(exported, choice):
    trainer = exported.trainer
    losses = dataclasses.replace(trainer.config.losses, weighting=choice, weight_low=0.001, weight_high=1000.0)
    weighting = Weighting(losses)
    weighting.recall(trainer.weighting.estimates())
    refinement = Refinement(trainer.config, trainer.refiner, trainer.discriminator, weighting, 1.5)
    image, reference = noise(6, 64, 64), noise(6, 64, 64, seed=1)
    found = refinement(image, reference)
    logits = trainer.discriminator({"patch": signed(found["refined"]), "reference": signed(reference)})
    weights = weighting.weights(logits, 1.5, (0, 1)).numpy()
    if choice == "shuffle":  # those of clip, each for its own patch
        assert (found["weight"].numpy() != weights).any()
        weights = Weighting(dataclasses.replace(losses, weighting="clip")).weights(logits, 1.5, (0, 1))
    np.testing.assert_allclose(found["weight"], weights, rtol=1e-5)
    assert (np.ptp(found["weight"]) > 1e-3) == (choice != "none")


@pytest.mark.parametrize("shapes", [((2, 64, 64), (2, 65, 64)), ((2, 64, 64), (1, 64, 64)), ((2, 59, 64), (2, 59, 64))])
def test_refine_refuses_patches_that_do_not_fit(served, shapes):
    told = failure(served["refine"], synthetic=noise(*shapes[0]), reference=noise(*shapes[1]))
    assert "Expected synthetic and reference of one shape, sides of at least 60" in told
    assert f"[{' '.join(map(str, shapes[1]))} 3]" in told
    assert "Expected reference of shape" in failure(
        served["refine"], synthetic=noise(1, 64, 64), reference=noise(64, 64)
    )


def test_the_smallest_patch_is_refined(served):
    patch = tf.constant(noise(1, 60, 60))
    assert np.isfinite(served["refine"](synthetic=patch, reference=patch)["weight"])


def test_another_type_is_refused(served):
    assert "uint8" in failure(served["serving_default"], images=np.zeros((1, 8, 8, 3), np.float32))


def test_a_network_of_keras_itself_is_served_alike(exported):
    task = keras.saving.load_model(exported.run / "task.keras", compile=False)
    image = noise(1, 66, 70)
    kept, trained = expected(task, image), expected(exported.trainer.task, image)
    np.testing.assert_array_equal(kept["detection"], trained["detection"])
