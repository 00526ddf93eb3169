import dataclasses
import types

import cv2
import numpy as np
import pytest
import tensorflow as tf

from data import patches, pipeline
from data.labelled.reader import Labelled
from data.synthetic import NUCLEUS, UNKNOWN
from hou_synth import config, inference, instances
from train.loop.learning_rate import Decay
from train.loop.phases import Phase, Updates
from train.loop.trainer import UniversalTrainer
from train.runs import kept_state, self_training
from train.runs.universal_run import Run

SETTINGS = config.preset("quick", unet_widths=(4, 8), unet_down=(1, 1), unet_up=(1,), refiner_blocks=1, batch=2)


def dark(images):
    """A network without weights: what is dark is nucleus."""
    probability = tf.cast(tf.reduce_mean(images, axis=-1, keepdims=True) < -0.05, tf.float32)
    return {"segmentation": probability, "detection": probability}


def test_only_confident_and_convex_nuclei_are_sure():
    segmentation = np.zeros((64, 256), np.float32)
    cv2.circle(segmentation, (32, 32), 12, 0.97, -1)
    cv2.circle(segmentation, (96, 32), 12, 0.75, -1)
    cv2.circle(segmentation, (224, 32), 12, 0.59, -1)
    cv2.ellipse(segmentation, (160, 32), (16, 16), 0, 0, 270, 0.97, 5)
    labels = self_training.sure(segmentation, segmentation, SETTINGS.instances)
    assert labels[32, 32] > 0 and labels[32, 96] == patches.UNKNOWN and labels[32, 176] == patches.UNKNOWN
    assert (labels[segmentation == 0] <= 0).all() and (labels[:, 60:68] == 0).all() and (labels[:, 192:] == 0).all()


def test_background_is_what_is_it_in_every_colour():
    maps = np.zeros((2, 2, 64, 160), np.float32)
    for x, highest in ((32, (0.97, 0.97)), (80, (0.97, 0.0)), (128, (0.15, 0.15))):
        for mapped, value in zip(maps, highest, strict=True):
            for part in mapped:
                cv2.circle(part, (x, 32), 12, value, -1)
    labels = self_training.agreed(maps, SETTINGS.instances)
    assert labels[32, 32] > 0 and labels[32, 80] == patches.UNKNOWN and labels[32, 128] == labels[0, 0] == 0


@pytest.mark.parametrize("number", [1, 2])
def test_background_is_where_no_nucleus_is_possible(number):
    def network(images):
        faint, clear = (images[..., :1] == grey for grey in (150, 90))
        return {name: (0.97 * clear + 0.2 * faint).astype(np.float32) for name in inference.OUTPUTS}

    image = np.full((64, 96, 3), 230, np.uint8)
    cv2.circle(image, (24, 32), 9, (90, 90, 90), -1)
    cv2.circle(image, (72, 32), 9, (150, 150, 150), -1)
    labels = self_training.found(network, image, SETTINGS, number)
    assert labels[32, 24] > 0 and labels[32, 72] == patches.UNKNOWN and labels[0, 0] == 0


def test_a_tile_is_seen_in_other_colours_on_the_same_pixels():
    seen = []

    def network(images):
        seen.append(images)
        return {name: (images[..., :1] < 150).astype(np.float32) for name in inference.OUTPUTS}

    image = np.full((64, 96, 3), (225, 170, 205), np.uint8)
    cv2.circle(image, (20, 40), 9, (90, 50, 130), -1)
    maps = self_training.views(network, image)
    assert maps.shape == (5, 2, 64, 96) and (maps == maps[0]).all() and maps[0, 0, 40, 20] == 1 and maps.mean() < 0.1
    darker, paler = (images[0, 72, 52, 0] for images in seen[2:4])  # the disc, 32 pixels inside of a window
    assert darker < 90 < paler


def test_labels_part_what_the_settings_would_merge():
    segmentation = np.zeros((64, 96), np.float32)
    cv2.rectangle(segmentation, (20, 20), (75, 43), 0.97, -1)
    detection = np.zeros_like(segmentation)
    for x in (34, 62):
        cv2.circle(detection, (x, 32), 9, 1.0, -1)
    detection[24:41, 40:57] = 0.6  # a valley 0.4 deep
    merging = dataclasses.replace(SETTINGS.instances, detection_sigma=0, seed_height=0.5)
    assert instances.nuclei(segmentation, detection, merging).max() == 1
    assert self_training.sure(segmentation, detection, merging).max() == 2


