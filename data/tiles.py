"""The tile bank: tiles are read, checked and prepared once, and kept in HDF5."""

import concurrent.futures
import dataclasses
import functools
import json
import os
import pathlib

import cv2
import h5py
import numpy as np
import tqdm

from data import tissue as embedded
from hou_synth import files, labels, texture

VERSION = 1  # of the bank's format
LAYERS = {"image": slice(0, 3), "background": slice(3, 6), "eosin": 6, "grain": 7}
PREPARATION = (  # the configuration fields that a prepared tile depends on
    "cell tissue_std super_factor super_level super_grow sub_factor sub_top colour_max inpaint_radius "
    "density_unit area_small"
).split()
SIDE_MIN = 64  # smallest patch


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a tile comes from.

    Attributes:
        name: relative path; its first part is the tissue type when there is more than one.
        stamp: changes when the tile does.
        read: function that returns (h, w, 3) uint8 RGB.
    """

    name: str
    stamp: str
    read: object


@dataclasses.dataclass(frozen=True)
class Tile:
    """One prepared tile.

    Attributes:
        name: relative path.
        type: tissue type, the first folder level.
        pixels: (h, w, 8) uint8 layers, read from disk when indexed; see `LAYERS`.
        colour: (3,) float32 nuclear colour in grey levels.
        density: nuclear density, see `hou_synth.texture.Tissue`.
        cells: (rows, columns) bool, where there is tissue.
    """

    name: str
    type: str
    pixels: np.ndarray
    colour: np.ndarray
    density: float
    cells: np.ndarray


def folder_sources(folder):
    """Tiles of a folder: PNG, JPEG and TIFF at any depth.

    Args:
        folder: path.

    Returns:
        list of `Source`, sorted by name.

    Raises:
        ValueError: if there is no such folder, or no image in it.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"Expected a folder of tiles. Received: {folder}, which is not a folder.")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in labels.IMAGES and p.is_file())
    paths = [p for p in paths if not p.stem.endswith(labels.DERIVED)]
    if not paths:
        raise ValueError(f"Expected PNG, JPEG or TIFF tiles in {folder}. Received: none.")
    sources = []
    for path in paths:
        stat = path.stat()
        name = path.relative_to(folder).as_posix()
        sources.append(Source(name, f"{stat.st_size} {stat.st_mtime_ns}", functools.partial(labels.image, path)))
    return sources


def embedded_sources():
    """The embedded default tissue as a list of `Source`."""
    return [Source(name, "embedded", functools.partial(np.asarray, image)) for name, image in embedded.tiles().items()]


def build(sources, path, config, workers=None, progress=True):
    """Prepares tiles and keeps them in a bank; what an existing bank already holds is not done again.

    The bank is written beside and renamed at the end; interrupted, the next call goes on with it.

    Args:
        sources: list of `Source`.
        path: the bank's file.
        config: `Synthesis`.
        workers: threads; all cores if None.
        progress: whether to show a progress bar.

    Returns:
        A `Bank`.

    Raises:
        ValueError: if no tile is usable.
    """
    path = pathlib.Path(path)
    wanted = {source.name: source.stamp for source in sources}
    if _stamps(path, config) != wanted:
        partial = path.with_name(path.name + ".part")
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(sources, path, partial, config, workers or os.cpu_count(), progress)
        os.replace(partial, path)
    return Bank(path)


def settings(config):
    """The settings that a bank was prepared with, as JSON text."""
    return json.dumps({"version": VERSION, **{key: getattr(config, key) for key in PREPARATION}}, sort_keys=True)


def _stamps(path, config):
    """Name -> stamp of every tile that the bank knows, or None if there is no such bank."""
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["settings"] != settings(config):
                return None
            return {group.attrs["name"]: group.attrs["stamp"] for group in file["tiles"].values()}
    except (OSError, KeyError):
        return None


def _write(sources, path, partial, config, workers, progress):
    """Fills the partial bank with all tiles, taking over what the old and an interrupted one hold."""
    if _stamps(partial, config) is None:
        partial.unlink(missing_ok=True)
        _start(partial, path, {source.name: source.stamp for source in sources}, config)
    with h5py.File(partial, "r+") as file, concurrent.futures.ThreadPoolExecutor(workers) as pool:
        known = {group.attrs["name"]: key for key, group in file["tiles"].items()}
        for source in sources:
            key = known.get(source.name)
            if key and file["tiles"][key].attrs["stamp"] != source.stamp:
                del file["tiles"][key], known[source.name]
        todo = [source for source in sources if source.name not in known]
        bar = tqdm.tqdm(total=len(todo), desc="preparing tiles", unit="tile", disable=not progress or not todo)
        for start in range(0, len(todo), 4 * workers):  # results are bounded in memory, and kept as they come
            batch = todo[start : start + 4 * workers]
            for source, prepared in zip(batch, pool.map(lambda s: _prepared(s, config), batch), strict=True):
                _keep(file, source, prepared)
                bar.update()
            file.flush()
        bar.close()


