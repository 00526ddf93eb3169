"""Strategies and arithmetics: a step is the same function of its batch, whatever it is computed on."""

import json
import os
import socket
import subprocess
import sys
import types

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as framework  # which alone tells of determinism, and ends it

from hou_synth import config
from tests.paths import ROOT
from train import universal
from train.loop import devices, replicas

TINY = (
    "--preset quick --refiner-blocks 1 --unet-widths 4,8 --unet-down 1,1 --unet-up 1 --patch 64 --batch 4 --pool 8 "
    "--refiner-steps 1 --discriminator-steps 1 --adversarial-rounds 0 --task-steps 1 --joint-rounds 1 --final-steps 0 "
    "--refiner-updates 1 --task-updates 1 --optimizer momentum --refiner-rate 1e-6 --discriminator-rate 1e-5 "
    "--task-rate 1e-6"
).split()
NETWORKS = ("refiner", "discriminator", "task")

MIRRORED = """
import sys
import numpy as np
import tensorflow as tf
one = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(one, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # as in conftest.py
from hou_synth import config
from train.loop import devices
from train.loop.trainer import UniversalTrainer

rates = {"refiner_rate": 1e-6, "discriminator_rate": 1e-5, "task_rate": 1e-6, "optimizer": "momentum", "clip": 1.0}
tiny = {"refiner_blocks": 1, "unet_widths": (4, 8), "unet_down": (1, 1), "unet_up": (1,), "patch": 64, "pool": 8}
random = np.random.default_rng(0)
data = {name: random.integers(0, 256, (3, 6, 64, 64, 3), np.uint8) for name in ("image", "reference", "real")}
data["target"] = random.choice(np.array([0, 1, 5], np.uint8), (3, 6, 64, 64, 1))
data |= {"labelled_image": data["real"][:, :2], "labelled_target": data["target"][:, :2]}
dataset = tf.data.Dataset.from_tensors(data).repeat(2)

def trained(name, mixed_precision="float32"):
    tf.keras.utils.set_random_seed(0)
    settings = config.preset("quick", batch=6, mixed_precision=mixed_precision, **tiny, **rates)
    trainer = UniversalTrainer(settings, strategy=devices.strategy(name))
    trainer.compile(updates=(1, 1, 1))
    values = trainer.fit(dataset, shuffle=False, verbose=0).history
    weights = [w for name in ("refiner", "discriminator", "task") for w in getattr(trainer, name).get_weights()]
    state = [trainer.seen, trainer.step, trainer.pool.size, trainer.pool.layers["target"], *trainer.weighting.variables]
    return values, weights, [value.numpy().astype(np.float64) for value in state]

if "float16" in sys.argv:
    assert all(np.isfinite(w).all() for w in trained("mirrored", "float16")[1])
else:
    (values, weights, state), (others, replicated, same) = trained("one"), trained("mirrored")
    assert tf.distribute.get_strategy().num_replicas_in_sync == 1
    for name in values:
        np.testing.assert_allclose(values[name], others[name], rtol=1e-4, err_msg=name)
    for one, two in zip(weights + state, replicated + same, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
print("as expected")
"""


def process(*command, **environment):
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("precision", ["float32", pytest.param("float16", marks=pytest.mark.slow)])
def test_two_devices_give_the_weights_of_one(precision):
    """With synchronised normalisation, clipping, stain jitter, labelled patches, fresh halves that do not divide.

    Those of float16 are finite.
    """
    done = process("-c", MIRRORED, precision)
    told, _ = done.communicate()
    assert done.returncode == 0 and told.strip().endswith("as expected"), told[-3000:]


@pytest.fixture(scope="module")
def tiles(tmp_path_factory, tissue_image):
    folder = tmp_path_factory.mktemp("tiles")
    (folder / "lung").mkdir()
    cv2.imwrite(str(folder / "lung/a.png"), tissue_image[0][..., ::-1])
    return folder


def command(tiles, folder, *more):
    where = ["--tiles", str(tiles), "--out", str(folder / "run"), "--models", str(folder / "models")]
    return [*where, *TINY, *more]


@pytest.fixture(scope="module")
def single(tiles, tmp_path_factory):
    """A run on one device."""
    folder = tmp_path_factory.mktemp("single")
    assert universal.main(command(tiles, folder)) == 0
    return folder / "run"


def weights(run):
    return [w for name in NETWORKS for w in keras.saving.load_model(run / f"{name}.keras", compile=False).get_weights()]


