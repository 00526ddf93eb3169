"""Each training step does its own job: gradients by hand on networks of one layer; hard examples are harder."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from hou_synth import config
from models.blocks import maps
from train.judging import unseen
from train.loop.task_trainer import signed
from train.loop.trainer import UniversalTrainer

SIDE, BATCH, BORDER = 6, 4, 1
PIXELS = SIDE * SIDE
EPSILON = 1e-6  # inside the losses' logarithms


def pair(*names):
    return {name: keras.Input((None, None, 3), name=name) for name in names}


def linear_refiner(_):
    """X = I W + b."""
    inputs = pair("synthetic", "reference")
    return keras.Model(inputs, layers.Conv2D(3, 1)(inputs["synthetic"]))


def linear_discriminator(_):
    """z = X u + S v + c."""
    inputs = pair("patch", "reference")
    return keras.Model(inputs, layers.Conv2D(1, 1)(layers.Concatenate()([inputs["patch"], inputs["reference"]])))


def linear_task(_):
    """t = X T + d, segmentation and detection."""
    images = keras.Input((None, None, 3))
    return keras.Model(images, maps(layers.Conv2D(2, 1)(images)))


@pytest.fixture
def linear(monkeypatch):
    """Function that makes a trainer of networks of one layer, whose momentum SGD subtracts the gradient."""
    monkeypatch.setattr("train.loop.trainer.refiner", linear_refiner)
    monkeypatch.setattr("train.loop.trainer.discriminator", linear_discriminator)
    monkeypatch.setattr("train.loop.task_trainer.task", linear_task)

    def make(**changes):
        rates = dict.fromkeys(("refiner_rate", "discriminator_rate", "task_rate"), 1.0)
        sizes = {"patch": SIDE, "batch": BATCH, "pool": BATCH, "border": BORDER, "clip": 1e9}
        trainer = UniversalTrainer(config.preset("paper", **{**sizes, **rates, **changes}))
        random = np.random.default_rng(1)
        start = np.eye(3) * 0.9 + random.normal(0, 0.02, (3, 3)), random.normal(0, 0.02, 3)
        trainer.refiner.set_weights([start[0][None, None], start[1]])
        trainer.discriminator.set_weights([random.normal(0, 0.7, (1, 1, 6, 1)), random.normal(0, 0.5, 1)])
        trainer.task.set_weights([random.normal(0, 0.7, (1, 1, 3, 2)), random.normal(0, 0.5, 2)])
        return trainer

    return make


@pytest.fixture(scope="module")
def batch():
    """Patches of different colours, so that their weights differ."""
    random, shape = np.random.default_rng(0), (BATCH, SIDE, SIDE, 3)
    colours = {name: random.integers(50, 206, (BATCH, 1, 1, 3)) for name in ("image", "reference", "real")}
    data = {name: (colour + random.integers(-30, 30, shape)).astype(np.uint8) for name, colour in colours.items()}
    data["target"] = random.choice(np.array([0, 1, 5], np.uint8), (BATCH, SIDE, SIDE, 1))
    return {name: tf.constant(value) for name, value in data.items()}


def weights(trainer):
    """Name -> (matrix, bias) of each network, float64."""
    found = {name: getattr(trainer, name).get_weights() for name in ("refiner", "discriminator", "task")}
    return {name: (kernel[0, 0].astype(float), bias.astype(float)) for name, (kernel, bias) in found.items()}


def applied(trainer, step, batch):
    """What a step subtracts from the one network that it changes: name, matrix, bias."""
    before = weights(trainer)
    getattr(trainer, f"{step}_step")(batch)
    after = weights(trainer)
    moved = [name for name in before if any((a != b).any() for a, b in zip(before[name], after[name], strict=True))]
    assert len(moved) == 1
    return (moved[0], *(a - b for a, b in zip(before[moved[0]], after[moved[0]], strict=True)))


def scaled(batch, name):
    """(b, pixels, 3) in [-1, 1]."""
    return batch[name].numpy().reshape(BATCH, PIXELS, 3) / 127.5 - 1.0


def rounded(images):
    """As they are kept in the pool: through uint8."""
    return np.round(np.clip((images + 1) * 127.5, 0, 255)) / 127.5 - 1.0


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def score(trainer, patch, reference):
    """The discriminator's logits, (b, pixels), and its matrix."""
    kernel, bias = weights(trainer)["discriminator"]
    return (np.concatenate([patch, reference], -1) @ kernel + bias)[..., 0], kernel


