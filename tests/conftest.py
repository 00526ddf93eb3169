"""Fixtures named after what they are."""

import json
import os
import pathlib
import signal
import sys
import types

import cv2
import numpy as np
import pytest

from hou_synth import config

if "PYTEST_XDIST_WORKER" in os.environ:  # these processes share the cores; told before TensorFlow is imported
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")


def pytest_runtest_setup(item):
    """Quick tests run most graphs once or twice, as they were traced: optimising them takes longer than that."""
    if "tensorflow" in sys.modules:
        quick = item.get_closest_marker("slow") is None
        sys.modules["tensorflow"].config.optimizer.set_experimental_options({"disable_meta_optimizer": quick})


@pytest.fixture
def interruptible():
    """Ctrl-C reaches this process and those it starts, also where a shell's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def circles():
    """Label map (96, 128) of five discs; 2 and 3 touch, 5 is cut by the image's border."""
    labels = np.zeros((96, 128), np.int32)
    for label, (x, y, radius) in enumerate([(20, 20, 8), (60, 40, 9), (76, 40, 8), (30, 70, 10), (126, 80, 9)], 1):
        cv2.circle(labels, (x, y), radius, label, -1)
    return labels


@pytest.fixture
def stained(circles):
    """Noisy image (96, 128, 3) uint8 RGB with the discs in purple on pink."""
    image = np.where(circles[..., None] > 0, [110, 60, 140], [225, 170, 205])
    return (image + np.random.default_rng(0).integers(-12, 13, image.shape)).astype(np.uint8)


@pytest.fixture
def real_data():
    """Folder of real H&E data; skips the test if there is none."""
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = pathlib.Path(os.environ.get("HOU_SYNTH_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist (set HOU_SYNTH_DATA)")
    return folder


@pytest.fixture(scope="session")
def tissue_image():
    """An image of grainy tissue with dark nuclei, (256, 256, 3) uint8, and their label map."""
    random = np.random.default_rng(0)
    labels = np.zeros((256, 256), np.int32)
    places = [(y, x) for y in range(24, 256, 52) for x in range(24, 256, 52)]
    for number, (y, x) in enumerate(places, 1):
        cv2.circle(labels, (x + int(random.integers(-8, 8)), y + int(random.integers(-8, 8))), 10, number, -1)
    image = np.where((labels > 0)[..., None], (96, 72, 130), (214, 160, 190)).astype(np.float32)
    image = cv2.GaussianBlur(image, (0, 0), 0.8) + random.normal(0, 6, (256, 256, 1)) + random.normal(0, 2, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="session")
def bank(tmp_path_factory, tissue_image):
    """A bank of the stained image and its mirror image."""
    from data import tiles

    folder = tmp_path_factory.mktemp("bank")
    for name, image in {"a": tissue_image[0], "b": tissue_image[0][:, ::-1]}.items():
        (folder / name).mkdir()
        cv2.imwrite(str(folder / name / "tile.png"), image[..., ::-1])
    settings = config.preset("paper").synthesis
    return tiles.build(tiles.folder_sources(folder), folder / "bank.h5", settings, progress=False)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A finished run of tiny networks, which are noise, its trainer, and the version of a model made of it."""
    from train.runs import universal_run
    from train.serving import saved_model

    folder = tmp_path_factory.mktemp("exported")
    trainer = finished_run(folder / "tiny")
    plain = trainer.plain()
    saved_model.write(folder / "tiny", folder / "models/tiny", plain["task"], universal_run.refinement(trainer, plain))
    return types.SimpleNamespace(run=folder / "tiny", trainer=trainer, version=folder / "models/tiny/1")


def finished_run(run, **changes):
    """Writes what a run of `train.universal` leaves without training anything; returns the trainer."""
    import keras

    from train.loop.trainer import UniversalTrainer
    from train.runs import epochs, record, universal_run

    sizes = {"refiner_blocks": 1, "unet_widths": (4, 8), "unet_down": (1, 1), "unet_up": (1,), "patch": 64, "pool": 8}
    settings = config.preset("quick", **{**sizes, "weighting": "calibrate", "seed": 3, **changes})
    keras.utils.set_random_seed(0)
    trainer = UniversalTrainer(settings)
    random = np.random.default_rng(0)
    for network, noise in ((trainer.refiner, 0.05), (trainer.discriminator, 0.015), (trainer.task, 0.05)):
        network.set_weights([each + random.normal(0, noise, each.shape) for each in network.get_weights()])
    trainer.seen.assign([30.0, 20.0])
    trainer.weighting.line.assign([0.3, 0.8])
    trainer.weighting.mass.assign([9.0, 6.0])
    run.mkdir(parents=True)
    config.save(settings, run / "config.json")
    names = ["lung/secret_1.png", "lung/secret_2.png", "skin/secret_3.png"]
    about = {"command": "python -m train.universal --tiles /home/somebody/tiles", "tiles": "/home/somebody/tiles"}
    about |= {"tile_names": names, "bank": "/home/somebody/bank.h5", "labelled": [], **record.surroundings()}
    (run / "run.json").write_text(json.dumps(about))
    scores = {"dice1": 0.8125, "dice": 0.7125, "aji": 0.6125, "pq": 0.5125, "minutes": 12.34}
    (run / "scores.json").write_text(json.dumps(scores))
    (run / "contrast.json").write_text(json.dumps({"joint": {"ratio": 9.0}, "final": {"ratio": 1.125}}))
    for name, network in trainer.plain().items():
        epochs.keep(network, run / f"{name}.keras")
    universal_run.remember(trainer, run)
    return trainer
