"""Fixtures named after what they are."""

import os
import pathlib

import cv2
import numpy as np
import pytest

from hou_synth import config


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
