"""The paper's protocols (Sec. 5.1, Tables 1 and 2) as lists of cells: what is trained on what, and tested on what."""

import collections
import dataclasses

import numpy as np

ROWS = ("supervised", "universal", "real", "finetune")
NETWORKS = {"unet": "U-net", "cnn": "CNN", "dcan": "contour-aware network"}
# DICE average of the paper's Table 1 on MICCAI18 and MICCAI17, and of Table 2.
PAPER = {
    ("within", "supervised-unet"): "0.8391 / 0.7645",
    ("within", "supervised-cnn"): "0.8013 / 0.7713",
    ("within", "supervised-dcan"): "0.812 / -",
    ("across", "supervised-unet"): "0.8010 / 0.7179",
    ("across", "supervised-cnn"): "0.7818 / 0.7314",
    ("dataset", "supervised-unet"): "0.7328 (Table 2)",
    ("dataset", "real-unet"): "0.7713 (Table 2)",
    ("within", "universal-unet"): "0.8401 / 0.7612",
    ("within", "universal-cnn"): "0.8180 / 0.7708",
    ("within", "real-unet"): "0.8678 / 0.7863",
}


@dataclasses.dataclass(frozen=True)
class Split:
    """One division of the labelled images.

    Attributes:
        name: of the cells that belong to it.
        training: names of the images that may be trained with.
        test: names of the images that are measured.
    """

    name: str
    training: tuple[str, ...]
    test: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training of a table.

    Attributes:
        name: of the run folder.
        row: of the table, such as `supervised-unet`; cells of one row are measured together.
        network: name out of `NETWORKS`.
        kind: one of `ROWS`.
        training: names of the labelled images; none for a label-free training.
        test: names of the images that are measured.
    """

    name: str
    row: str
    network: str
    kind: str
    training: tuple[str, ...]
    test: tuple[str, ...]


def splits(protocol, images, folds):
    """The splits of a protocol.

    Args:
        protocol: `within`, `across` or `dataset`; the last has one split without images to test on.
        images: list of objects with `name` and `type`.
        folds: number of splits of `within`.

    Returns:
        List of `Split`.

    Raises:
        ValueError: for two images of one name, or too few for the protocol.
    """
    names = sorted(image.name for image in images)
    twice = sorted(name for name, count in collections.Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"Expected images with different names in all sets. Received: {', '.join(twice)} twice.")
    if protocol == "within":
        return within(images, folds)
    return across(images) if protocol == "across" else [Split("all", tuple(names), ())]


def within(images, folds):
    """Splits with every tissue type on both sides; each image is tested once.

    Args:
        images: list of objects with `name` and `type`.
        folds: number of splits; image k of a type is tested in split k modulo `folds`.

    Returns:
        List of `Split`.

    Raises:
        ValueError: if there is one image of a type alone, fewer than two folds, or more than a type has images.
    """
    types = by_type(images)
    few = [name for name, members in types.items() if len(members) < 2]
    if few or folds < 2:
        raise ValueError(
            f"Expected at least 2 folds and 2 images of each tissue type. Received: {folds} folds, one of {few}."
        )
    most = max(map(len, types.values()))
    if folds > most:
        raise ValueError(
            f"Expected {folds} images of a tissue type at least, one for each fold. Received: {most}; "
            f"--folds {most} takes as many."
        )
    tested = [{name for members in types.values() for name in members[fold::folds]} for fold in range(folds)]
    return [_split(f"fold{number}", images, test) for number, test in enumerate(tested, 1)]


def across(images):
    """Splits that leave one tissue type out of the training and test on it.

    Args:
        images: list of objects with `name` and `type`.

    Returns:
        List of `Split`.

    Raises:
        ValueError: if there is one tissue type alone.
    """
    types = by_type(images)
    if len(types) < 2:
        raise ValueError(f"Expected images of at least 2 tissue types. Received: {', '.join(types)}.")
    return [_split(name, images, set(members)) for name, members in types.items()]


def by_type(images):
    """Tissue type -> names of its images in order; types in order too."""
    types = collections.defaultdict(list)
    for image in sorted(images, key=lambda image: (image.type, image.name)):
        types[image.type].append(image.name)
    return dict(types)


def _split(name, images, test):
    names = sorted(image.name for image in images)
    return Split(name, tuple(n for n in names if n not in test), tuple(n for n in names if n in test))


def cells(protocol, splits, networks, rows, shots, seed):
    """The trainings of a protocol, in the order in which they are run.

    "Universal + real" and fine-tuning take the first network alone, as the paper does for the former.

    Args:
        protocol: `within`, `across` or `dataset`, part of the names.
        splits: list of `Split`.
        networks: list of names out of `NETWORKS`.
        rows: which of `ROWS`.
        shots: numbers of images to fine-tune with.
        seed: that chooses those images; fewer are always among more.

    Returns:
        List of `Cell`.

    Raises:
        ValueError: for more images to fine-tune with than a split may train with.
    """
    made, fewest = [], min(len(split.training) for split in splits)
    if "finetune" in rows and max(shots) > fewest:
        raise ValueError(
            f"Expected at most {fewest} images to fine-tune with, which the smallest split has for training. "
            f"Received: --shots {' '.join(map(str, shots))}."
        )
    everything = tuple(sorted({name for split in splits for name in split.test}))
    for network in networks:
        kinds = [row for row in ROWS if row in rows and (row in ROWS[:2] or network == networks[0])]
        for kind in kinds:
            row = f"{kind}-{network}"
            if kind == "universal":
                made.append(Cell(row, row, network, kind, (), everything))
            elif kind == "finetune":
                made += [_shot(protocol, split, network, count, seed) for count in shots for split in splits]
            else:
                names = ((f"{row}-{protocol}-{split.name}", split) for split in splits)
                made += [Cell(name, row, network, kind, split.training, split.test) for name, split in names]
    return made


def _shot(protocol, split, network, count, seed):
    """The cell that fine-tunes with a few images of a split."""
    row = f"finetune{count}-{network}"
    chosen = np.random.default_rng(seed).permutation(list(split.training))[:count]
    name = f"{row}-{protocol}-{split.name}"
    return Cell(name, row, network, "finetune", tuple(sorted(map(str, chosen))), split.test)


def title(row):
    """A row's name for a person: `supervised-unet` -> `Type-specific U-net`, as in the paper."""
    kind, network = row.rsplit("-", 1)
    network = NETWORKS[network]
    if kind.startswith("finetune"):
        return f"Universal {network}, fine-tuned with {kind.removeprefix('finetune')}"
    titles = {"supervised": "Type-specific {}", "universal": "Universal {}, no labels", "real": "Universal {} + real"}
    return titles[kind].format(network)
