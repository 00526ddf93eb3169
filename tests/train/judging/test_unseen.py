import dataclasses
import types

import numpy as np

from data import synthetic
from hou_synth import config
from train.judging import comparison, unseen
from train.loop.task_trainer import signed
from train.loop.trainer import UniversalTrainer
from train.pictures import contact_sheet, report
from train.runs import universal_run, universal_training


def test_examples_are_of_a_seed_that_training_has_not(bank):
    settings = config.preset("quick", patch=64, seed=5)
    found = unseen.examples(bank, settings, 3)
    trained = [synthetic.example(bank, 5, index, 64, settings.synthesis) for index in range(3)]
    assert [example.provenance["seed"] for example in found] == [5 + 2**31] * 3
    for one, other in zip(found, trained, strict=True):
        assert one.image.shape == (64, 64, 3) and (one.image != other.image).any()
    again = unseen.examples(bank, settings, 1)[0]
    assert (again.image == found[0].image).all()
    assert unseen.examples(bank, settings, 1, side=96)[0].labels.shape == (96, 96)


def test_maps_are_those_of_refined_patches_in_the_order_of_the_examples():
    @dataclasses.dataclass
    class Example:
        image: np.ndarray
        reference: np.ndarray

    def patch(image, reference):  # the mean of both
        return (signed(image) + signed(reference)) / 2

    def probabilities(patches):
        sizes.append(len(patches))
        return {"segmentation": patches[..., :1], "detection": -patches[..., :1]}

    settings = types.SimpleNamespace(schedule=types.SimpleNamespace(batch=2))
    sizes, trainer = [], types.SimpleNamespace(patch=patch, probabilities=probabilities, config=settings)
    levels = [(0, 0), (255, 255), (0, 255), (255, 0), (51, 51)]
    examples = [Example(*(np.full((2, 2, 3), level, np.uint8) for level in pair)) for pair in levels]
    found = unseen.maps(trainer, examples)
    assert sizes == [2, 2, 1] and {each.shape for each in found} == {(2, 2, 2)}
    np.testing.assert_allclose(
        [each[0, 0] for each in found], [[-1, 1], [1, -1], [0, 0], [0, 0], [-0.6, 0.6]], atol=1e-6
    )


def test_nothing_after_a_phase_takes_larger_batches_than_training(bank, tmp_path, monkeypatch):
    """Memory for one batch is what a run is known to have."""

    def noted(name):
        method = getattr(UniversalTrainer, name)

        def call(trainer, patches, *more, **options):
            sizes.setdefault(name, set()).add(len(patches))
            return method(trainer, patches, *more, **options)

        return call

    sizes = {}
    for name in ("patch", "weight", "call"):
        monkeypatch.setattr(UniversalTrainer, name, noted(name))
    sides = {"refiner_blocks": 1, "unet_widths": (4, 8), "unet_down": (1, 1), "unet_up": (1,), "patch": 64}
    trainer = UniversalTrainer(config.preset("quick", **sides, pool=8, batch=2))
    run = universal_run.Run(tmp_path, bank, trainer)
    monkeypatch.setattr(universal_training, "SCORED", 5)
    monkeypatch.setattr(report, "WEIGHED", 5)
    for act in (
        lambda: contact_sheet.contact_sheet(run, tmp_path / "sheet.png"),
        lambda: universal_training.contrast(run, "joint"),
        lambda: universal_training.synthetic_scores(run),
        lambda: comparison.measured(trainer, unseen.examples(bank, trainer.config, 5)),
        lambda: list(report.drawn(run)),
    ):
        act()
        assert sizes and max(set.union(*sizes.values())) == 2
        sizes.clear()
