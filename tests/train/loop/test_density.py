"""Worlds in which the density of real and of synthetic patches is known: are the weights p/g?"""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from hou_synth import config
from models.blocks import convolution, with_code
from models.importance import importance
from train.loop.task_trainer import signed
from train.loop.trainer import UniversalTrainer

SIDE = 16


class Brightness:
    """Noise about a grey level, Normal(140, 24) in real and Normal(116, 24) in synthetic patches."""

    def draw(self, random, count, real):
        return random.normal(140 if real else 116, 24, count)

    def log_ratio(self, level):
        return (level - 128) / 24

    def images(self, random, level):
        image = level[:, None, None, None] + random.normal(0, 8, (len(level), SIDE, SIDE, 3))
        return np.clip(np.round(image), 0, 255).astype(np.uint8)


class Nuclei:
    """A dark nucleus in each of 16 cells, with probability 0.56 in real and 0.44 in synthetic patches."""

    def draw(self, random, count, real):
        return random.binomial(16, 0.56 if real else 0.44, count)

    def log_ratio(self, number):
        return (2 * number - 16) * np.log(0.56 / 0.44)

    def images(self, random, number):
        order = random.random((len(number), 16)).argsort(1)
        cells = (order < number[:, None]).reshape(-1, 4, 1, 4, 1)
        cell = np.pad(np.ones((2, 2)), 1)[:, None, :]
        image = 200 - 100 * (cells * cell).reshape(-1, SIDE, SIDE, 1)
        return np.clip(image + random.normal(0, 8, (*image.shape[:3], 3)), 0, 255).astype(np.uint8)


def small(size):
    """A discriminator of two groups; its second convolution of 6 sees all of a patch, of 3 a window of 10x10."""
    patch, reference = (keras.Input((None, None, 3), name=name) for name in ("patch", "reference"))
    code = layers.Dense(8, name="code")(layers.GlobalAveragePooling2D(keepdims=True, name="mean")(reference))
    x = with_code("with_reference")(convolution(8, 3, "first", "valid")(patch), code)
    x = layers.AveragePooling2D(2, name="pool")(convolution(8, 3, "group1", "valid")(x))
    x = layers.Conv2D(1, 1, name="logits")(convolution(16, size, "group2", "valid")(x))
    return keras.Model({"patch": patch, "reference": reference}, x)


@functools.cache
def trained(world, size, real=64, synthetic=64, form="release", steps=400):
    """A trainer whose refiner changes nothing, after steps of its discriminator; the second half at a low rate."""
    keras.utils.set_random_seed(0)
    sizes = {"unet_widths": (4, 8), "unet_down": (1, 1), "unet_up": (1,), "refiner_blocks": 1}
    own = {"patch": SIDE, "pool": 512, "realism": form, "weight_low": 0.0, "weight_high": 1e6}
    trainer = UniversalTrainer(config.preset("quick", **sizes, **own))
    trainer.patch = lambda image, reference: signed(image)
    trainer.discriminator = small(size)
    trainer.discriminator_optimizer = trainer._optimizer(3e-3, trainer.discriminator)
    random = np.random.default_rng(0)
    for step in range(steps):
        if step == steps // 2:
            trainer.discriminator_optimizer.learning_rate.assign(3e-4)
        counts = {"real": (real, True), "image": (synthetic, False), "reference": (max(real, synthetic), True)}
        batch = {name: world().images(random, world().draw(random, *count)) for name, count in counts.items()}
        target = np.zeros((synthetic, SIDE, SIDE, 1), np.uint8)
        trainer.discriminate({name: tf.constant(value) for name, value in batch.items()} | {"target": target})
    return trainer


def unseen(world, trainer, count=4000):
    """What is known of new synthetic patches, and the discriminator's logits on them."""
    random = np.random.default_rng(1)
    known = world().draw(random, count, False)
    patch = signed(world().images(random, known))
    reference = signed(world().images(random, world().draw(random, count, True)))
    return known, trainer.discriminator({"patch": patch, "reference": reference}, training=False)


def weights(world, size, *counts, line=(0.0, 1.0), **changes):
    """What is known of unseen patches, their weights, and the slope and the offset of log w on log p/g.

    The line is fitted over the central 90 % of the synthetic patches.
    """
    trainer = trained(world, size, *counts, **changes)
    known, logits = unseen(world, trainer)
    found = importance(logits, trainer.ratio(), line=trainer.weighting.line if line == "calibrate" else line).numpy()
    low, high = np.quantile(known, [0.05, 0.95])
    middle = (known >= low) & (known <= high)
    return known, found, np.polyfit(world().log_ratio(known)[middle], np.log(found[middle]), 1)


def ranks(values):
    """Ranks from 0 to 1, equal ones for equal values."""
    _, place, counts = np.unique(np.round(values, 6), return_inverse=True, return_counts=True)
    return ((np.cumsum(counts) - counts / 2) / len(values))[place]


CASES = [(Brightness, 3, 64, 64), (Brightness, 3, 32, 64), (Brightness, 3, 64, 32), (Nuclei, 6, 64, 64)]


@pytest.mark.parametrize("case", CASES)
def test_weights_are_the_ratio_of_the_densities(case):
    """Also with twice and with half as many synthetic as real inputs, thanks to c."""
    known, found, (slope, offset) = weights(*case)
    assert np.corrcoef(ranks(found), ranks(case[0]().log_ratio(known)))[0, 1] > 0.95
    assert slope == pytest.approx(1.0, abs=0.1) and offset == pytest.approx(0.0, abs=0.15)


@pytest.mark.parametrize("case", CASES)
def test_weighted_means_of_synthetic_patches_are_the_means_of_real_ones(case):
    known, found, _ = weights(*case)
    real = case[0]().draw(np.random.default_rng(2), 10**6, True)
    middle = 128 if case[0] is Brightness else 8
    for statistic in (lambda k: k, lambda k: k**2, lambda k: k > middle):
        values, wanted = statistic(known).astype(float), statistic(real).mean()
        mean = np.average(values, weights=found)
        error = np.sqrt(np.sum((found * (values - mean)) ** 2)) / found.sum()
        assert abs(mean - wanted) < 2.58 * error  # 99 %
        assert abs(values.mean() - wanted) > 20 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("real,synthetic", [(32, 64), (64, 32)])
def test_the_ratio_of_inputs_is_what_restores_the_weights(real, synthetic):
    trainer = trained(Brightness, 3, real, synthetic)
    assert trainer.seen.numpy().tolist() == [400 * synthetic, 400 * real]
    _, restored, _ = weights(Brightness, 3, real, synthetic)
    _, balanced, _ = weights(Brightness, 3, 64, 64)
    assert abs(np.median(np.log(restored / balanced))) < 0.1
    assert abs(np.median(np.log(restored / trainer.ratio() / balanced))) > np.log(2) - 0.1


@pytest.mark.slow
def test_local_probabilities_of_a_part_of_the_patch_make_weights_too_even():
    """A window of 10x10 sees 39 % of the patch and its mean probability about as much of log p/g.

    The cross-entropy of the mean (paper) learns steeper local probabilities than that of each (release); a
    calibrated slope makes up for what is left, as far as the ranks go.
    """
    _, release, (shrunk, _) = weights(Nuclei, 3)
    _, _, (paper, _) = weights(Nuclei, 3, form="paper")
    _, calibrated, (restored, _) = weights(Nuclei, 3, line="calibrate")
    assert 0.3 < shrunk < 0.6 < paper < 0.95
    assert restored > shrunk + 0.2
    assert np.diff(calibrated[np.argsort(release)]).min() > -1e-5
