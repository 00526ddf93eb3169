import numpy as np
import pytest
import tensorflow as tf

from hou_synth import config
from train.loop import task_trainer as module
from train.loop.pool import CHANNELS, Pool
from train.loop.trainer import UniversalTrainer

TINY = {
    "refiner_blocks": 1,
    "unet_widths": (4, 8),
    "unet_down": (1, 1),
    "unet_up": (1,),
    "patch": 64,
    "batch": 2,
    "pool": 8,
}


def tiny(**changes):
    tf.keras.utils.set_random_seed(0)
    return UniversalTrainer(config.preset("quick", **{**TINY, **changes}))


def batches(updates, seed=0, side=64, batch=2):
    random = np.random.default_rng(seed)
    shape = (updates, batch, side, side)
    data = {name: random.integers(0, 256, (*shape, 3), np.uint8) for name in ("image", "reference", "real")}
    data["target"] = random.choice(np.array([0, 1, 5], np.uint8), (*shape, 1))
    return {name: tf.constant(value) for name, value in data.items()}


def first(data):
    return {name: tensor[0] for name, tensor in data.items()}


def snapshot(trainer):
    names = ("refiner", "discriminator", "task")
    return {name: [w.numpy() for w in getattr(trainer, name).trainable_variables] for name in names}


def changed(before, after):
    return {name for name in before if any((a != b).any() for a, b in zip(before[name], after[name], strict=True))}


@pytest.mark.parametrize(
    "step,network", [("refine", "refiner"), ("discriminate", "discriminator"), ("segment", "task")]
)
def test_each_step_changes_exactly_one_network(step, network):
    trainer = tiny()
    before = snapshot(trainer)
    getattr(trainer, f"{step}_step")(first(batches(1)))
    assert changed(before, snapshot(trainer)) == {network}


def test_bare_loop_equals_fit():
    updates = (1, 1, 1)
    data = tf.data.Dataset.from_tensor_slices({k: tf.stack([v, v[::-1]]) for k, v in batches(3).items()})
    fitted, looped = tiny(), tiny()
    fitted.compile(updates=updates)
    fitted.fit(data, shuffle=False, verbose=0)
    looped.compile(updates=updates)
    step = tf.function(looped.train_step)
    for round_ in data:
        step(round_)
    assert changed(snapshot(fitted), snapshot(looped)) == set()
    assert int(fitted.step) == 6


def test_same_seed_same_weights_and_another_seed_others():
    results = []
    for seed in (0, 0, 1):
        trainer = tiny(seed=seed)
        for number in range(2):
            trainer.discriminate_step(first(batches(1, number)))
        results.append(snapshot(trainer))
    assert changed(results[0], results[1]) == set()
    assert "discriminator" in changed(results[0], results[2])


def test_a_round_takes_a_fresh_minibatch_for_each_update(monkeypatch):
    trainer, seen = tiny(), []
    trainer.compile(updates=(2, 1, 3))
    for name in ("refine", "discriminate", "segment"):
        monkeypatch.setattr(
            trainer, name, lambda batch, fill, name=name: seen.append((name, int(batch["image"]))) or {}
        )
    trainer.train_step({"image": tf.range(6)})
    kinds = ["refine", "refine", "segment", "segment", "segment", "discriminate"]
    assert seen == list(zip(kinds, range(6), strict=True))


def test_hard_examples_raise_the_task_loss():
    """With gamma alone, refiner steps make patches harder for the task network."""
    trainer = tiny(alpha=0.0, beta=0.0, gamma=1.0, refiner_rate=1e-2)
    batch = first(batches(1))

    def task_loss():
        patch = trainer.patch(batch["image"], batch["reference"])
        return float(tf.reduce_mean(trainer.patch_loss(patch, batch["target"], training=False)[0]))

    before = task_loss()
    for _ in range(5):
        values = trainer.refine_step(batch)
    assert task_loss() > before
    assert float(values["refiner_loss"]) == pytest.approx(float(values["hard"]), rel=1e-5)