def test_labels_are_kept_and_read_again(bank, tmp_path):
    phase = Phase("self1", 1, Updates(0, 0, 1), True, taught=1)
    trainer = types.SimpleNamespace(probabilities=dark, config=SETTINGS)
    made = self_training.labelled(Run(tmp_path, bank, trainer), phase)
    assert [item.name for item in made] == [tile.name for tile in bank.tiles]
    assert all(item.image.shape == (256, 256, 3) and item.labels.max() > 15 for item in made)
    again = self_training.labelled(Run(tmp_path, bank, types.SimpleNamespace(config=SETTINGS)), phase)
    assert all((a.labels == b.labels).all() for a, b in zip(made, again, strict=True))


@pytest.mark.parametrize(("by_type", "types_of"), [(True, {"one", "many"}), (False, {"many"})])
def test_types_take_turns_where_not_all_tiles_are_taken(tmp_path, monkeypatch, by_type, types_of):
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    tiles = [types.SimpleNamespace(name=f"{n}", type="one" if n == 7 else "many", image=image + n) for n in range(8)]
    stub = types.SimpleNamespace(tiles=tiles, fitting=lambda side: tiles)
    settings = dataclasses.replace(SETTINGS, synthesis=dataclasses.replace(SETTINGS.synthesis, by_type=by_type))
    monkeypatch.setattr(self_training, "TILES", 2)
    run = Run(tmp_path, stub, types.SimpleNamespace(probabilities=dark, config=settings))
    made = self_training.labelled(run, Phase("self1", 1, Updates(0, 0, 1), True, taught=1))
    assert {item.type for item in made} == types_of and len(made) == 2
    monkeypatch.setattr(kept_state, "CROPS", 2)
    monkeypatch.setattr(kept_state, "reinhard", lambda image: image)
    numbers = {int(crop[0, 0, 0] - image[0, 0, 0]) % 256 for crop in kept_state.crops(stub, 0, by_type)}
    assert len(numbers) == 2 and (7 in numbers) == by_type


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 noise", "other", "size"])
def test_damaged_labels_are_named(bank, tmp_path, content):
    path = tmp_path / "self1/000000.npz"
    path.parent.mkdir()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **{"labels" if content == "size" else content: np.zeros((3, 4), np.int32)})
    run = Run(tmp_path, bank, types.SimpleNamespace(config=SETTINGS))
    with pytest.raises(ValueError, match=r"^Expected labels .* Received: .*self1/000000\.npz"):
        self_training.labelled(run, Phase("self1", 1, Updates(0, 0, 1), True, taught=1))


def test_large_tiles_give_a_window():
    image = np.arange(1100 * 64, dtype=np.int64).reshape(1100, 64)
    part = self_training.window(np.random.default_rng(0), image)
    assert part.shape == (1000, 64) and part[0, 0] % 64 == 0


def test_patches_carry_what_is_unknown():
    labels = np.full((100, 100), patches.UNKNOWN, np.int32)
    labels[:, 50:] = 7
    item = Labelled("a", "a", np.zeros((100, 100, 3), np.uint8), labels, 0.25)
    for index in range(20):
        _, target = patches.training([[item]], SETTINGS, index)
        nucleus, unknown = (target & NUCLEUS) > 0, (target & UNKNOWN) > 0
        assert (nucleus ^ unknown).all()


def test_unknown_pixels_count_nothing():
    trainer = UniversalTrainer(SETTINGS)
    random = np.random.default_rng(0)
    image = tf.constant(random.uniform(-1, 1, (2, 64, 64, 3)), tf.float32)
    target = random.choice(np.array([0, NUCLEUS], np.uint8), (2, 64, 64, 1))
    target[:, :32] |= UNKNOWN
    other = target.copy()
    other[:, :32] ^= NUCLEUS
    known = other.copy()
    known[:, :32] &= ~np.uint8(UNKNOWN)
    losses = [
        trainer.patch_loss(image, tf.constant(each), training=False)[0].numpy() for each in (target, other, known)
    ]
    assert np.allclose(losses[0], losses[1]) and (losses[2] > 1.5 * losses[0]).all()


