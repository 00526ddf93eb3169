import dataclasses
import types

import numpy as np

from data import synthetic
from hou_synth import config
from train.judging import unseen
from train.loop.task_trainer import signed


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

    sizes, trainer = [], types.SimpleNamespace(patch=patch, probabilities=probabilities)
    levels = [(0, 0), (255, 255), (0, 255), (255, 0), (51, 51)]
    examples = [Example(*(np.full((2, 2, 3), level, np.uint8) for level in pair)) for pair in levels]
    found = unseen.maps(trainer, examples, 2)
    assert sizes == [2, 2, 1] and {each.shape for each in found} == {(2, 2, 2)}
    np.testing.assert_allclose(
        [each[0, 0] for each in found], [[-1, 1], [1, -1], [0, 0], [0, 0], [-0.6, 0.6]], atol=1e-6
    )
