"""An exported model where nothing of ours is: in TensorFlow alone, and in its C interface."""

import importlib.util
import pathlib
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2

from tests.paths import ROOT
from train.loop.task_trainer import signed, unsigned

PROGRAM = ROOT / "tests" / "run_c_api.py"
TENSORFLOW = pathlib.Path(importlib.util.find_spec("tensorflow").origin).parent
ALONE = """
import sys
site_packages, folder, calls, answers = sys.argv[1:]
sys.path.append(site_packages)  # without its .pth files, which would bring our packages back
import importlib, pickle
for name in ("hou_synth", "models", "data", "train"):
    try:
        importlib.import_module(name)
    except ImportError:
        continue
    sys.exit(f"{name} is there")
import tensorflow as tf

signatures = tf.saved_model.load(folder).signatures
found = []
for name, inputs in pickle.load(open(calls, "rb")):
    try:
        given = {key: tf.constant(value) for key, value in inputs.items()}
        found.append({key: value.numpy() for key, value in signatures[name](**given).items()})
    except Exception as error:
        found.append(str(error))
pickle.dump(found, open(answers, "wb"))
"""


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def png(image):
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


IMAGES, PATCHES, REFERENCES = noise(2, 65, 97), noise(2, 64, 64), noise(2, 64, 64, seed=1)
BYTES = np.array([png(IMAGES[0]), png(IMAGES[1, :40, :50])], object)
GOOD = [
    ("serving_default", {"images": IMAGES}),
    ("encoded", {"image_bytes": BYTES}),
    ("document", {"names": np.array([b"model_card.md"], object)}),
    ("refine", {"synthetic": PATCHES, "reference": REFERENCES}),
]
SHAPE = "Expected images of shape (b, h, w, 3), uint8 RGB, not empty. Received: shape [{}]"
BAD = [
    ("serving_default", {"images": IMAGES[0]}, SHAPE.format("65 97 3")),
    ("serving_default", {"images": IMAGES[None]}, SHAPE.format("1 2 65 97 3")),
    ("serving_default", {"images": IMAGES[..., :1]}, SHAPE.format("2 65 97 1")),
    ("serving_default", {"images": np.repeat(IMAGES[..., :1], 4, 3)}, SHAPE.format("2 65 97 4")),
    ("serving_default", {"images": IMAGES[:, :0]}, SHAPE.format("2 0 97 3")),
    ("serving_default", {"images": IMAGES[:0]}, SHAPE.format("0 65 97 3")),
    ("serving_default", {"images": IMAGES.astype(np.float32)}, "uint8"),
    ("encoded", {"image_bytes": np.array([BYTES[0], BYTES[0][:999]], object)}, "Received: image_bytes[1], 999 bytes"),
    ("encoded", {"image_bytes": BYTES[None]}, "Expected image_bytes of shape (b,), not empty. Received: shape [1 2]"),
    ("document", {"names": np.array([b"secret"], object)}, "Expected names of documents out of config.json"),
    ("refine", {"synthetic": PATCHES, "reference": IMAGES}, "Expected synthetic and reference of one shape"),
    ("refine", {"synthetic": PATCHES[:, :30], "reference": PATCHES[:, :30]}, "sides of at least 60"),
    ("refine", {"synthetic": PATCHES, "reference": PATCHES[0]}, "Expected reference of shape (b, h, w, 3)"),
]
CALLS = [*GOOD, *(call[:2] for call in BAD), *GOOD]


def answered(folder, command, calls):
    """What a program answers to calls, in an empty working folder."""
    (folder / "calls").write_bytes(pickle.dumps(calls))
    words = [sys.executable, "-I", "-S", *map(str, command), "calls", "answers"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env={"TF_CPP_MIN_LOG_LEVEL": "3"})
    assert done.returncode == 0, done.stderr[-2000:]
    return pickle.loads((folder / "answers").read_bytes())


def check(exported, answers):
    """Answers to `CALLS` are those of the networks; ours are the messages; errors change nothing."""
    good, bad, again = answers[: len(GOOD)], answers[len(GOOD) : -len(GOOD)], answers[-len(GOOD) :]
    served, encoded, document, refined = good
    trainer = exported.trainer
    maps = {name: each.numpy() for name, each in trainer.probabilities(signed(IMAGES)).items()}
    part = {name: each.numpy()[0] for name, each in trainer.probabilities(signed(IMAGES[1:, :40, :50])).items()}
    for name, each in maps.items():
        np.testing.assert_allclose(served[name], each, atol=1e-5)
        np.testing.assert_allclose(encoded[name][0], each[0], atol=1e-5)
        np.testing.assert_allclose(encoded[name][1, :40, :50], part[name], atol=1e-5)
        assert not encoded[name][1, 40:].any()
    assert encoded["height"].tolist() == [65, 40] and encoded["width"].tolist() == [97, 50]
    assert document["texts"][0].decode() == (exported.version / "assets.extra/model_card.md").read_text()
    patches = unsigned(trainer.patch(PATCHES, REFERENCES)).numpy().astype(int)
    assert np.abs(refined["refined"] - patches).max() <= 1
    weights = trainer.weight(signed(refined["refined"]), signed(REFERENCES))
    np.testing.assert_allclose(refined["weight"], weights, rtol=1e-4)
    for (name, _, message), answer in zip(BAD, bad, strict=True):
        assert isinstance(answer, str) and message in answer, (name, answer)
    for one, other in zip(good, again, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_tensorflow_alone_runs_every_signature(exported, tmp_path):
    command = ["-c", ALONE, TENSORFLOW.parent, exported.version]
    check(exported, answered(tmp_path, command, CALLS))


def signature_tensors(version):
    """Signature -> names of its tensors: two dicts, of inputs and of outputs."""
    model = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    return {
        name: tuple({key: each.name for key, each in side.items()} for side in (signature.inputs, signature.outputs))
        for name, signature in model.meta_graphs[0].signature_def.items()
    }


def test_the_c_interface_runs_every_signature_and_goes_on_after_errors(exported, tmp_path):
    library = TENSORFLOW / "libtensorflow_cc.so.2"
    if not library.exists():
        pytest.skip(f"no {library.name} in this TensorFlow")
    tensors = signature_tensors(exported.version)
    calls = [
        ({tensors[name][0][key]: value for key, value in inputs.items()}, list(tensors[name][1].values()))
        for name, inputs in CALLS
    ]
    found = answered(tmp_path, [PROGRAM, library, TENSORFLOW.parent, exported.version], calls)
    answers = [
        each[0] if isinstance(each[0], str) else dict(zip(tensors[name][1], each, strict=True))
        for (name, _), each in zip(CALLS, found, strict=True)
    ]
    check(exported, answers)
