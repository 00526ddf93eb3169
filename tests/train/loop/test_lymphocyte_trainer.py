import numpy as np
import pytest
import tensorflow as tf

from data.synthetic import LYMPHOCYTE, NUCLEUS
from hou_synth import config
from train.loop.lymphocyte_trainer import LymphocyteTrainer, central

TINY = {"classifier_widths": (4, 4, 4, 4), "refiner_blocks": 1, "batch": 2, "pool": 8}


def targets():
    """Targets whose centres are in a lymphocyte, in another nucleus, at a lymphocyte's border, and nowhere."""
    target = np.zeros((4, 64, 64, 1), np.uint8)
    target[0, 20:44, 20:44] = LYMPHOCYTE | NUCLEUS
    target[1, 20:44, 20:44] = NUCLEUS
    target[1, 35:, 35:] = LYMPHOCYTE
    target[2, 32:, :] = LYMPHOCYTE
    return tf.constant(target)


def test_a_patchs_label_is_what_is_at_its_centre():
    positive, known = central(targets())
    assert known.numpy().tolist() == [1, 1, 0, 1]
    assert (positive * known).numpy().tolist() == [1, 0, 0, 0]


def test_loss_of_a_patch_by_hand():
    trainer = LymphocyteTrainer(config.preset("lymphocyte", **TINY))
    images = tf.random.stateless_uniform((4, 64, 64, 3), (0, 1), -1.0, 1.0)
    loss, logits = trainer.patch_loss(images, targets(), training=False)
    z = logits.numpy()[:, 0].astype(float)
    assert loss.numpy() == pytest.approx([np.log1p(np.exp(-z[0])), np.log1p(np.exp(z[1])), 0, np.log1p(np.exp(z[3]))])
    assert trainer.probabilities(images).numpy()[:, 0] == pytest.approx(1 / (1 + np.exp(-z)), abs=1e-6)


@pytest.mark.parametrize("step,network", [("refine", "refiner"), ("segment", "task")])
def test_each_step_changes_exactly_one_network(step, network):
    trainer = LymphocyteTrainer(config.preset("lymphocyte", **TINY, joint_rounds=1))
    batch = {name: tf.random.uniform((4, 64, 64, 3), 0, 255, tf.int32) for name in ("image", "reference", "real")}
    batch = {name: tf.cast(value, tf.uint8) for name, value in batch.items()} | {"target": targets()}
    names = ("refiner", "discriminator", "task")
    before = {name: getattr(trainer, name).get_weights() for name in names}
    told = getattr(trainer, f"{step}_step")(batch)
    after = {name: getattr(trainer, name).get_weights() for name in names}
    changed = {n for n in names if any((a != b).any() for a, b in zip(before[n], after[n], strict=True))}
    assert changed == {network}
    assert step == "refine" or float(told["right"]) in (0.0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0)
