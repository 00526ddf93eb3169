import numpy as np
import pytest
import tensorflow as tf

from hou_synth import config
from models import losses
from train.judging import comparison, frechet, reliability, unseen
from train.loop.task_trainer import signed, unsigned
from train.loop.trainer import UniversalTrainer

TINY = {"refiner_blocks": 1, "unet_widths": (4, 8), "unet_down": (1, 1), "unet_up": (1,), "patch": 64, "pool": 8}


def tiny(**changes):
    tf.keras.utils.set_random_seed(0)
    return UniversalTrainer(config.preset("quick", **{**TINY, **changes}))


@pytest.fixture(scope="module")
def judged(bank):
    """A trainer, unseen examples and their measured patches."""
    trainer = tiny()
    examples = unseen.examples(bank, trainer.config, 40)
    return trainer, examples, comparison.measured(trainer, examples)


def row(rows, measure, kind=comparison.ALL):
    found = [row for row in rows if row["measure"] == measure and row["type"] == kind]
    assert len(found) == 1
    return found[0]


def test_patches_are_measured_in_the_order_of_the_examples(judged):
    trainer, examples, patches = judged
    example, measure = examples[13], comparison.FEATURES["stain and texture"]
    refined = trainer.patch(example.image[None], example.reference[None])
    found = patches.features["stain and texture"]
    assert list(found) == list(comparison.SETS) and found["real"].shape == (40, 36)
    images = {"real": example.real, "initial": example.image, "refined": unsigned(refined).numpy()[0]}
    for name, image in images.items():
        assert np.allclose(found[name][13], measure(image), rtol=1e-3, atol=1e-3), name
    contrasts = frechet.contrasts(example.image, example.labels)
    assert np.allclose(patches.contrasts["initial"][:, 13], [contrasts.sum(), len(contrasts)])
    logits = trainer.discriminator({"patch": signed(example.real[None]), "reference": signed(example.reference[None])})
    assert patches.real["real"][13] == pytest.approx(float(losses.real_probability(logits)[0]), abs=1e-4)
    assert patches.types[13] == example.provenance["type"] and patches.tiles[13] == example.provenance["tile"]


def test_mean_contrast_counts_nuclei_and_ratio_compares_them(judged):
    patches = judged[2]
    found = row(comparison.table(patches), "haematoxylin across the border")
    for name in ("initial", "refined"):
        total, count = patches.contrasts[name].sum(1)
        assert found[name] == pytest.approx(total / count)
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
    assert found["ratio"] == pytest.approx(found["refined"] / found["initial"]) and "real" not in found


def test_rows_of_a_type_are_of_its_patches_alone(judged):
    patches = judged[2]
    rows = comparison.table(patches)
    of_a = row(rows, "importance weight", "a")
    assert of_a["refined"] == pytest.approx(patches.weights[patches.types == "a"].mean(), rel=1e-5)
    assert of_a["patches"] == int((patches.types == "a").sum()) and of_a["tiles"] == 1
    assert [each["measure"] for each in rows if each["type"] == "a" and "distance" in each["measure"]] == []
    total = row(rows, "distance, stain and texture")
    assert (total["patches"], total["tiles"]) == (40, 2)


def test_discriminator_is_right_about_both(judged):
    trainer, examples, patches = judged
    rows = comparison.table(patches)
    right, real, refined = row(rows, "discriminator is right"), patches.real["real"], patches.real["refined"]
    assert right["real"] == pytest.approx((real > 0.5).mean()) and right["refined"] == pytest.approx(
        (refined < 0.5).mean()
    )
    other = reliability.reliability(trainer, examples)
    assert row(rows, "error of its probability")["refined"] == pytest.approx(other.error, abs=1e-5)
    assert row(rows, "importance weight")["refined"] == pytest.approx(other.weight, rel=1e-4)
    assert row(rows, "effective share")["refined"] == pytest.approx(other.effective / 40, rel=1e-4)


def made(beyond, count=60, size=4):
    """Patches whose refined ones lie between the real and the initial ones, by their means."""
    random, tiles = np.random.default_rng(0), np.arange(count) % 12
    real = random.normal(0, 1, (count, size)) + random.normal(0, 0.5, (12, size))[tiles]
    sets = {"real": real, "initial": real + 2.0, "refined": real + 2.0 * beyond}
    nothing = {name: np.zeros((2, count)) for name in ("initial", "refined")}
    names = np.array([f"tile {tile}" for tile in tiles])
    return comparison.Patches(np.full(count, ""), names, {"f": sets}, nothing, {}, np.ones(count))


def test_ratio_is_what_refinement_leaves_of_the_way_to_real():
    """The distance of shifted patches grows with the square of the shift."""
    rows = comparison.table(made(0.5))
    found = row(rows, "beyond halves, f")
    assert found["ratio"] == pytest.approx(0.25) and found["ratio_low"] <= 0.25 <= found["ratio_high"]
    distance = row(rows, "distance, f")
    assert distance["real"] < distance["refined"] < distance["initial"]
    assert found["refined"] == pytest.approx(distance["refined"] - distance["real"])
    assert "initial" not in row(rows, "haematoxylin across the border")


def test_a_run_without_refiner_is_compared_by_its_initial_patches(bank):
    trainer = tiny(refiner_steps=0, discriminator_steps=0, adversarial_rounds=0, joint_rounds=0)
    assert not trainer.refined and not trainer.weighed
    rows = comparison.table(comparison.measured(trainer, unseen.examples(bank, trainer.config, 40)))
    assert {"distance, stain and texture", "haematoxylin across the border"} <= {row["measure"] for row in rows}
    assert not any("refined" in row or "ratio" in row or "discriminator" in row["measure"] for row in rows)


def test_one_tile_alone_has_no_distances(bank):
    trainer = tiny()
    single = type(bank)(bank.path)
    single.tiles = single.tiles[:1]
    rows = comparison.table(comparison.measured(trainer, unseen.examples(single, trainer.config, 12)))
    assert not any("distance" in row["measure"] for row in rows)
    assert 0 <= row(rows, "effective share")["refined"] <= 1


def test_contrast_is_over_all_nuclei_of_all_patches(judged):
    trainer, examples, patches = judged
    found = comparison.contrast(trainer, examples)
    for name in ("initial", "refined"):
        total, count = patches.contrasts[name].sum(1)
        assert found[name] == pytest.approx(total / count, rel=1e-6)
    assert found["ratio"] == pytest.approx(found["refined"] / found["initial"])