def test_realism_makes_the_discriminator_err():
    trainer = tiny(alpha=0.0, beta=1.0, gamma=0.0, refiner_rate=1e-3)
    batch = first(batches(1))
    values = [float(trainer.refine_step(batch)["realism"]) for _ in range(8)]
    assert values[-1] < values[0]


def test_regularisation_keeps_refined_patches_near():
    trainer = tiny(alpha=1.0, beta=0.0, gamma=0.0, refiner_rate=1e-3, identity=False)
    batch = first(batches(1))
    values = [float(trainer.refine_step(batch)["regularisation"]) for _ in range(8)]
    assert values[-1] < values[0]


def test_task_loss_is_weighted_by_importance(monkeypatch):
    """A patch of weight 0 does not teach; twice the weight is twice the gradient."""
    gradients = []
    for weights in ([1.0, 0.0], [2.0, 0.0]):
        trainer = tiny(optimizer="momentum", task_rate=1e-6, clip=1e9, stain=0.0, normalisation=False, decay=False)
        monkeypatch.setattr(trainer, "weight", lambda *_, weights=weights: tf.constant(weights))
        before = snapshot(trainer)["task"]
        trainer.segment_step(first(batches(1)))
        gradients.append([a - b for a, b in zip(before, snapshot(trainer)["task"], strict=True)])
    for one, two in zip(*gradients, strict=True):
        assert np.allclose(2 * one, two, rtol=0.05, atol=1e-7)


def test_labelled_patches_join_the_task_batch_with_weight_one():
    trainer, batch = tiny(), first(batches(1))
    labelled = {f"labelled_{name}": batch[name][:1] for name in ("image", "target")}
    images, target, weights = trainer.taught(batch | labelled, fill=False)
    assert images.shape[0] == target.shape[0] == weights.shape[0] == 3
    assert np.allclose(images[2], module.signed(batch["image"][0])) and float(weights[2]) == 1.0
    assert np.array_equal(target[2], batch["target"][0])


def test_history_is_mixed_in_half_and_half():
    trainer = tiny(batch=4)
    batch = {name: tensor[0] for name, tensor in batches(1, batch=4).items()}
    whole = trainer.mixed(batch, True)
    assert int(trainer.pool.size) == 2
    trainer.pool.layers["image"].assign(tf.fill(trainer.pool.layers["image"].shape, tf.cast(77, tf.uint8)))
    again = trainer.mixed(batch, True)
    assert (again["image"][:2].numpy() == whole["image"][:2].numpy()).all()
    assert (again["image"][2:].numpy() == 77).all()


@pytest.mark.parametrize(("history", "rows"), [("refiner", (4, 0, 0)), ("every", (2, 2, 2))])
def test_what_each_update_puts_into_the_pool(history, rows):
    """The refiner's whole batch of 4 alone, or the fresh half of every one."""
    trainer, data = tiny(batch=4, pool=32, history=history), batches(3, batch=4)
    for number, step in enumerate((trainer.refine_step, trainer.discriminate_step, trainer.segment_step)):
        step({name: tensor[number] for name, tensor in data.items()})
    expected = np.concatenate([data["reference"][number][:count] for number, count in enumerate(rows)])
    assert int(trainer.pool.size) == len(expected)
    assert (trainer.pool.layers["reference"].numpy()[: len(expected)] == expected).all()


def test_only_refiner_updates_put_patches_into_a_full_pool_of_the_release():
    trainer, batch = tiny(history="refiner", pool=2), first(batches(1))
    trainer.refine_step(batch)
    held = {name: layer.numpy() for name, layer in trainer.pool.layers.items()}
    trainer.discriminate_step(first(batches(1, 1)))
    trainer.segment_step(first(batches(1, 1)))
    assert all((held[name] == layer.numpy()).all() for name, layer in trainer.pool.layers.items())
    trainer.refine_step(first(batches(1, 2)))
    changed_places = (held["reference"] != trainer.pool.layers["reference"].numpy()).any((1, 2, 3))
    assert changed_places.sum() == 1


def test_pool_is_left_alone_when_it_is_not_to_be_filled():
    trainer = tiny()
    trainer.refine_step(first(batches(1)), False)
    assert int(trainer.pool.size) == 0
    trainer.refine_step(first(batches(1)), True)
    assert int(trainer.pool.size) == 1


