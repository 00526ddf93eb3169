"""A run of `train.universal`: its folder, its tiles, its networks."""

import dataclasses
import pathlib
import sys

import keras
import tensorflow as tf

from data import tiles
from data.tile_options import TileFolder
from hou_synth.io import documents
from models.task import CLASSIFIERS
from train.loop import phases
from train.loop.lymphocyte_trainer import LymphocyteTrainer
from train.loop.trainer import UniversalTrainer
from train.loop.weighting import Weighting
from train.runs import callbacks, kept_state, record
from train.runs.checkpoints import Checkpoints
from train.serving.signatures import Refinement

NETWORKS = ("refiner", "discriminator", "task")
ESTIMATES = "weighting.json"  # what the importance weights of a finished run depend on, beside its networks


@dataclasses.dataclass(frozen=True)
class Estimates:
    """What `weighting.json` says: patches that the discriminator has seen, and of `Weighting` what is estimated."""

    seen: tuple[float, float]
    line: tuple[float, float]
    mass: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, beginning, interrupted or finished.

    Attributes:
        folder: path; `train.runs.record` says what it tells of itself.
        bank: `data.tiles.Bank` of the tiles.
        trainer: `UniversalTrainer`.
    """

    folder: pathlib.Path
    bank: tiles.Bank
    trainer: UniversalTrainer

    @property
    def settings(self):
        """The `Config`."""
        return self.trainer.config


class Progress:
    """How far a run has come, which its checkpoints hold together with its trainer.

    Attributes:
        done: phases.
        rounds: of the next phase.
        clock: `train.runs.callbacks.Clock`.
        checkpoints: `train.runs.checkpoints.Checkpoints`.
    """

    def __init__(self, folder, trainer, clock):
        """Reads nothing yet.

        Args:
            folder: of the run.
            trainer: `UniversalTrainer`.
            clock: as the attribute.
        """
        self.done, self.rounds = tf.Variable(0, dtype=tf.int64), tf.Variable(0, dtype=tf.int64)
        self.clock = clock
        held = {"trainer": trainer, "done": self.done, "progress": self.rounds, "clock": clock}
        self.checkpoints = Checkpoints(folder / "checkpoints", **held)

    def save(self):
        """Writes a checkpoint, see `train.runs.callbacks.save`."""
        callbacks.save(self.checkpoints, self.clock)


def load(folder, tissue=None):
    """The `Run` in a folder, finished or not.

    Args:
        folder: path.
        tissue: folder of tiles to use instead of the run's, a path or a `TileFolder`.

    Raises:
        ValueError: as `bank` and `trainer` do.
    """
    return Run(folder, bank(folder, tissue), trainer(folder))


def bank(folder, tissue=None):
    """The bank of a run, whether its tiles are still there or not, or that of another folder of tiles.

    Args:
        folder: of the run.
        tissue: folder of other tiles.

    Raises:
        ValueError: if there is no run, no such tiles, or none that a patch fits.
    """
    settings, about = record.settings(folder), record.about(folder)
    if classifies(folder):
        raise ValueError(f"Expected a run of nuclei. Received: {folder}, a run of train.lymphocyte.")
    if not {"bank", "tiles"} <= about.keys():
        raise ValueError(f"Expected a run of train.universal. Received: {folder}, whose {record.RUN} names no tiles.")
    if not tissue and pathlib.Path(about["bank"]).exists():
        opened = tiles.Bank(about["bank"])
    else:
        path = None if about["tiles"] == tiles.EMBEDDED else about["tiles"]
        own = TileFolder(path, about.get("tile_table"), about.get("tile_resolution"))
        opened = tiles.prepare(tissue or own, settings.synthesis, beside=folder.parent / "banks")
    opened.fitting(settings.schedule.patch)
    return opened


def trainer(folder):
    """The trainer of a run as its last checkpoint left it, or as the networks that a finished run kept.

    Its task network is the one that the run has chosen so far.

    Args:
        folder: of the run.

    Raises:
        ValueError: if there is neither, or they are of other networks.
    """
    settings = record.settings(folder)
    kind = LymphocyteTrainer if classifies(folder) else UniversalTrainer
    learned = kind(settings, phases.task_updates(phases.phases(settings.schedule)))
    states = Progress(folder, learned, callbacks.Clock()).checkpoints
    kept = folder / f"{NETWORKS[-1]}.keras"
    try:
        states.restore()
    except ValueError:
        if not kept.exists():
            raise
        states.whole.clear()  # a checkpoint of an earlier version, whose networks are still good
    if not states.whole:
        if not kept.exists():
            raise ValueError(f"Expected a checkpoint or the networks of a run in {folder}. Received: neither.")
        for name in NETWORKS:
            setattr(learned, name, keras.saving.load_model(folder / f"{name}.keras", compile=False))
        recall(learned, folder)
    kept_state.best(learned, folder)
    return learned


def classifies(folder):
    """Whether a folder holds a run of `train.lymphocyte`, whose task network is a classifier.

    Raises:
        ValueError: if it holds no run.
    """
    return record.settings(folder).networks.network in CLASSIFIERS


def adversarial(folder):
    """Whether a folder holds a run of `train.universal` and not of a training on labelled images alone.

    Raises:
        ValueError: if it holds no run.
    """
    return "tile_names" in record.about(folder)


def remember(trainer, folder):
    """Keeps in `weighting.json` what the importance weights depend on, for when the checkpoints are gone."""
    if trainer.weighed:
        kept = {"seen": trainer.seen.numpy().tolist(), **trainer.weighting.estimates()}
        record.write(folder / ESTIMATES, kept)


def recall(trainer, folder):
    """Takes over what `remember` kept; says so if there is nothing, as in runs of version 0.1."""
    if not trainer.weighed:
        return
    if not (folder / ESTIMATES).exists():
        print(f"warning: {folder} has no {ESTIMATES}: its importance weights are not known", file=sys.stderr)
        return
    kept = documents.read(folder / ESTIMATES, Estimates)
    trainer.seen.assign(kept.seen)
    trainer.weighting.recall(dataclasses.asdict(kept))


def refinement(trainer, plain):
    """What a served model needs to refine and weigh patches as a run does.

    Args:
        trainer: `UniversalTrainer`.
        plain: its networks as `trainer.plain` returns them.

    Returns:
        `train.serving.signatures.Refinement`; None for a run without refiner or discriminator, or whose weights are not
        known.
    """
    if not (trainer.refined and trainer.weighed and float(trainer.seen[1]) > 0):
        return None
    weighting = Weighting(trainer.config.losses)
    weighting.recall(trainer.weighting.estimates())
    return Refinement(trainer.config, plain["refiner"], plain["discriminator"], weighting, float(trainer.ratio()))