def _start(partial, path, wanted, config):
    """An empty bank, or one with the unchanged tiles of the old bank."""
    old = _stamps(path, config) or {}
    with h5py.File(partial, "w") as file:
        file.attrs["settings"] = settings(config)
        tiles = file.create_group("tiles")
        if any(wanted.get(name) == stamp for name, stamp in old.items()):
            with h5py.File(path, "r") as before:
                for group in before["tiles"].values():
                    if wanted.get(group.attrs["name"]) == group.attrs["stamp"]:
                        before.copy(group, tiles, name=_key(group.attrs["name"]))


def _key(name):
    """Name of a tile's HDF5 group: slashes would nest."""
    return name.replace("/", "|")


def _prepared(source, config):
    """A `Tissue`, or the reason why the tile is left out."""
    cv2.setNumThreads(1)
    try:
        image = source.read()
        if min(image.shape[:2]) < SIDE_MIN:
            raise ValueError(f"Expected at least {SIDE_MIN}x{SIDE_MIN} pixels. Received: {image.shape[:2]}.")
        return texture.tissue(image, config)
    except (ValueError, OSError) as error:
        return str(error)


def _keep(file, source, prepared):
    """Writes one tile, or the reason why it is left out, into the bank."""
    group = file["tiles"].create_group(_key(source.name))
    if isinstance(prepared, str):
        group.attrs["reason"] = prepared
    else:
        layers = [prepared.image, prepared.background, prepared.eosin, prepared.grain]
        group.create_dataset("pixels", data=np.dstack(layers))
        group.create_dataset("cells", data=prepared.cells)
        group.attrs["colour"] = prepared.colour
        group.attrs["density"] = prepared.density
    group.attrs["name"] = source.name
    group.attrs["stamp"] = source.stamp


class Bank:
    """Prepared tiles, in the order of their names, read lazily.

    Attributes:
        path: the HDF5 file.
        tiles: list of `Tile`.
        left_out: dict of name -> reason.
        types: sorted list of the tissue types.
    """

    def __init__(self, path):
        """Opens a bank.

        Args:
            path: HDF5 file written by `build`.

        Raises:
            ValueError: if the file is not a bank, or holds no usable tile.
        """
        self.path = pathlib.Path(path)
        self.tiles, self.left_out = [], {}
        try:
            with h5py.File(path, "r") as file:
                groups = sorted(file["tiles"].values(), key=lambda group: group.attrs["name"])
                for group in groups:
                    self._open(group)
        except (OSError, KeyError) as error:
            raise ValueError(f"Expected a tile bank. Received: {path} ({error}).") from error
        self.types = sorted({tile.type for tile in self.tiles})
        if not self.tiles:
            reason = next(iter(self.left_out.values()), "no tile")
            raise ValueError(f"Expected at least one usable tile. Received: {len(self.left_out)}, such as: {reason}")

    def _open(self, group):
        name = group.attrs["name"]
        if "reason" in group.attrs:
            self.left_out[name] = group.attrs["reason"]
            return
        pixels = group["pixels"]
        mapped = np.memmap(self.path, np.uint8, "r", pixels.id.get_offset(), pixels.shape)
        kind = name.split("/")[0] if "/" in name else ""
        attributes = group.attrs["colour"], float(group.attrs["density"]), group["cells"][()]
        self.tiles.append(Tile(name, kind, mapped, *attributes))

    @functools.lru_cache(maxsize=8)  # noqa: B019 - a bank lives as long as its process
    def fitting(self, side):
        """Tiles of at least that side.

        Raises:
            ValueError: if there is none.
        """
        result = [tile for tile in self.tiles if min(tile.pixels.shape[:2]) >= side]
        if not result:
            raise ValueError(
                f"Expected a tile of at least {side}x{side} pixels for patches of that side. Received: none."
            )
        return result

    def report(self, path):
        """Writes the tiles that were left out, with their reasons, as CSV."""
        rows = [{"tile": name, "reason": reason} for name, reason in sorted(self.left_out.items())]
        files.write_csv(path, rows, ["tile", "reason"])
