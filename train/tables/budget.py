"""How many updates fit into some minutes on this machine."""

import dataclasses
import json

from hou_synth.io import documents, files
from train.tables import sweep

OVERHEAD = 30.0  # seconds of a training beside its updates: start, tracing, export; measured
SHARE = 0.85  # of the rest is for updates, the others for validation; measured with images of 1000x1000
LABEL_FREE = ("universal", "real")  # kinds of training that may have a refiner and a discriminator
COUNTS = ("refiner_steps", "discriminator_steps", "adversarial_rounds", "task_steps", "joint_rounds", "final_steps")


@dataclasses.dataclass(frozen=True)
class Seconds:
    """What an update of each network takes."""

    refiner: float
    discriminator: float
    task: float


def affordable(out, minutes, settings, cell, counts):
    """Numbers of updates or rounds, all cut by one factor so that they take about the minutes at most.

    What an update takes is measured once for each network and kept in `speed.json`, so that all cells of a row
    have the same number of updates, in every sitting.

    Args:
        out: folder of `speed.json`.
        minutes: bound of the training; None cuts nothing.
        settings: `Config`.
        cell: `train.tables.protocols.Cell`.
        counts: dict of the names in `COUNTS`, or `task` for updates of the task network, to numbers.

    Returns:
        Dict of the same names.
    """
    if minutes is None:
        return counts
    path, key = out / "speed.json", f"{cell.network} {cell.kind if cell.kind in LABEL_FREE else 'alone'}"
    speeds = documents.read(path, dict[str, Seconds]) if path.exists() else {}
    if key not in speeds:
        speeds[key] = Seconds(**sweep.alone(_seconds, settings, cell))
        written = {name: dataclasses.asdict(seconds) for name, seconds in speeds.items()}
        files.write_text(path, json.dumps(written, indent=2) + "\n")
    refiner, discriminator, task = dataclasses.astuple(speeds[key])
    schedule = settings.schedule
    adversarial = schedule.refiner_updates * refiner + schedule.discriminator_updates * discriminator
    cost = {
        "task": task,
        "refiner_steps": refiner,
        "discriminator_steps": discriminator,
        "adversarial_rounds": adversarial,
        "task_steps": task,
        "joint_rounds": adversarial + schedule.task_updates * task,
        "final_steps": task,
    }
    total = sum(count * cost[name] for name, count in counts.items())
    factor = min(SHARE * max(60 * minutes - OVERHEAD, 1.0) / total, 1.0)
    return {name: max(round(factor * count), min(count, 1)) for name, count in counts.items()}


def _seconds(settings, cell):
    """What runs alone."""
    from train.tables import speed  # here, so that the process that starts trainings does not import TensorFlow

    own = dataclasses.replace(settings, networks=dataclasses.replace(settings.networks, network=cell.network))
    return speed.seconds(own, cell.kind in LABEL_FREE, cell.kind == "real")
