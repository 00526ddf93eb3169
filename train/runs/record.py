"""What a run folder says of itself: `config.json`, `run.json` with data and libraries, `scores.json` at the end.

The record is written once, when the run begins. A run that is gone on with is compared with it and never changes it.
"""

import dataclasses
import json
import os
import pathlib
import shlex
import sys

import keras
import numpy as np
import tensorflow as tf

from hou_synth import config
from hou_synth.io import documents, files

CONFIG, RUN, SCORES, CONTRAST = "config.json", "run.json", "scores.json", "contrast.json"
NEXT = "next.txt"  # what the end of a run told
MODEL = "model:"  # how the line of it begins that tells the path of the model
DIGEST = "tile_digest"  # of `run.json`, see `About`
NAMED = 3  # names of a list that an error tells


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a run was computed on."""

    cores: int
    gpus: list[str]


@dataclasses.dataclass(frozen=True)
class About:
    """What `run.json` may say; None is what it does not.

    Attributes:
        command: line that began the run.
        tiles: their folder, or `data.tiles.EMBEDDED`.
        tile_table: what says more of them.
        tile_resolution: of them all, microns per pixel.
        bank: file.
        tile_names: of those that the run learns from.
        tile_digest: of their names and pixels.
        labelled: names of labelled images beside the tiles.
        patches: what the initial patches are, if they come from a file.
        updates: of a network that learns from labelled images alone.
        training: names of these.
        validation: names of those that choose the epoch.
        model: folder of the network that is trained on.
        adapted_from: what it is called, and how it was trained, if it learns from tiles.
        versions: of libraries.
        machine: `Machine`.
    """

    command: str | None = None
    tiles: str | None = None
    tile_table: str | None = None
    tile_resolution: float | None = None
    bank: str | None = None
    tile_names: list[str] | None = None
    tile_digest: str | None = None
    labelled: list[str] | None = None
    patches: str | None = None
    updates: int | None = None
    training: list[str] | None = None
    validation: list[str] | None = None
    model: str | None = None
    adapted_from: str | None = None
    versions: dict[str, str] | None = None
    machine: Machine | None = None


def settings(folder):
    """The `Config` of a run.

    Raises:
        ValueError: if the folder holds no run, or `config.json` is damaged.
    """
    if not (folder / CONFIG).exists():
        raise ValueError(f"Expected a run folder. Received: {folder}, which has no {CONFIG}.")
    return config.load(folder / CONFIG)


def about(folder):
    """What `run.json` says, a dict of those attributes of `About` that it has.

    Raises:
        ValueError: if the folder holds no run, or `run.json` is damaged.
    """
    if not (folder / RUN).exists():
        raise ValueError(f"Expected a run folder. Received: {folder}, which has no {RUN}.")
    told = dataclasses.asdict(documents.read(folder / RUN, About))
    return {key: value for key, value in told.items() if value is not None}


def scores(folder):
    """What `scores.json` says, a dict of numbers; empty for a run that is not finished.

    Raises:
        ValueError: if it is damaged.
    """
    return optional(folder / SCORES, dict[str, float])


def contrasts(folder):
    """Name of a phase -> contrasts of haematoxylin after it; empty before the first.

    Raises:
        ValueError: if `contrast.json` is damaged.
    """
    return optional(folder / CONTRAST, dict[str, dict[str, float]])


def optional(path, form):
    """What a JSON file says, see `documents.read`; an empty dict if there is no file."""
    return documents.read(path, form) if path.exists() else {}


def write(path, content):
    """Writes an object as JSON, atomically."""
    files.write_text(path, json.dumps(content, indent=2) + "\n")


def check(folder, wanted, resume):
    """Refuses a folder that a run cannot begin in, or go on in, before anything is made.

    Args:
        folder: path.
        wanted: `Config` of the run.
        resume: whether there may be a run.

    Raises:
        ValueError: if there is a run and it is not to be resumed, or it has another configuration or
            none.
    """
    if not ((folder / CONFIG).exists() or (folder / RUN).exists()):
        return
    if not resume:
        raise ValueError(
            f"Expected an --out that does not hold a run. Received: {folder}. Add --resume to go on with it."
        )
    differing = config.differences(settings(folder), wanted)
    if differing:
        raise ValueError(f"Expected the configuration of the run in {folder}. Received: {'; '.join(differing)}.")


def begin(folder, wanted, data, **further):
    """Writes the record of a run, or compares the one that is there.

    Args:
        folder: path; made if it is not there.
        wanted: `Config` of the run.
        data: dict of what the run learns from, by which it can be gone on with.
        **further: what else `run.json` says.

    Raises:
        ValueError: if the run there learned from something else.
    """
    if (folder / RUN).exists():
        differing = _differences(about(folder), data)
        if differing:
            raise ValueError(f"Expected the data of the run in {folder}. Received: {'; '.join(differing)}.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    config.save(wanted, folder / CONFIG)
    write(folder / RUN, {"command": command(), **further, **data, **surroundings()})


def end(folder, result, told):
    """Finishes a run: keeps and tells its scores and what is next.

    Args:
        folder: path.
        result: dict of numbers.
        told: lines of text.
    """
    text = "\n".join([*told, ""])
    files.write_text(folder / NEXT, text)
    write(folder / SCORES, result)
    print(text, end="")


def finished(folder):
    """What is told of a run that is finished already, a text; empty for one that is not.

    Raises:
        ValueError: if `scores.json` is damaged.
    """
    if not scores(folder):
        return ""
    told = (folder / NEXT).read_text(encoding="utf-8") if (folder / NEXT).exists() else ""
    return f"This run is finished: {folder}\n{told}"


def served(folder):
    """Path of the model that a finished run was written as, which the end of the run told."""
    lines = (folder / NEXT).read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix(MODEL).strip() for line in lines if line.startswith(MODEL))


def _differences(earlier, data):
    """In what the data of a run are not those of the record, short texts."""
    differing = [key for key, value in data.items() if (earlier.get(key) or None) != (value or None)]
    if differing == [DIGEST]:
        return [f"{DIGEST}: tiles of other pixels"] if DIGEST in earlier else []  # version 0.1 kept none
    return [f"{key}: {_difference(earlier.get(key), data[key])}" for key in differing if key != DIGEST]


def _difference(earlier, value):
    """How a value differs from the recorded one; of lists, what is in one alone."""
    if not (isinstance(earlier, list) and isinstance(value, list)):
        return f"{value!r}, not {earlier!r}"
    more, fewer = (sorted({*own} - {*other}) for own, other in ((value, earlier), (earlier, value)))
    parts = [f"{word} {_named(names)}" for word, names in (("with", more), ("without", fewer)) if names]
    return ", ".join(parts) or "in another order"


def _named(names):
    return ", ".join(map(str, names[:NAMED])) + (f" and {len(names) - NAMED} others" if len(names) > NAMED else "")


def command():
    """The command line of this process, as it can be given again."""
    program = pathlib.Path(sys.argv[0])
    called = f"python -m train.{program.stem}" if program.suffix == ".py" else sys.argv[0]
    return f"{called} {shlex.join(sys.argv[1:])}"


def surroundings():
    """What `run.json` says of libraries and hardware."""
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return {
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__},
        "machine": {"cores": os.cpu_count(), "gpus": [gpu.get("device_name", "unnamed") for gpu in gpus]},
    }
