import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from hou_synth import config
from train.loop.task_trainer import signed, unsigned
from train.loop.trainer import UniversalTrainer
from train.loop.weighting import MEMORY, STRENGTH, Weighting

CHOICES = config.CHOICES["weighting"]


def weighting(choice, low=0.2, high=2.0):
    losses = config.preset("paper").losses
    return Weighting(dataclasses.replace(losses, weighting=choice, weight_low=low, weight_high=high))


def logits_of(*odds):
    """Logits of one-pixel maps whose probability p has the odds p / (1 - p)."""
    return tf.reshape(tf.math.log(tf.constant(odds, tf.float32)), (-1, 1, 1, 1))


def stream(random, count, offset, slope):
    """Logits z on as many real as refined patches, where the log odds of being real are offset + slope z."""
    logits = random.normal(0, 1.5, count)
    real = random.random(count) < 1 / (1 + np.exp(-(offset + slope * logits)))
    ordered = np.concatenate([logits[real], logits[~real]]).astype(np.float32)
    return tf.reshape(tf.constant(ordered), (-1, 1, 1, 1)), int(real.sum())


@pytest.mark.parametrize(
    "choice,expected",
    [
        ("clip", [0.2, 0.5, 2.0, 2.0]),
        ("normalise", [0.1, 0.25, 1.0, 1.0]),  # the mean is 2
        ("calibrate", [0.2, 0.75, 2.0, 2.0]),  # 3 times the square of the odds 1/30, 1/4, ...
        ("none", [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_each_choice_by_hand(choice, expected):
    made = weighting(choice)
    made.mass.assign([8.0, 4.0])
    made.line.assign([np.log(6.0), 2.0])
    found = made.weights(logits_of(1 / 30, 0.25, 1.5, 9.0), 2.0, (0, 0)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_shuffle_gives_the_clipped_weights_to_other_patches():
    logits = logits_of(*np.linspace(0.1, 3.0, 12))
    clipped = weighting("clip").weights(logits, 1.0, (0, 0)).numpy()
    found = weighting("shuffle").weights(logits, 1.0, (0, 1)).numpy()
    assert sorted(found) == sorted(clipped) and (found != clipped).any()


def test_the_mean_is_of_clipped_weights_of_refined_patches_and_forgets():
    made = weighting("normalise")
    made.observe(logits_of(50.0, 0.5, 9.0), 1, 1.0)  # one real, two refined of weights 0.5 and 2
    np.testing.assert_allclose(made.mass, [MEMORY * STRENGTH + 2.5, MEMORY * STRENGTH + 2], rtol=1e-6)
    step = tf.function(made.observe)
    for _ in range(1000):
        step(logits_of(50.0, 0.5, 9.0), 1, 1.0)
    assert float(made.mass[0] / made.mass[1]) == pytest.approx(1.25, rel=1e-3)


@pytest.mark.parametrize("offset,slope", [(0.0, 1.0), (0.4, 2.0), (-0.5, 0.5)])
def test_the_line_is_found_from_a_stream_of_batches(offset, slope):
    made, random = weighting("calibrate"), np.random.default_rng(0)
    step = tf.function(made.observe, reduce_retracing=True)
    for _ in range(400):
        logits, real = stream(random, 40, offset, slope)
        step(logits, tf.constant(real), 1.0)
    np.testing.assert_allclose(made.line, [offset, slope], atol=0.15)


def test_the_line_follows_a_discriminator_that_changes():
    made, random = weighting("calibrate"), np.random.default_rng(0)
    step = tf.function(made.observe, reduce_retracing=True)
    for slope in (3.0, 1.0):
        for _ in range(400):
            logits, real = stream(random, 40, 0.0, slope)
            step(logits, tf.constant(real), 1.0)
        assert float(made.line[1]) == pytest.approx(slope, rel=0.15)


def test_what_is_no_longer_seen_is_forgotten():
    """Log odds of 0 say nothing of the slope, which goes back to the first belief."""
    made = weighting("calibrate")
    made.line.assign([0.0, 3.0])
    step = tf.function(made.observe)
    for _ in range(1000):
        step(logits_of(1.0, 1.0, 1.0, 1.0), 2, 1.0)
    np.testing.assert_allclose(made.line, [0.0, 1.0], atol=0.01)


def test_the_line_is_finite_where_everything_is_told_apart():
    made = weighting("calibrate")
    step = tf.function(made.observe)
    for _ in range(500):
        step(logits_of(1e5, 1e4, 1e-4, 1e-5), 2, 1.0)
    assert np.isfinite(made.line.numpy()).all() and 0.5 < float(made.line[1]) < 5.0
    made.observe(tf.fill((4, 1, 1, 1), 500.0), 2, 1.0)
    assert np.isfinite(made.line.numpy()).all()


@pytest.mark.parametrize("choice", CHOICES)
def test_compiled_by_xla_the_weights_are_the_same(choice):
    made, logits = weighting(choice), logits_of(*np.linspace(0.1, 3.0, 8))
    tf.function(made.observe, jit_compile=True)(logits, 4, 1.0)
    compiled = tf.function(made.weights, jit_compile=True)(logits, 1.0, (0, 1))
    np.testing.assert_allclose(np.sort(compiled), np.sort(made.weights(logits, 1.0, (0, 1))), rtol=1e-5)
    assert float(made.mass[1]) == pytest.approx(MEMORY * STRENGTH + 4) and float(made.line[0]) != 0.0


def test_probability_is_that_among_as_many_real_as_refined():
    """Odds of 1 with twice as many synthetic inputs: a patch in doubt is real with 2 to 1."""
    np.testing.assert_allclose(weighting("clip").probability(logits_of(1.0, 9.0), 2.0), [2 / 3, 18 / 19], rtol=1e-5)
    made = weighting("calibrate")
    made.line.assign([0.0, 0.5])
    np.testing.assert_allclose(made.probability(logits_of(9.0), 1.0), [0.75], rtol=1e-5)


def tiny(choice, **changes):
    sizes = {"refiner_blocks": 1, "unet_widths": (4, 8), "unet_down": (1, 1), "unet_up": (1,)}
    tf.keras.utils.set_random_seed(0)
    return UniversalTrainer(config.preset("quick", **sizes, patch=64, batch=4, pool=8, weighting=choice, **changes))


def batch(real=4, image=4):
    random = np.random.default_rng(0)
    counts = {"real": real, "image": image, "reference": max(real, image)}
    data = {name: random.integers(0, 256, (count, 64, 64, 3), np.uint8) for name, count in counts.items()}
    return {name: tf.constant(value) for name, value in data.items()} | {
        "target": tf.zeros((image, 64, 64, 1), "uint8")
    }


@pytest.mark.parametrize("choice", CHOICES)
def test_no_gradient_flows_from_the_task_loss_into_refiner_or_discriminator(choice):
    trainer, patch = tiny(choice), tf.random.stateless_uniform((4, 64, 64, 3), (0, 0), -1, 1)
    with tf.GradientTape() as tape:
        tape.watch(patch)
        weights = trainer.weight(patch, patch)
    sources = [patch, *trainer.discriminator.trainable_variables, *trainer.weighting.variables]
    assert weights.shape == (4,) and tape.gradient(weights, sources) == [None] * len(sources)


def test_shuffling_depends_on_the_step_alone():
    trainer = tiny("shuffle")
    trainer.weighting.weights = lambda logits, ratio, seed: seed
    seeds = []
    for step in (1, 1, 2):
        trainer.step.assign(step)
        seeds.append(trainer.weight(tf.zeros((1, 64, 64, 3)), tf.zeros((1, 64, 64, 3))).numpy().tolist())
    assert seeds[0] == seeds[1] != seeds[2]


def test_checkpoints_carry_the_estimates(tmp_path):
    trainer, fresh = tiny("calibrate"), tiny("calibrate")
    trainer.discriminate_step(batch())
    path = tf.train.Checkpoint(trainer=trainer).save(str(tmp_path / "state"))
    tf.train.Checkpoint(trainer=fresh).restore(path).assert_existing_objects_matched()
    assert len(trainer.weighting.variables) == 3
    for one, other, start in zip(
        trainer.weighting.variables, fresh.weighting.variables, weighting("clip").variables, strict=True
    ):
        assert (one.numpy() == other.numpy()).all() and (one.numpy() != start.numpy()).any()


@pytest.mark.parametrize("real,image", [(4, 2), (2, 4), (4, 4)])
def test_the_discriminator_counts_what_it_was_given(real, image):
    trainer = tiny("clip")
    assert float(trainer.ratio()) == 1.0
    values = trainer.discriminate_step(batch(real, image))
    assert trainer.seen.numpy().tolist() == [image, real] and float(trainer.ratio()) == image / real
    assert np.isfinite(values["discriminator_loss"]) and 0 <= float(values["accuracy"]) <= 1
    assert float(trainer.weighting.mass[1]) == pytest.approx(MEMORY * STRENGTH + image)


@pytest.mark.parametrize("form", config.CHOICES["realism"])
@pytest.mark.parametrize("real,image", [(4, 2), (2, 4), (4, 4)])
def test_every_input_counts_alike_in_the_loss_of_the_discriminator(real, image, form):
    """Twice the mean cross-entropy of an input, as a pair of a real and a refined one has two."""
    trainer, data = tiny("clip", realism=form), batch(real, image)
    data["real"] = data["reference"][:real]  # in either order the same pair
    refined = signed(unsigned(trainer.patch(data["image"], data["reference"][:image])))
    patches = tf.concat([signed(data["real"]), refined], 0)
    references = signed(tf.concat([data["reference"][:real], data["reference"][:image]], 0))
    said = tf.sigmoid(trainer.discriminator({"patch": patches, "reference": references})).numpy()
    right = np.concatenate([said[:real], 1 - said[real:]])
    mean = -np.log(right.mean((1, 2, 3))) if form == "paper" else -np.log(right).sum((1, 2, 3))
    loss = float(trainer.discriminate_step(data)["discriminator_loss"])
    assert loss == pytest.approx(2 * mean.mean(), rel=1e-3)