def test_the_rate_starts_anew_at_half_for_every_later_round():
    schedule = {"task_steps": 10, "joint_rounds": 0, "final_steps": 0, "self_rounds": 2, "self_steps": 3}
    settings = dataclasses.replace(SETTINGS, schedule=dataclasses.replace(SETTINGS.schedule, **schedule))
    rate = UniversalTrainer(settings, 16).task_optimizer._learning_rate
    values = [float(rate(step)) / settings.schedule.task_rate for step in (0, 5, 9.99, 10, 11.5, 12.99, 13)]
    assert values == pytest.approx([1, 0.505, 0.01, 0.5, 0.2525, 0.005, 0.5], abs=0.003)


def test_a_run_that_begins_with_self_training_has_the_rate_of_later_rounds():
    rate = Decay(2.0, 0, 4)
    assert [float(rate(step)) for step in (0, 2, 4, 6)] == pytest.approx([1.0, 0.505, 1.0, 0.505])


def test_a_given_network_is_left_only_for_a_better_one():
    def kept(*values):
        names = [kept_state.START, "self1", "self2"]
        pairs = zip(names, values, strict=False)
        return kept_state.kept({name: {"criterion": 0.5, "agreement": 0.5, "separation": each} for name, each in pairs})

    assert kept(0.5) == kept(0.5, 0.5) == kept(0.5, 0.499) == "start" and kept(0.0, 0.0) == "start"
    assert kept(0.5, 0.501) == kept(0.5, 0.501, 0.501) == "self1" and kept(0.5, 0.501, 0.502) == "self2"


def test_further_labelled_images_join_the_batches(bank):
    labels = np.zeros((100, 100), np.int32)
    item = Labelled("a", "a", np.full((100, 100, 3), 7, np.uint8), labels, 0.25)
    source = pipeline.Source(bank, SETTINGS)
    batch = next(iter(source.rounds(1, further=[item])))
    assert batch["labelled_image"].shape == (1, SETTINGS.schedule.labelled_batch, 64, 64, 3)
    assert (batch["labelled_image"].numpy() == 7).all()
    assert "labelled_image" not in next(iter(source.rounds(1)))


def test_the_network_that_does_best_on_the_tiles_is_kept(bank, tmp_path):
    trainer = UniversalTrainer(SETTINGS)
    weights = trainer.task.get_weights()
    parts = iter([0.2, 0.6, 0.59, 0.4])

    def criterion(network, images, settings):
        assert images.shape == (2, 256, 256, 3)
        return dict.fromkeys(("criterion", "agreement", "amount"), next(parts))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kept_state, "criterion", criterion)
        for value, phase in enumerate(("task", "self1", "self2", "self3")):
            trainer.task.set_weights([np.full_like(each, float(value)) for each in weights])
            kept_state.consider(Run(tmp_path, bank, trainer), phase)
    assert [found["criterion"] for found in kept_state.scores(tmp_path).values()] == [0.2, 0.6, 0.59, 0.4]
    assert kept_state.best(trainer, tmp_path) == "self2"
    assert all((each == 2.0).all() for each in trainer.task.get_weights())  # the last that is not certainly worse


def test_without_a_tile_that_is_large_enough_nothing_is_chosen(bank, tmp_path):
    small = types.SimpleNamespace(tiles=[types.SimpleNamespace(image=np.zeros((100, 300, 3), np.uint8))])
    kept_state.consider(Run(tmp_path, small, types.SimpleNamespace(config=SETTINGS)), "task")
    assert kept_state.scores(tmp_path) == {} and not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["[]", '{"task": 1}', '{"task": {}}', '{"task": {"criterion": "high"}}', "{"])
def test_damaged_parts_of_the_criterion_are_one_line_that_names_the_file(tmp_path, text):
    (tmp_path / "criterion.json").write_text(text)
    with pytest.raises(ValueError, match="criterion.json") as error:
        kept_state.scores(tmp_path)
    assert "\n" not in str(error.value)
