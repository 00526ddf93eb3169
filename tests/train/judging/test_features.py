import numpy as np
import pytest
import tensorflow as tf

from hou_synth.synthesis import stain
from train.judging import features


@pytest.fixture
def patch(tissue_image):
    return np.ascontiguousarray(tissue_image[0][:96, :96])


def test_random_convolutions_are_those_of_the_frozen_weights(patch):
    x = tf.constant(patch[None] / np.float32(127.5) - 1)
    for scale in range(4):
        x = y = tf.nn.avg_pool2d(x, 2, 2, "VALID") if scale else x
        for weights in features._network()[scale]:
            y = tf.nn.leaky_relu(tf.nn.conv2d(y, weights.reshape(3, 3, -1, 8), 1, "VALID"), 0.2)
        found = features.convolutional(patch)[16 * scale : 16 * scale + 16]
        assert np.allclose(found[:8], np.mean(y, (0, 1, 2)), atol=1e-4)
        assert np.allclose(found[8:], np.std(y, (0, 1, 2)), atol=1e-4)


def test_half_of_the_kernels_do_not_see_colour():
    red, blue = (np.full((48, 48, 3), colour, np.uint8) for colour in ((200, 40, 40), (40, 40, 200)))
    one, other = features._network()[0][0].reshape(9, 3, 8).sum(0).T[:4], features._network()[0][0].reshape(9, 3, 8)
    assert np.abs(one).max() < 1e-5 and np.abs(other.sum(0)[:, 4:]).min() > 1e-3
    assert np.abs(features.convolutional(red) - features.convolutional(blue)).max() > 0.1


def test_an_even_patch_has_no_deviation():
    found = features.convolutional(np.full((64, 64, 3), (200, 120, 180), np.uint8))
    deviations = found.reshape(4, 2, 8)[:, 1]
    assert found.shape == (64,) and np.abs(deviations).max() < 1e-4


def test_haematoxylin_alone_moves_its_own_features(patch):
    """Adding haematoxylin everywhere adds as much to its mean and percentiles, and nothing to the residual."""
    gain, offset = stain.haematoxylin_shift(0.01)
    more = patch * gain + offset
    assert more.min() > 0
    change = features.textural(np.round(more).astype(np.uint8)) - features.textural(patch)
    assert np.allclose(change[[0, 2, 3, 4]], 0.01, atol=1e-3)
    assert abs(change[5]) < 1e-3 and abs(change[10]) < 1e-3


@pytest.mark.parametrize("turned", [np.fliplr, np.flipud, np.rot90])
def test_hand_made_features_do_not_depend_on_the_orientation(patch, turned):
    other = features.textural(np.ascontiguousarray(turned(patch)))
    assert other.shape == (36,) and np.allclose(other, features.textural(patch), rtol=1e-3, atol=2e-3)


def test_noise_is_seen_as_gradient_and_contrast(patch):
    noise = np.random.default_rng(0).normal(0, 10, patch.shape)
    noisy = np.clip(patch + noise, 0, 255).astype(np.uint8)
    one, other = features.textural(patch), features.textural(noisy)
    gradients, contrasts = slice(15, 18), slice(30, 32)
    assert (other[gradients] > one[gradients]).all() and (other[contrasts] > one[contrasts]).all()
