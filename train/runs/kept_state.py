"""Which state of the task network a run keeps, chosen on its tiles without labels [ours].

The last one, unless the criterion says for certain that an earlier one is better. A network that was given is kept
unless a later state is better by agreement x separation: on tissue that it does not know, the amount by Otsu's
threshold misleads.
"""

import math

import keras
import numpy as np

from data import draws
from hou_synth.normalise import reinhard
from train.judging.criterion import MULTIPLE, criterion
from train.runs import epochs, record, self_training

CROPS = 48  # of as many tiles, if there are
SIDE = 256  # largest side of a crop, in pixels
ERROR = 0.02  # differences of the criterion that say nothing
SCORES, BEST = "criterion.json", "best.keras"
START = "start"  # in place of a phase: the network that was given, before any update


def consider(run, phase):
    """Keeps the task network in `best.keras` unless that of an earlier phase does better; says how well it does.

    Args:
        run: `train.runs.universal_run.Run`; `criterion.json` in its folder holds the parts of the criterion after
            each phase.
        phase: name, or `START`.

    Raises:
        OSError: if the network cannot be written.
    """
    images = crops(run.bank, run.settings.schedule.seed, run.settings.synthesis.by_type)
    if images is None:
        return
    parts = criterion(self_training.callable_of(run.trainer), images, run.settings.instances)
    earlier = scores(run.folder)
    earlier.pop(phase, None)
    every = {**earlier, phase: parts}
    if kept(every) == phase:
        epochs.keep(run.trainer.plain()["task"], run.folder / BEST)
    record.write(run.folder / SCORES, every)
    names = ("agreement", "separation") if START in every else ("criterion", "agreement", "amount")
    told = ", ".join(f"{name} {parts[name]:.4f}" for name in names)
    print(f"{place(phase)}: on {len(images)} crops of the tiles, without labels: {told}")


def scores(folder):
    """Name of a phase -> parts of the criterion after it; empty before the first.

    Raises:
        ValueError: if `criterion.json` is damaged.
    """
    phases = record.optional(folder / SCORES, dict[str, dict[str, float]])
    for phase, parts in phases.items():
        if not {"criterion", *(("agreement", "separation") if START in phases else ())} <= parts.keys():
            raise ValueError(f"Expected the criterion after each phase. Received: {folder / SCORES}, none of {phase}.")
    return phases


def kept(phases):
    """Name of the phase to keep: each that is not certainly worse than the best before it takes its place.

    After `START`, each that is better.

    Args:
        phases: dict as `scores` returns it.
    """
    error, best, phase = 0.0 if START in phases else ERROR, -math.inf, None
    for name, value in values(phases).items():
        if value > best - error:
            phase = name
        best = max(best, value)
    return phase


def values(phases):
    """Name of a phase -> what it is judged by: the criterion, after `START` agreement x separation.

    Args:
        phases: dict as `scores` returns it.
    """
    if START in phases:
        return {name: parts["agreement"] * parts["separation"] for name, parts in phases.items()}
    return {name: parts["criterion"] for name, parts in phases.items()}


def outcome(phases):
    """What came of a network that was given: the criterion before and after, and rounds that are kept; else empty.

    Args:
        phases: dict as `scores` returns it.

    Returns:
        dict of `criterion_before`, `criterion` and `rounds`.
    """
    if START not in phases:
        return {}
    phase = kept(phases)
    before, after = (values(phases)[name] for name in (START, phase))
    return {"criterion_before": before, "criterion": after, "rounds": list(phases).index(phase)}


def place(phase):
    """Where in a run a phase's end is, in words."""
    return "before any update" if phase == START else f"after phase {phase}"


def crops(bank, seed, by_type):
    """Random crops of a bank's tiles, their colours moved to the fixed target.

    Args:
        bank: `data.tiles.Bank`.
        seed: that chooses tiles and places.
        by_type: whether tissue types take turns, however many tiles each has.

    Returns:
        (n, s, s, 3) uint8, s 256 or 128; None if all tiles are smaller than that.
    """
    largest = max(min(tile.image.shape[:2]) for tile in bank.tiles)
    side = min(SIDE, largest // MULTIPLE * MULTIPLE)
    if side == 0:
        return None
    random, tiles = np.random.default_rng(seed), bank.fitting(side)
    order, cut = random.permutation(len(tiles)), []
    for number in (draws.in_turn(order, tiles) if by_type else order)[:CROPS]:
        image = tiles[number].image
        y, x = (int(random.integers(length - side + 1)) for length in image.shape[:2])
        cut.append(reinhard(np.ascontiguousarray(image))[y : y + side, x : x + side])
    return np.stack(cut)


def best(trainer, folder):
    """Gives the trainer's task network the weights that were kept; returns of which phase, None if there are none."""
    if not (folder / BEST).exists():
        return None
    trainer.task.set_weights(keras.saving.load_model(folder / BEST, compile=False).get_weights())
    return kept(scores(folder))
