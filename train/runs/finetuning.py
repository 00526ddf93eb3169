"""What fine-tuning begins with: the network and the configuration of a run or of a SavedModel."""

import dataclasses

import keras

from hou_synth import config
from hou_synth.model import model_folder
from train.serving import assets

MEAN_MIN = 0.65  # most of `mean_min`: networks that learn from labels are less sure of themselves; ours


def beginning(model):
    """The folder with the configuration and the network of a run, or of a SavedModel, which keeps both.

    Raises:
        ValueError: if it has not both.
    """
    try:
        folder = model_folder(model) / "assets.extra"
    except ValueError:
        folder = model
    for name in (assets.CONFIG, assets.TASK):
        if not (folder / name).is_file():
            raise ValueError(f"Expected --model to be a run folder or a SavedModel with {name}. Received: {model}.")
    return folder


def network(start):
    """The network in a folder that `beginning` found.

    Raises:
        ValueError: if it is damaged.
    """
    path = start / assets.TASK
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises types of many kinds on a damaged file
        raise ValueError(f"Expected the network of a model in {path}. Received: {error}.") from error


def settings(start, rate, seed):
    """The configuration of fine-tuning.

    Args:
        start: folder, see `beginning`.
        rate: first learning rate, for Adam.
        seed: of the run.

    Returns:
        `Config`, otherwise that of the network that is trained on.
    """
    earlier = config.load(start / assets.CONFIG)
    schedule = dataclasses.replace(earlier.schedule, task_rate=rate, seed=seed, optimizer="adam", decay=True)
    least = min(earlier.instances.mean_min, MEAN_MIN)
    instances = dataclasses.replace(earlier.instances, mean_min=least)
    return dataclasses.replace(earlier, schedule=schedule, instances=instances)
