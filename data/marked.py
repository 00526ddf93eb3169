"""Patches around places that are labelled, as the classifier of lymphocytes learns from them."""

import numpy as np

from data import augment, pipeline, synthetic
from hou_synth import lymphocytes

BACKGROUND = 0.25  # share of the negative patches around places where nothing is marked, if there are any; ours
JITTER = 3.0  # pixels that the centre of a patch lies beside its place at most, in x and in y; ours


class Source(pipeline.Source):
    """Patches in the order of their indices: half of them positive, images drawn alike."""

    def __init__(self, marked, config):
        """Reads nothing.

        Args:
            marked: list of `data.labelled.points.Marked`.
            config: `Config`; its seed and patch count.

        Raises:
            ValueError: if no place is positive, or none negative.
        """
        super().__init__(None, config)
        self.marked = marked
        self.groups = {
            True: [(image, image.places[image.positive]) for image in marked if image.positive.any()],
            False: [(image, image.places[~image.positive]) for image in marked if not image.positive.all()],
        }
        self.clear = [(image, image.background) for image in marked if len(image.background)]
        if not all(self.groups.values()):
            counts = [sum(len(places) for _, places in self.groups[kind]) for kind in (True, False)]
            raise ValueError(f"Expected places with and without a lymphocyte. Received: {counts[0]} and {counts[1]}.")

    def _example(self, index):
        """What training takes of a patch, see `data.synthetic.training`; it is its own reference."""
        random, side = np.random.default_rng([self.config.schedule.seed, int(index)]), self.config.schedule.patch
        positive = bool(random.integers(2))
        group = self.groups[positive]
        if not positive and self.clear and random.random() < BACKGROUND:
            group = self.clear
        image, places = group[int(random.integers(len(group)))]
        place = places[int(random.integers(len(places)))] + random.uniform(-JITTER, JITTER, 2)
        patch = augment.turned(random, *lymphocytes.patches(image.image, place[None], side))[0]
        target = np.full((side, side, 1), positive * synthetic.LYMPHOCYTE, np.uint8)
        return [patch, patch, patch, target]