@pytest.mark.slow
def test_two_machines_give_the_run_of_one(tiles, single, tmp_path):
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]
    machines = []
    for index in range(2):
        where = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        more = ["--strategy", "multiworker"]
        machines.append(process("-m", "train.universal", *command(tiles, tmp_path, *more), TF_CONFIG=where))
    told = [machine.communicate()[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], told[0][-3000:]
    for one, two in zip(weights(single), weights(tmp_path / "run"), strict=True):
        assert np.allclose(one, two, atol=1e-5)
    assert sorted(p.name for p in (tmp_path / "models/run").iterdir()) == ["1"]


@pytest.mark.parametrize("name", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_a_run_of_lower_precision_keeps_plain_networks(tiles, single, tmp_path, name):
    assert universal.main(command(tiles, tmp_path, "--mixed-precision", name)) == 0
    assert config.load(tmp_path / "run/config.json").schedule.mixed_precision == name
    for network in NETWORKS:
        kept = keras.saving.load_model(tmp_path / f"run/{network}.keras", compile=False)
        assert {layer.compute_dtype for layer in kept.layers} == {"float32"}
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)
    maps = tf.saved_model.load(str(tmp_path / "models/run/1")).signatures["serving_default"](images=tf.constant(image))
    for map_name, logits in kept(image.astype(np.float32) / 127.5 - 1).items():
        assert np.allclose(maps[map_name], tf.sigmoid(logits), atol=1e-5)
    differences = [np.abs(a - b).max() for a, b in zip(weights(single), weights(tmp_path / "run"), strict=True)]
    assert 0 < max(differences) < 0.02
    assert keras.mixed_precision.dtype_policy().name == "float32"


@pytest.fixture
def determinism():
    """Whether TensorFlow's operations are deterministic, which they are no more after the test."""
    yield framework.is_op_determinism_enabled
    framework.disable_op_determinism()


def test_a_deterministic_run_has_no_operation_that_cannot_be(tiles, single, tmp_path, determinism):
    assert not determinism()
    assert universal.main(command(tiles, tmp_path, "--deterministic")) == 0
    assert determinism() and config.load(tmp_path / "run/config.json").schedule.deterministic
    for one, two in zip(weights(single), weights(tmp_path / "run"), strict=True):  # sums are in another order
        assert np.allclose(one, two, atol=1e-6)


def test_a_schedule_seeds_and_says_whether_operations_are_deterministic(determinism):
    drawn = []
    for deterministic in (False, True):
        devices.seed(config.preset("quick", seed=3, deterministic=deterministic).schedule)
        drawn.append((float(tf.random.uniform(())), np.random.random()))
        assert determinism() == deterministic
    assert drawn[0] == drawn[1]


def test_precision_is_left_as_it_was_even_after_an_error():
    before = keras.mixed_precision.dtype_policy().name
    with pytest.raises(KeyError), devices.precision("bfloat16"):
        assert keras.layers.Conv2D(1, 1).compute_dtype == "bfloat16"
        raise KeyError
    assert keras.mixed_precision.dtype_policy().name == before


def test_one_replica_has_all_rows():
    rows = tf.range(5)
    assert replicas.count() == 1 and replicas.share(rows) is rows and replicas.gathered(rows) is rows
    assert replicas.spread(lambda x: 2 * x, rows).numpy().tolist() == [0, 2, 4, 6, 8]
    assert replicas.summed({"a": 3}) == {"a": 3} and replicas.averaged([3]) == [3]


def strategy(count, chief=True):
    extended = types.SimpleNamespace(should_checkpoint=chief)
    return types.SimpleNamespace(num_replicas_in_sync=count, extended=extended)


@pytest.mark.parametrize(
    "changes,labelled,word",
    [({"batch": 9}, False, "9"), ({"labelled_batch": 5}, True, "5"), ({"jit": True}, False, "jit")],
)
def test_what_replicas_cannot_share_is_refused(changes, labelled, word):
    schedule = config.preset("quick", **changes).schedule
    with pytest.raises(ValueError, match=rf"Expected.*{word}"):
        devices.check(strategy(2), schedule, labelled)
    devices.check(strategy(1), schedule, labelled)


def test_only_the_chief_writes_into_the_run(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_text("{}")
    with devices.folder(strategy(2), run, True) as folder:
        assert folder == run
    for resume in (True, False):
        with devices.folder(strategy(2, chief=False), run, resume) as folder:
            assert folder.name == "run" and tmp_path not in folder.parents
            assert (folder / "config.json").exists() == (folder / "checkpoints").exists() == resume
        assert not folder.exists()


def test_jit_is_a_bare_flag():
    assert universal.arguments(["--jit"]).jit is True
    assert universal.arguments(["--jit", "false", "--out", "a"]).jit is False