def bits(batch):
    """Truth of segmentation and detection, (b, pixels, 2)."""
    target = batch["target"].numpy().reshape(BATCH, PIXELS, 1)
    return np.concatenate([target & 1 > 0, target & 4 > 0], -1).astype(float)


def around():
    """Weights of the pixels: a border of one pixel counts 0.01; (pixels, 1)."""
    inner = np.full((SIDE, SIDE), 0.01)
    inner[BORDER:-BORDER, BORDER:-BORDER] = 1.0
    return inner.reshape(PIXELS, 1)


def near_slope(synthetic, refined):
    """d/dX of lambda1 |I - X|_1 + lambda2 |I - X|_2^2."""
    return -1e-5 * np.sign(synthetic - refined) - 2e-4 * (synthetic - refined)


def real_slope(trainer, refined, reference, form):
    """d/dX of log(1 - D), D the mean of the local sigmoids; of sum log(1 - sigmoid(z)); or of - sum log sigmoid(z)."""
    logits, kernel = score(trainer, refined, reference)
    local = sigmoid(logits)
    if form == "release":
        slope = local - 1
    elif form == "summed":
        slope = -local
    else:
        slope = -local * (1 - local) / PIXELS / (1 - local.mean(1, keepdims=True) + EPSILON)
    return slope[..., None] * kernel[:3, 0]


def task_slope(trainer, refined, batch):
    """d/dt of the cross-entropies: probability less truth, times the weight of the pixel."""
    kernel, bias = weights(trainer)["task"]
    return around() * (sigmoid(refined @ kernel + bias) - bits(batch)), kernel