def test_initial_patches_alone_train_the_task_network():
    trainer = UniversalTrainer(config.preset("quick", **TINY), refined=False)
    batch = first(batches(1))
    values = trainer.segment_step(batch)
    assert float(values["weight"]) == 1.0 and int(trainer.pool.size) == 0
    assert np.allclose(trainer.patch(batch["image"], batch["reference"]), module.signed(batch["image"]))


def test_real_pairs_come_in_either_order():
    trainer = tiny()
    orders = set()
    for step in range(12):
        trainer.step.assign(step)
        orders.update((tf.random.stateless_uniform((2, 1, 1, 1), trainer._seed(1)) < 0.5).numpy().ravel().tolist())
    assert orders == {True, False}


def test_stain_jitter_is_bounded_and_off_at_zero():
    image = tf.random.stateless_uniform((3, 8, 8, 3), (0, 0), -0.9, 0.9)
    assert np.allclose(module.stained(image, 0.0, (1, 1)), image, atol=1e-5)
    jittered = module.stained(image, 0.25, (1, 1))
    assert -1 <= float(tf.reduce_min(jittered)) and float(tf.reduce_max(jittered)) <= 1
    assert 0.01 < float(tf.reduce_mean(tf.abs(jittered - image))) < 0.5


def test_bytes_and_floats_are_inverse():
    values = tf.constant(np.arange(256, dtype=np.uint8))
    assert (module.unsigned(module.signed(values)).numpy() == values.numpy()).all()


@pytest.mark.parametrize("updates", [(0, 0, 1), pytest.param((1, 1, 1), marks=pytest.mark.slow)])
def test_a_round_runs_under_xla(updates):
    trainer = tiny()
    trainer.compile(updates=updates, jit_compile=True)
    values = tf.function(trainer.train_step, jit_compile=True)(batches(sum(updates)))
    assert all(np.isfinite(value) for value in values.values())


def test_the_pool_of_the_release_fills_under_xla():
    pool, new = Pool(3, 4), {name: tf.ones((2, 4, 4, count), tf.uint8) for name, count in CHANNELS.items()}
    add = tf.function(pool.add, jit_compile=True, autograph=False)
    sizes = []
    for number in range(3):
        add(new, tf.constant([0, number]))
        sizes.append(int(pool.size))
    assert sizes == [2, 3, 3]


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_optimisers_clip_each_variable(name):
    assert tiny(optimizer=name, clip=3.0).task_optimizer.clipnorm == 3.0


def test_the_schedule_says_whether_xla_compiles():
    for jit in (False, True):
        trainer = tiny(jit=jit)
        trainer.compile(updates=(1, 1, 1))
        assert trainer.jit_compile is jit


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_every_step_learns_in_lower_precision_what_it_learns_in_float32(precision):
    rates = {"refiner_rate": 1e-4, "discriminator_rate": 1e-4, "task_rate": 1e-7}
    trainers = [tiny(mixed_precision=p, optimizer="momentum", stain=0.0, **rates) for p in ("float32", precision)]
    batch, changes, values = first(batches(1)), [], []
    for trainer in trainers:
        before = snapshot(trainer)
        losses = {}
        for step in ("refine", "discriminate", "segment"):
            losses |= getattr(trainer, f"{step}_step")(batch)
        after = snapshot(trainer)
        changes.append({name: [a - b for a, b in zip(after[name], before[name], strict=True)] for name in before})
        values.append(losses)
    for name in ("refiner_loss", "discriminator_loss", "task_loss"):
        assert values[1][name].dtype == tf.float32
        assert float(values[1][name]) == pytest.approx(float(values[0][name]), rel=0.05)
    for name in before:
        one, other = (np.concatenate([w.ravel() for w in change[name]]) for change in (changes[0], changes[1]))
        assert one @ other > 0.9 * np.linalg.norm(one) * np.linalg.norm(other) > 0, name  # the same direction
        assert np.linalg.norm(other) == pytest.approx(np.linalg.norm(one), rel=0.25), name  # and length


