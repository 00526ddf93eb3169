"""Contact sheets: what a person looks at to judge a phase."""

import cv2
import numpy as np

from hou_synth.io import files
from train.judging import unseen
from train.loop.task_trainer import signed, unsigned
from train.pictures.outlines import HEAD, titled

_SIDE = 128  # smaller patches are enlarged to about this
_COLUMNS = ("mask", "initial", "reference", "refined", "task")


def contact_sheet(run, path, count=10):
    """Draws unseen synthetic patches: mask, initial, reference, refined with its weight, task output.

    Args:
        run: `train.runs.universal_run.Run`.
        path: PNG to write.
        count: rows.
    """
    trainer, side = run.trainer, run.settings.schedule.patch
    examples = unseen.examples(run.bank, run.settings, count)
    refined = unseen.refined(trainer, examples)
    references = signed(*unseen.stacked(examples, "reference")).numpy()
    weights = unseen.in_batches(trainer, trainer.weight, refined, references)
    shown = unseen.in_batches(trainer, lambda images: trainer.probabilities(images)["segmentation"], refined)[..., 0]
    scale = max(1, _SIDE // side)
    rows = [_titles(side * scale)]
    for example, image, weight, output in zip(examples, unsigned(refined).numpy(), weights, shown, strict=True):
        columns = [_coloured(example.labels), example.image, example.reference, image, _grey(output)]
        row = np.repeat(np.repeat(np.hstack(columns), scale, 0), scale, 1)
        rows.append(titled(row, f"{example.provenance['tile']}   weight {weight:.3g}"))
    files.write_png(path, np.vstack(rows))


def _grey(probability):
    return np.repeat((probability * 255).astype(np.uint8)[..., None], 3, 2)


def _coloured(labels):
    """Label map with a colour for each nucleus."""
    palette = np.random.default_rng(1).integers(80, 256, (int(labels.max()) + 1, 3)).astype(np.uint8)
    palette[0] = 0
    return palette[labels]


def _titles(side):
    head = np.full((HEAD, side * len(_COLUMNS), 3), 255, np.uint8)
    for number, text in enumerate(_COLUMNS):
        cv2.putText(head, text, (side * number + 4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return head
