"""Epochs of a training on labelled images: the best one by validation is kept; history and curve are drawn."""

import os

import matplotlib.figure
import tensorflow as tf

from data import pipeline
from hou_synth import inference, metrics
from hou_synth.io import command, files
from train.judging import scores
from train.runs.callbacks import Finite, Means, save
from train.runs.checkpoints import Checkpoints
from train.serving import signatures

EPOCH = 200  # updates between two validations; ours
CHOSEN_BY = "dice"  # the measure that chooses the best epoch: the paper's DICE average
COLUMNS = ("epoch", "updates", "task_loss", "dice_patch", *scores.SHOWN, "best")
KINDS = {"epoch": int, "updates": int, "best": int}  # of columns; the others hold floats


def fit(trainer, run, training, validation, updates, clock, start=None):
    """Trains on labelled images from the last checkpoint on; the best epoch's network is `<run>/task.keras`.

    Without validation images the last epoch counts as the best. With a network to start from, the network that
    is validated and kept is the average of its weights and the trained ones, see `averaged`.

    Args:
        trainer: `TaskTrainer`.
        run: folder with `config.json`.
        training: list of `data.labelled.reader.Labelled` at 40X.
        validation: list of the same; may be empty.
        updates: of the task network.
        clock: the run's `Clock`.
        start: network whose weights the trainer began with; None if it learns from nothing.

    Returns:
        Rows of `history.csv`, one an epoch, the first before any update.

    Raises:
        train.runs.checkpoints.Diverged: if a loss or a weight is not finite.
    """
    epoch, batch = tf.Variable(0, dtype=tf.int64), trainer.config.schedule.batch
    checkpoints = Checkpoints(run / "checkpoints", trainer=trainer, epoch=epoch, clock=clock)
    checkpoints.restore()
    judged = Judged(trainer, validation, start, len(training) / (len(training) + 1))
    rows = _history(run)[: int(epoch) + 1] or [_validated(judged, run, [], {"epoch": 0, "updates": 0})]
    epochs = -(-updates // EPOCH)
    trainer.compile()
    for number in range(int(epoch), epochs):
        steps = min(EPOCH, updates - number * EPOCH)
        data = pipeline.labelled_patches([training], trainer.config, number * EPOCH * batch).batch(batch).prefetch(2)
        kwargs = {"initial_epoch": number, "epochs": number + 1, "shuffle": False, "verbose": command.verbosity()}
        means = Means()
        trainer.fit(data, steps_per_epoch=steps, callbacks=[Finite("task", number * EPOCH), means], **kwargs)
        about = {"epoch": number + 1, "updates": number * EPOCH + steps}
        about |= {"task_loss": means.values["task_loss"], "dice_patch": means.values["dice"]}
        rows.append(_validated(judged, run, rows, about))
        files.write_csv(run / "history.csv", rows, COLUMNS)
        curve(rows, run / "curve.png")
        epoch.assign(number + 1)
        save(checkpoints, clock)
    return rows


def _history(run):
    """Rows of an earlier `history.csv`, numbers as numbers."""
    path = run / "history.csv"
    if not path.exists():
        return []
    rows = files.read_csv(path, COLUMNS)
    try:
        return [{key: KINDS.get(key, float)(value) for key, value in row.items() if value != ""} for row in rows]
    except ValueError as error:
        raise ValueError(f"Expected the numbers of a run's epochs. Received: {path} ({error}).") from error


class Judged:
    """The network that an epoch ends with, and its scores; a copy, so that it is traced once."""

    def __init__(self, trainer, images, start, share):
        """Copies the architecture.

        Args:
            trainer: `TaskTrainer`.
            images: list of `data.labelled.reader.Labelled` at 40X whose colours are normalised; may be empty.
            start: network that the trainer began with, or None.
            share: of the trained weights in the average with those of `start`.
        """
        self.trained, self.images, self.start, self.share = trainer.task, images, start, share
        self.settings, self.network = trainer.config.instances, trainer.plain()["task"]
        self.serve = tf.function(lambda batch: signatures.probabilities(self.network, batch), reduce_retracing=True)

    def update(self):
        """Takes over the trainer's weights as they are, or their average with those it began with."""
        trained = self.trained.get_weights()
        self.network.set_weights(averaged(self.start.get_weights(), trained, self.share) if self.start else trained)

    def scores(self):
        """Mean measures on the images; empty without images."""
        rows = []
        for image in self.images:
            nuclei = inference.segment(self._maps, image.image, False, None, self.settings)
            rows.append(metrics.scores(nuclei, image.labels))
        return scores.mean(rows) if rows else {}

    def _maps(self, images):
        return self.serve(tf.constant(images))


def averaged(start, trained, share):
    """Weights that are (1 - share) of one's and share of the other's [Wortsman et al. 2022].

    A network fine-tuned on a few images gains on their tissue and loses on others; the average keeps most of the
    gain without the loss. With n images the share is n / (n + 1): half for one, nearly all for many [ours].

    Args:
        start: list of arrays.
        trained: list of arrays, fine-tuned from `start`.
        share: of the trained ones, 0 to 1.

    Returns:
        A new list.
    """
    return [(1 - share) * before + share * after for before, after in zip(start, trained, strict=True)]


def _validated(judged, run, rows, about):
    """Row of an epoch; its network is kept if it is the best so far, or if nothing can tell."""
    judged.update()
    row = {**about, **judged.scores()}
    row["best"] = int(CHOSEN_BY not in row or all(row[CHOSEN_BY] > other[CHOSEN_BY] for other in rows))
    if row["best"]:
        keep(judged.network, run / "task.keras")
    if CHOSEN_BY in row:
        print(f"validation: {scores.text(row)}")
    return row


def keep(network, path):
    """Writes a network as `.keras`, atomically."""
    partial = path.with_suffix(".part.keras")
    try:
        network.save(partial)
        os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def curve(rows, path):
    """Draws the loss and the validation scores of a run over its updates as PNG, atomically.

    Args:
        rows: as `fit` returns them.
        path: of the picture.
    """
    figure = matplotlib.figure.Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*_series(rows, "task_loss"), ".-")
    left.set(xlabel="updates", ylabel="task loss a pixel, training patches")
    for name in scores.SHOWN:
        right.plot(*_series(rows, name), ".-", label=name)
    right.axvline([row["updates"] for row in rows if row["best"]][-1], color="grey", ls=":", label="kept")
    right.set(xlabel="updates", ylabel="validation images", ylim=(0, 1))
    right.legend(loc="lower right")
    with files.replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def _series(rows, name):
    """Updates and values of a column, where there is a value."""
    both = [(row["updates"], row[name]) for row in rows if name in row]
    return [x for x, _ in both], [y for _, y in both]