@pytest.mark.parametrize("form", config.CHOICES["realism"])
@pytest.mark.parametrize(
    "alpha,beta,gamma", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (2.0, 0.3, 0.01)], ids=["near", "real", "hard", "all"]
)
def test_refiner_step_by_hand(linear, batch, form, alpha, beta, gamma):
    """L_G = alpha L_reg + beta L_real - gamma L_R, each the mean over the patches."""
    trainer = linear(alpha=alpha, beta=beta, gamma=gamma, realism=form)
    kernel, bias = weights(trainer)["refiner"]
    synthetic, reference = scaled(batch, "image"), scaled(batch, "reference")
    refined = synthetic @ kernel + bias
    slope = alpha * near_slope(synthetic, refined) + beta * real_slope(trainer, refined, reference, form)
    hard, heads = task_slope(trainer, refined, batch)
    slope = (slope - gamma * hard @ heads.T) / BATCH
    name, matrix, offset = applied(trainer, "refine", batch)
    assert name == "refiner"
    expected = np.einsum("bpi,bpj->ij", synthetic, slope)
    assert np.allclose(matrix, expected, rtol=1e-3, atol=2e-6 + 1e-5 * np.abs(expected).max())
    assert np.allclose(offset, slope.sum((0, 1)), rtol=1e-3, atol=2e-6 + 1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("form", config.CHOICES["realism"])
def test_discriminator_step_by_hand(linear, batch, form):
    """L_D = - log D(S', S) - log(1 - D(X, S)), the mean over the pairs; or the same for each local logit."""
    trainer = linear(realism=form, seed=1)
    kernel, bias = weights(trainer)["refiner"]
    reference, other = scaled(batch, "reference"), scaled(batch, "real")
    refined = rounded(scaled(batch, "image") @ kernel + bias)
    before = weights(trainer)["discriminator"]
    name, matrix, offset = applied(trainer, "discriminate", batch)
    assert name == "discriminator"
    swap = (tf.random.stateless_uniform((BATCH, 1, 1, 1), trainer._seed(1)) < 0.5).numpy()[:, 0]
    assert 0 < swap.sum() < BATCH
    one, two = np.where(swap, reference, other), np.where(swap, other, reference)
    gradient = 0.0, 0.0
    for inputs, real in ((np.concatenate([one, two], -1), True), (np.concatenate([refined, reference], -1), False)):
        local = sigmoid(inputs @ before[0] + before[1])
        mean = local.mean(1, keepdims=True)
        if form != "paper":
            slope = local - float(real)
        else:
            within = local * (1 - local) / PIXELS
            slope = -within / (mean + EPSILON) if real else within / (1 - mean + EPSILON)
        slope = slope / BATCH
        gradient = gradient[0] + np.einsum("bpi,bpj->ij", inputs, slope), gradient[1] + slope.sum()
    assert np.allclose(matrix, gradient[0], rtol=1e-3, atol=1e-5)
    assert np.allclose(offset, gradient[1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("low,high", [(0.0, 1e6), (0.55, 1.08)], ids=["paper", "clipped"])
def test_task_step_by_hand(linear, batch, low, high):
    """L_R = mean of w(X) loss(X), w = Pr / (1 - Pr) of the refined patch, constant for the gradient."""
    trainer = linear(weight_low=low, weight_high=high)
    kernel, bias = weights(trainer)["refiner"]
    refined = rounded(scaled(batch, "image") @ kernel + bias)
    real = sigmoid(score(trainer, refined, scaled(batch, "reference"))[0]).mean(1)
    assert (real / (1 - real)).min() < 0.5 and (real / (1 - real)).max() > 1.1
    importance = np.clip(real / (1 - real), low, high)
    slope = importance[:, None, None] * task_slope(trainer, refined, batch)[0] / BATCH
    name, matrix, offset = applied(trainer, "segment", batch)
    assert name == "task"
    assert np.allclose(matrix, np.einsum("bpi,bpj->ij", refined, slope), rtol=1e-3, atol=1e-5)
    assert np.allclose(offset, slope.sum((0, 1)), rtol=1e-3, atol=1e-5)


def stacked(examples, settings):
    """Examples as a batch of tensors."""
    names = ("image", "reference", "real")
    made = {name: tf.constant(np.stack([getattr(e, name) for e in examples])) for name in names}
    return made | {"target": tf.constant(np.stack([e.target(settings.losses)[..., None] for e in examples]))}


@pytest.fixture
def small(monkeypatch):
    """Function that makes a trainer with a small refiner and task network, and a discriminator of one layer."""
    monkeypatch.setattr("train.loop.trainer.discriminator", linear_discriminator)
    widths = {"refiner_blocks": 1, "unet_widths": (8, 16), "unet_down": (1, 1), "unet_up": (1,)}
    sizes = {"patch": 64, "batch": 8, "pool": 8, "stain": 0.0, "refiner_rate": 1e-3, "task_rate": 1e-2}

    def make(**changes):
        tf.keras.utils.set_random_seed(0)
        return UniversalTrainer(
            config.preset("quick", **{**widths, **sizes, "decay": False, "normalisation": False, **changes})
        )

    return make


def loss(trainer, patch, target):
    """Task loss of each patch, (n,)."""
    return trainer.patch_loss(patch, target, training=False)[0].numpy()


def moved(trainer, batch, distance):
    """Patches at a distance ||X - I|| in the direction of the refined ones, and the distances of these."""
    initial = signed(batch["image"])
    change = trainer.patch(batch["image"], batch["reference"]) - initial
    own = tf.norm(tf.reshape(change, (len(change), -1)), axis=1)
    return initial + distance * change / own[:, None, None, None], own.numpy()


def test_hard_examples_are_harder_at_the_same_distance_from_the_input(small, bank):
    """Two refiners, told to make hard examples or not, of a task network that has learned; unseen patches."""
    learner = small()
    drawn = unseen.examples(bank, learner.config, 64)
    examples = [stacked(batch, learner.config) for batch in unseen.batches(drawn, 8)]
    others = {name: tf.concat([part[name] for part in examples[4:]], 0) for name in examples[0]}
    start, untaught = signed(others["image"]), loss(learner, signed(others["image"]), others["target"])
    alone = small(refiner_steps=0, adversarial_rounds=0, joint_rounds=0, discriminator_steps=0)
    for number in range(60):
        alone.segment(examples[number % 4])
    taught = loss(alone, start, others["target"])
    assert taught.mean() < 0.6 * untaught.mean()

    refined, distances = {}, {}
    for gamma in (0.0, 0.01):
        trainer = small(gamma=gamma, beta=0.1, l1=0.0, l2=1.0)  # an elastic net that holds: none leaves its input
        trainer.task.set_weights(alone.task.get_weights())
        for number in range(50):
            trainer.refine(examples[number % 4])
        refined[gamma], distances[gamma] = moved(trainer, others, 4.0)
    assert all(0.3 < each.mean() < 20 for each in distances.values())
    plain, hard = (loss(alone, each, others["target"]) for each in refined.values())
    gain = np.log(hard / plain)
    # Four seeds gave 4.1 to 9.8 standard errors, and 69 to 100 % of the patches.
    assert gain.mean() / (gain.std(ddof=1) / np.sqrt(len(gain))) > 3
    assert (hard > plain).mean() > 0.6 and hard.mean() > plain.mean() > taught.mean()
