import cv2
import numpy as np
import pytest

from hou_synth.synthesis import camera


def tissue(side=96):
    """Smooth image with a sharp dark square, (side, side, 3) float32."""
    image = 60.0 * np.random.default_rng(0).random((6, 6, 3), np.float32)
    image = 140.0 + cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    image[30:60, 30:60] = (90, 60, 120)
    return image


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_mean_levels_stay(probability):
    for seed in range(20):
        made = camera.photographed(np.random.default_rng(seed), tissue(75), probability)
        assert made.shape == (75, 75, 3) and made.dtype == np.uint8 and made.flags.c_contiguous
        assert made.mean((0, 1)) == pytest.approx(tissue(75).mean((0, 1)), abs=2.0)
        assert made[40:50, 40:50].mean((0, 1)) == pytest.approx([90, 60, 120], abs=6.0)  # channels keep their places


def test_same_seed_same_patch_and_the_input_stays():
    image = tissue()
    one, same, other = (camera.photographed(np.random.default_rng(seed), image, 0.5) for seed in (3, 3, 4))
    assert (one == same).all() and (one != other).any()
    assert (image == tissue()).all()


def test_blur_softens_and_noise_roughens():
    flat = np.full((96, 96, 3), 150, np.float32)
    step = flat.copy()
    step[:, 48:] = 60
    sharp, soft = (
        np.mean([np.diff(camera.photographed(np.random.default_rng(s), step, p).mean((0, 2)))[47] for s in range(20)])
        for p in (0.0, 1.0)
    )
    assert sharp < -80 and soft > -65
    assert camera.photographed(np.random.default_rng(0), flat, 0.0).std() < 1
    rough = [camera.photographed(np.random.default_rng(seed), flat, 1.0).std() for seed in range(20)]
    assert 1 < np.mean(rough) < camera.NOISE and max(rough) < camera.NOISE + 1


def test_noise_is_normal():
    made = np.stack([camera.noise(np.random.default_rng(seed), (64, 64, 3)) for seed in range(60)])
    spread = made.std((1, 2, 3))
    assert 0 < spread.min() and camera.NOISE * 0.8 < spread.max() < camera.NOISE * 1.02
    standard = made / spread[:, None, None, None]
    assert np.mean(np.abs(standard) < 1) == pytest.approx(0.683, abs=0.01)
    assert made.mean() == pytest.approx(0.0, abs=0.05)
    neighbours = [np.corrcoef(each[:, 1:].ravel(), each[:, :-1].ravel())[0, 1] for each in made]
    assert min(np.abs(neighbours)) < 0.05 and max(neighbours) > 0.5  # single pixels, and grains


def test_lower_quality_is_farther_from_the_image():
    image = camera.levels(tissue())
    far, near = (np.abs(camera.compressed(image, quality) - image.astype(float)).mean() for quality in (40, 95))
    assert 0 < near < far < 5


def test_levels_are_rounded_and_clipped():
    image = np.float32([-3.0, 0.4, 1.6, 254.6, 300.0]).repeat(3).reshape(1, 5, 3)
    assert camera.levels(image)[0, :, 0].tolist() == [0, 0, 2, 255, 255]
