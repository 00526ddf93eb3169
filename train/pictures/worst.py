"""The images on which a model is worst, as the paper's Fig. 9: each beside its true and predicted outlines."""

import numpy as np

from hou_synth import results
from hou_synth.io import files
from train.pictures import outlines, plates

SIDE = 1000  # pictures of images less wide are enlarged to this or more
PREDICTED = (0, 255, 255)  # colour of the predicted outlines over the true ones, RGB
SCORES = {"dice": "DICE average", "aji": "AJI"}  # above a picture


class Worst:
    """The images of a set with the lowest DICE averages, noted while they are measured."""

    def __init__(self, folder, count=outlines.SHOWN):
        """Notes none yet, and never more than `count`; their pictures go into the folder."""
        self.folder, self.count, self.kept = folder, count, []

    def add(self, row, item, predicted):
        """Notes an image.

        Args:
            row: dict of `image`, `type` and the measures.
            item: `data.labelled.reader.Labelled`.
            predicted: (h, w) label map.
        """
        self.kept = sorted([*self.kept, (row, item, predicted)], key=lambda noted: noted[0]["dice"])[: self.count]

    def rows(self):
        """The rows of the images, the worst first."""
        return [row for row, _, _ in self.kept]

    def write(self):
        """Draws `<rank>_<image>.png` for each image."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for rank, (row, item, predicted) in enumerate(self.kept, 1):
            files.write_png(self.folder / f"{rank}_{item.name}.png", picture(row, item, predicted))


def picture(row, item, predicted):
    """An image under its scores: as it is, and with the true and over them the predicted outlines.

    Args:
        row: as for `Worst.add`.
        item: `data.labelled.reader.Labelled`.
        predicted: (h, w) label map.

    Returns:
        (h', w', 3) uint8 RGB.
    """
    image, true, predicted = (plates.enlarged(array, SIDE) for array in (item.image, item.labels, predicted))
    outlined = results.overlay(results.overlay(image, true, outlines.TRUE), predicted, PREDICTED)
    scores = "   ".join(f"{title} {row[key]:.3f}" for key, title in SCORES.items())
    text = f"{item.name}   {item.type}   {scores}   true yellow, predicted cyan"
    return outlines.titled(np.concatenate([image, outlined], axis=1), text, scale=2)
