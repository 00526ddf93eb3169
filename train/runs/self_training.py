"""Self-training [ours]: the task network labels the unlabelled tiles, and then learns from what it is sure of.

Painted nuclei teach it what a nucleus is, real tissue how it looks. A nucleus counts if its mean probability is high
and its outline convex enough for a single one; doubtful ones count neither as nucleus nor as background.
"""

import dataclasses
import functools

import cv2
import numpy as np
import tensorflow as tf
from skimage.measure import regionprops
from tqdm import tqdm

from data import draws
from data.labelled.reader import Labelled
from data.patches import UNKNOWN
from hou_synth import inference, instances
from hou_synth.io import files
from hou_synth.normalise import reinhard
from train.judging.criterion import restained
from train.loop.task_trainer import signed
from train.runs.callbacks import spared

SURE, DOUBTFUL = 0.85, 0.6  # least mean probability of a nucleus, and of one that is not known
AT_FIRST = 0.8, 0.35  # the same in the first round, when the network is less sure of real nuclei
COLOURS = (1.3, 1.0, 1.0), (0.75, 1.15, 1.0), (1.15, 0.75, 1.0)  # other amounts of stains in which tiles are seen
ABSENT = 0.15  # most probability of a nucleus where there is none: what is missed now must not become background
ABSENT_IN_ANY = 0.5  # the same for the highest of several colours; 0.2 lets dark tissue grow over
SEED_HEIGHT = 0.25  # of labels at most: they had better part a nucleus, which is then not convex, than merge two
SOLIDITY = 0.9  # least share of a sure nucleus's convex hull that it fills
TILES = 256  # most tiles in a round
SIDE = 1000  # largest side of what is taken of a tile, in pixels


def labelled(run, phase):
    """Labels tiles of a bank, or reads the labels that are there already; those that cannot be written are told.

    Args:
        run: `train.runs.universal_run.Run`, whose task network labels; the labels are kept in the folder of the
            phase's name in its own, a file for each tile.
        phase: `train.loop.phases.Phase`; the number of its round of self-training, with the seed, chooses tiles out of
            more than `TILES`, and windows out of large ones.

    Returns:
        list of `data.labelled.reader.Labelled`, their colours moved to the fixed target, and labels that are `UNKNOWN`
        where the network is not sure.
    """
    folder, settings = run.folder / phase.name, run.settings
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([settings.schedule.seed, phase.taught])
    order = random.permutation(len(run.bank.tiles))
    order = draws.in_turn(order, run.bank.tiles) if settings.synthesis.by_type else order
    chosen = sorted(order[:TILES].tolist())
    network, items = callable_of(run.trainer), []
    for number in tqdm(chosen, "labelling", unit="tile", disable=None):
        tile = run.bank.tiles[number]
        image = reinhard(window(random, tile.image))
        path = folder / f"{number:06}.npz"
        nuclei = kept(path, image.shape[:2]) if path.exists() else None
        if nuclei is None:
            nuclei = found(network, image, settings, phase.taught)
            with spared(), files.replacing(path) as partial, open(partial, "wb") as file:
                np.savez_compressed(file, labels=nuclei)
        items.append(Labelled(tile.name, tile.type, image, nuclei, inference.MICRONS_PER_PIXEL))
    return items


def found(network, image, settings, number):
    """Nuclei of a tile that a network is sure of, as `sure`.

    Args:
        network: callable, see `hou_synth.inference`.
        image: (h, w, 3) uint8 RGB, its colours moved to the fixed target.
        settings: `Config`.
        number: of the round of self-training, from 1.
    """
    if settings.schedule.self_colours:
        return agreed(views(network, image), settings.instances)
    segmentation, detection = inference.symmetric(network, image)
    limits = AT_FIRST if number == 1 else (SURE, DOUBTFUL)
    return doubted(sure(segmentation, detection, settings.instances, *limits), segmentation, ABSENT)


def views(network, image):
    """Maps (5, 2, h, w) of an image as it is, transposed, and in `COLOURS`."""
    turned = [cv2.transpose(mapped) for mapped in inference.probabilities(network, cv2.transpose(image))]
    colours = (inference.probabilities(network, restained(image, factors)) for factors in COLOURS)
    return np.stack([np.stack(maps) for maps in (inference.probabilities(network, image), turned, *colours)])


def agreed(maps, settings):
    """Nuclei that a network is sure of by the mean of its maps; background is what is it in each.

    Args:
        maps: (v, 2, h, w) float32, segmentation and detection.
        settings: `Instances`.

    Returns:
        (h, w) int32, as `sure`; `UNKNOWN` also where a nucleus is possible by one of the maps.
    """
    return doubted(sure(*maps.mean(axis=0), settings), maps[:, 0].max(axis=0), ABSENT_IN_ANY)


def doubted(labels, probability, absent):
    """Labels (h, w) int32 whose background is `UNKNOWN` where a nucleus is more probable than `absent`."""
    return np.where((labels == 0) & (probability > absent), np.int32(UNKNOWN), labels)


def kept(path, size):
    """The labels (h, w) of a tile that a file holds.

    Raises:
        ValueError: naming the file, if it is damaged, or its labels are not of that size (height, width).
    """
    try:
        with open(path, "rb") as file:  # which NumPy leaves open when the file is damaged
            labels = np.load(file)["labels"]
    except Exception as error:  # NumPy raises types of many kinds on a damaged file
        raise ValueError(f"Expected labels of a tile. Received: {path}, which is damaged ({error}).") from error
    if labels.shape != size:
        raise ValueError(f"Expected labels of shape {size}. Received: {path} with {labels.shape}.")
    return labels


def callable_of(trainer):
    """A trainer's task network as `hou_synth.inference` takes it."""

    @functools.partial(tf.function, reduce_retracing=True)
    def maps(images):
        return trainer.probabilities(signed(images))

    return lambda images: {name: probability.numpy() for name, probability in maps(tf.constant(images)).items()}


def window(random, image):
    """A random part of an image, of at most `SIDE` pixels a side."""
    top, left = (int(random.integers(max(length - SIDE, 0) + 1)) for length in image.shape[:2])
    return np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE])


def sure(segmentation, detection, settings, least=SURE, doubtful=DOUBTFUL):
    """Nuclei that a network is sure of.

    Args:
        segmentation: (h, w) float32 probability of nucleus.
        detection: (h, w) float32 probability of a nucleus's core.
        settings: `Instances`.
        least: mean probability of a nucleus.
        doubtful: of one that is not known; those under it are background.

    Returns:
        (h, w) int32: ids, 0 for background, `UNKNOWN` for nuclei that are doubtful.
    """
    height = min(settings.seed_height, SEED_HEIGHT)
    settings = dataclasses.replace(settings, seed_height=height, mean_min=doubtful, line=0)
    nuclei = instances.nuclei(segmentation, detection, settings)
    regions = regionprops(nuclei, intensity_image=segmentation)
    identity = np.zeros(len(regions) + 1, np.int32)
    for region in regions:
        certain = region.intensity_mean >= least and region.solidity >= SOLIDITY
        identity[region.label] = region.label if certain else UNKNOWN
    return identity[nuclei]
