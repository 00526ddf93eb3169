"""A trained network adapted to tiles: what it begins with, and the tiles segmented with what comes out."""

import dataclasses
import hashlib
import pathlib

import hou_synth
from data import tiles
from hou_synth import config, model, segment
from hou_synth.io import files, image_files, locks
from train.judging.criterion import MULTIPLE
from train.loop import limits
from train.runs import record
from train.serving import assets


def settings(start, asked):
    """The configuration of an adaptation: network, losses and thresholds are those of the network that is adapted.

    Args:
        start: folder, see `train.runs.finetuning.beginning`.
        asked: `Config` that the rest is taken from.

    Raises:
        ValueError: for phases other than self-training, or sizes that the network cannot take.
    """
    own = config.load(start / assets.CONFIG)
    merged = dataclasses.replace(asked, networks=own.networks, losses=own.losses, instances=own.instances)
    limits.check(merged)
    limits.check_beginning(merged.schedule, trained=True)
    return merged


def origin(start):
    """What a network that is adapted is called and how it was trained: "name/version sha256:... (kind)".

    Args:
        start: as for `settings`.
    """
    about = record.optional(start / record.RUN, dict[str, object])
    if (start.parent / "saved_model.pb").is_file():
        name, kind = model.identity(start.parent), about.get("kind", "unknown kind")
    else:
        digest = hashlib.sha256((start / assets.TASK).read_bytes()).hexdigest()[:16]
        name, kind = f"run {start.resolve().name} sha256:{digest}", assets.kind(about)
    earlier = f" from {about['adapted_from']}" if "adapted_from" in about else ""
    return f"{name} ({kind}{earlier})"


def check_tiles(bank):
    """Raises ValueError if no tile of a bank is large enough for the criterion that chooses between the states."""
    bank.fitting(MULTIPLE)


def check_room(run, folder, out):
    """Refuses a place for the segmented tiles before anything is trained.

    Args:
        run: folder of the run.
        folder: of tiles.
        out: folder that they are to be segmented into.

    Raises:
        ValueError: if it holds something and the run is not finished, or tiles of one folder share a stem.
    """
    members(folder)
    if not record.scores(run):
        files.refuse_existing(out)


def members(folder):
    """Folder, relative to that of the tiles -> paths of the images in it.

    Raises:
        ValueError: if two of them share a stem.
    """
    parents = sorted({path.parent for path in files.below(folder)})
    found = {parent.relative_to(folder): segment.inputs(image_files.find(parent)) for parent in parents}
    return {parent: paths for parent, paths in found.items() if paths}


def segmented(run, tissue, out):
    """Segments tiles, or what is left of them; results lie as deep below `out` as the tiles do.

    Args:
        run: folder of the finished run whose model does it.
        tissue: `data.tile_options.TileFolder`.
        out: folder.

    Returns:
        How many tiles could not be segmented.
    """
    loaded, failures = hou_synth.load(record.served(run)), 0
    sources = tiles.folder_sources(tissue.path, tissue.table, tissue.microns_per_pixel)
    known, folder = {source.name: source.microns_per_pixel for source in sources}, pathlib.Path(tissue.path)
    for parent, paths in members(folder).items():
        resolutions = [known[tiles.tile_name(path, folder)] for path in paths]
        for resolution in dict.fromkeys(resolutions):
            job = segment.Job(loaded, out / parent, resolution)
            own = [path for path, each in zip(paths, resolutions, strict=True) if each == resolution]
            with locks.exclusive(job.out):
                failures += segment.every(segment.left(own, (), job), (), job)[0]
    print(f"segmented: {out}")
    return failures
