"""What a person looks at to judge a classifier of lymphocytes: unseen patches by what it thinks of them."""

import numpy as np

from hou_synth.io import files
from train.loop.lymphocyte_trainer import central
from train.loop.task_trainer import unsigned

COLUMNS, ROWS = 16, 4  # of each kind
GREEN, RED = (0, 160, 0), (200, 0, 0)  # lines above patches that are rightly and wrongly judged
LINE = 3  # pixels


def judged(trainer, source, first, count):
    """Unseen patches as the classifier learns from them, and what it thinks of them.

    Args:
        trainer: `LymphocyteTrainer`.
        source: `data.pipeline.Source`.
        first: index of the first patch.
        count: of them.

    Returns:
        (count,) probabilities; (count,) bool, whether a lymphocyte is at the centre; (count,) bool, whether that is
        known.
    """
    return _judged(trainer, source, first, count)[1:]


def _judged(trainer, source, first, count):
    parts = []
    for batch in (
        source.dataset(first).batch(trainer.config.schedule.batch).take(-(-count // trainer.config.schedule.batch))
    ):
        patches = trainer.patch(batch["image"], batch["reference"])
        positive, known = central(batch["target"])
        parts.append((unsigned(patches).numpy(), trainer.probabilities(patches)[:, 0].numpy(), positive > 0, known > 0))
    return [np.concatenate(each)[:count] for each in zip(*parts, strict=True)]


def draw(trainer, source, path, first):
    """Draws positive patches above negative ones, each from the highest probability to the lowest.

    Args:
        trainer: `LymphocyteTrainer`.
        source: `data.pipeline.Source`.
        path: PNG to write.
        first: index of the first patch.
    """
    images, scores, positive, known = _judged(trainer, source, first, 4 * COLUMNS * ROWS)
    rows = []
    for kind in (True, False):
        chosen = np.flatnonzero((positive == kind) & known)[: COLUMNS * ROWS]
        chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
        drawn = [_lined(images[number], (scores[number] > 0.5) == kind) for number in chosen]
        drawn += [np.full_like(_lined(images[0], True), 255)] * (COLUMNS * ROWS - len(drawn))
        rows += [np.hstack(drawn[start : start + COLUMNS]) for start in range(0, len(drawn), COLUMNS)]
        rows.append(np.full((4 * LINE, rows[0].shape[1], 3), 255, np.uint8))
    files.write_png(path, np.vstack(rows[:-1]))


def _lined(image, right):
    line = np.full((LINE, image.shape[1], 3), GREEN if right else RED, np.uint8)
    return np.vstack([line, image])
