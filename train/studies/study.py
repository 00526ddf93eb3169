"""A reader study: a folder of pictures, `study.json`, which says what each is, and the answers in one file."""

import dataclasses
import hashlib
import json
import pathlib
import shutil

import numpy as np

from hou_synth.io import documents, files

FILE, PICTURES = "study.json", "pictures"
VERSION = 1
REALITY, OUTLINES = "real or synthetic", "a or b"  # the questions: of which kind is it; whose outlines are better
ANSWERS = {REALITY: ("real", "synthetic"), OUTLINES: ("a", "b", "alike")}
KINDS = ("real", "initial", "refined")
MODELS = ("a", "b")
NAME_MAX = 40  # characters of a reader's name; ours


@dataclasses.dataclass(frozen=True)
class Item:
    """What a picture is.

    Attributes:
        tile: name of the tile that it was cut from, or whose tissue it was painted with.
        kind: of `KINDS`; None where outlines are compared.
        weight: importance weight of a refined patch.
    """

    tile: str
    kind: str | None = None
    weight: float | None = None


@dataclasses.dataclass(frozen=True)
class Study:
    """What `study.json` says.

    Attributes:
        version: of the format.
        question: a key of `ANSWERS`.
        seed: of the orders in which readers see the pictures.
        about: what the pictures were made with, as texts: `run`, or the models `a` and `b`.
        items: what picture 0, 1, ... is; their order tells nothing.
    """

    version: int
    question: str
    seed: int
    about: dict[str, str]
    items: list[Item]


def read(folder):
    """The `Study` in a folder.

    Raises:
        ValueError: if there is none, it is damaged, or of a later version.
    """
    path = pathlib.Path(folder) / FILE
    if not path.is_file():
        raise ValueError(f"Expected the folder of a study. Received: {folder}, which has no {FILE}.")
    told = documents.read(path, Study)
    kinds = KINDS if told.question == REALITY else (None,)
    if told.version != VERSION or told.question not in ANSWERS or not all(item.kind in kinds for item in told.items):
        raise ValueError(
            f"Expected a study of version {VERSION} that asks {' or '.join(ANSWERS)}. "
            f"Received: {path}, version {told.version}, {told.question!r}."
        )
    return told


def stem(folder, number):
    """Path of a picture without its ending."""
    return pathlib.Path(folder) / PICTURES / f"{number:04}"


def write(folder, question, seed, about, items, draw):
    """Makes the folder of a study, which appears by one rename when it is complete.

    Args:
        folder: path that does not exist yet.
        question: as of `Study`.
        seed: as of `Study`, which also brings the items into an order that tells nothing.
        about: as of `Study`.
        items: list of `Item`.
        draw: function of a stem and the place of an item in `items` that writes its pictures.

    Raises:
        ValueError: if the folder holds something.
    """
    folder = pathlib.Path(folder)
    files.refuse_existing(folder)
    partial = folder.with_name(folder.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)  # of a call that was stopped
    (partial / PICTURES).mkdir(parents=True)
    order = np.random.default_rng(seed).permutation(len(items)).tolist()
    for number, place in enumerate(order):
        draw(stem(partial, number), place)
    told = Study(VERSION, question, seed, about, [items[place] for place in order])
    files.write_text(partial / FILE, json.dumps(dataclasses.asdict(told), indent=1) + "\n")
    partial.rename(folder)


class Reading:
    """A study as one reader sees it: the same whenever the same name comes back, and another for each name.

    Attributes:
        order: the numbers of the items in the order in which they are shown.
        left: of each item, by its number, whose outlines are on the left: "a" or "b".
    """

    def __init__(self, study, reader):
        """Draws the order and the sides.

        Args:
            study: `Study`.
            reader: a name, see `named`.
        """
        digest = hashlib.sha256(named(reader).encode()).digest()
        random = np.random.default_rng([study.seed, int.from_bytes(digest[:8])])
        self.order = random.permutation(len(study.items)).tolist()
        self.left = [MODELS[side] for side in random.integers(2, size=len(study.items))]


def named(reader):
    """The name of a reader without spaces around it; ValueError for one that is empty, too long or not printable."""
    name = reader.strip()
    if not name or len(name) > NAME_MAX or not name.isprintable():
        raise ValueError(f"Expected a reader's name of 1 to {NAME_MAX} printable characters. Received: {reader!r}.")
    return name