@pytest.mark.slow
def test_a_round_of_lower_precision_is_fitted_under_xla():
    trainer = tiny(jit=True, mixed_precision="bfloat16")
    before = snapshot(trainer)
    trainer.compile(updates=(1, 1, 1))
    trainer.fit(tf.data.Dataset.from_tensors(batches(3)), shuffle=False, verbose=0)
    assert changed(before, snapshot(trainer)) == {"refiner", "discriminator", "task"}
    assert all(np.isfinite(w).all() for weights in snapshot(trainer).values() for w in weights)


@pytest.mark.parametrize("step,name", [("refine", "refiner"), ("discriminate", "discriminator"), ("segment", "task")])
def test_gradients_that_overflow_change_nothing_but_the_scale_which_checkpoints_carry(step, name, tmp_path):
    trainer = tiny(mixed_precision="float16")
    optimizer = getattr(trainer, f"{name}_optimizer")
    optimizer.dynamic_scale.assign(3e38)
    before = snapshot(trainer)
    values = getattr(trainer, f"{step}_step")(first(batches(1)))
    assert changed(before, snapshot(trainer)) == set()
    assert float(optimizer.dynamic_scale.numpy()) == pytest.approx(1.5e38)
    assert all(np.isfinite(value) for value in values.values())
    path = tf.train.Checkpoint(trainer=trainer).write(str(tmp_path / "state"))
    other = tiny(mixed_precision="float16")
    tf.train.Checkpoint(trainer=other).read(path).assert_existing_objects_matched()
    assert float(getattr(other, f"{name}_optimizer").dynamic_scale.numpy()) == pytest.approx(1.5e38)


def test_plain_networks_are_float32_and_have_the_weights():
    trainer = tiny(mixed_precision="bfloat16")
    assert trainer.refiner.get_layer("first").compute_dtype == "bfloat16"
    for name, network in trainer.plain().items():
        assert {layer.compute_dtype for layer in network.layers} == {"float32"}
        for kept, trained in zip(network.get_weights(), getattr(trainer, name).get_weights(), strict=True):
            assert np.array_equal(kept, trained)


def test_stain_jitter_of_an_image_depends_on_its_place_in_the_whole_batch():
    images = tf.random.stateless_uniform((4, 8, 8, 3), (0, 0), -0.9, 0.9)
    whole = module.stained(images, 0.25, (1, 1))
    backwards = module.stained(images[::-1], 0.25, (1, 1), tf.range(4)[::-1])
    assert np.allclose(backwards, whole[::-1], atol=1e-5) and not np.allclose(backwards, whole, atol=0.1)


@pytest.mark.parametrize(
    "changes,names",
    [
        ({}, ["segmentation", "detection"]),
        ({"heads": 1}, ["segmentation"]),
        ({"network": "dcan"}, ["segmentation", "contour"]),
    ],
)
def test_a_network_learns_the_maps_that_it_has(changes, names):
    """The loss of a patch is the cross-entropy of these maps, by hand, with contours of three pixels."""
    trainer = tiny(**changes)
    target = np.zeros((1, 64, 64, 1), np.uint8)
    target[0, 20:30, 20:30] = 1
    target[0, 24:26, 24:26] |= 4
    target[0, 20, 20:30] |= 2  # one side of the contour is enough
    loss, logits = trainer.patch_loss(tf.zeros((1, 64, 64, 3)), tf.constant(target), training=False)
    truth = {name: np.zeros((64, 64)) for name in ("segmentation", "detection", "contour")}
    truth["segmentation"][20:30, 20:30] = truth["detection"][24:26, 24:26] = truth["contour"][19:22, 19:31] = 1
    by_hand = sum(
        np.sum(np.logaddexp(0, z) - truth[name] * z)
        for name in names
        for z in [logits[name].numpy()[0, ..., 0].astype(float)]
    )
    assert float(loss[0]) == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize("changes", [{"network": "dcan"}, {"heads": 1}])
def test_other_networks_train_in_every_step(changes):
    trainer = tiny(**changes)
    trainer.compile(updates=(1, 1, 1))
    told = trainer.train_step(batches(3))
    assert all(np.isfinite(float(value)) for value in told.values())
