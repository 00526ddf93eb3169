"""Which state of the task network a run keeps, chosen on its tiles without labels [ours].

The last one, unless the criterion says for certain that an earlier one is better.
"""

import json

import keras
import numpy as np

from hou_synth.io import files
from hou_synth.normalise import reinhard
from train.judging.criterion import MULTIPLE, criterion
from train.runs import epochs, self_training

CROPS = 48  # of as many tiles, if there are
SIDE = 256  # largest side of a crop, in pixels
ERROR = 0.02  # differences of the criterion that say nothing
SCORES, BEST = "criterion.json", "best.keras"


def consider(trainer, bank, settings, run, phase):
    """Keeps the task network in `best.keras` unless that of an earlier phase does better; says how well it does.

    Args:
        trainer: `train.loop.task_trainer.TaskTrainer`.
        bank: `data.tiles.Bank`.
        settings: `Config`.
        run: folder; `criterion.json` in it holds the parts of the criterion after each phase.
        phase: name.

    Raises:
        OSError: if the network cannot be written.
    """
    images = crops(bank, settings.schedule.seed)
    if images is None:
        return
    found = criterion(self_training.callable_of(trainer), images, settings.instances)
    earlier = scores(run)
    earlier.pop(phase, None)
    every = {**earlier, phase: found}
    if kept(every) == phase:
        epochs.keep(trainer.plain()["task"], run / BEST)
    files.write_text(run / SCORES, json.dumps(every, indent=2) + "\n")
    told = ", ".join(f"{name} {found[name]:.4f}" for name in ("criterion", "agreement", "amount"))
    print(f"after phase {phase}: on {len(images)} crops of the tiles, without labels: {told}")


def scores(run):
    """Name of a phase -> parts of the criterion after it; empty before the first."""
    return json.loads((run / SCORES).read_text()) if (run / SCORES).exists() else {}


def kept(found):
    """Name of the phase to keep: each that is not certainly worse than the best before it takes its place.

    Args:
        found: dict as `scores` returns it.
    """
    best, phase = 0.0, None
    for name, parts in found.items():
        if parts["criterion"] >= best - ERROR:
            phase = name
        best = max(best, parts["criterion"])
    return phase


def crops(bank, seed):
    """Random crops of a bank's tiles, their colours moved to the fixed target.

    Args:
        bank: `data.tiles.Bank`.
        seed: that chooses tiles and places.

    Returns:
        (n, s, s, 3) uint8, s 256 or 128; None if all tiles are smaller than that.
    """
    largest = max(min(tile.image.shape[:2]) for tile in bank.tiles)
    side = min(SIDE, largest // MULTIPLE * MULTIPLE)
    if side == 0:
        return None
    random, tiles = np.random.default_rng(seed), bank.fitting(side)
    cut = []
    for number in random.permutation(len(tiles))[:CROPS]:
        image = tiles[number].image
        y, x = (int(random.integers(length - side + 1)) for length in image.shape[:2])
        cut.append(reinhard(np.ascontiguousarray(image))[y : y + side, x : x + side])
    return np.stack(cut)


def best(trainer, run):
    """Gives the trainer's task network the weights that were kept; returns of which phase, None if there are none."""
    if not (run / BEST).exists():
        return None
    trainer.task.set_weights(keras.saving.load_model(run / BEST, compile=False).get_weights())
    return kept(scores(run))
