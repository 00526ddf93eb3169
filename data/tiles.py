"""The tile bank: tiles are read, checked and prepared once, and kept in HDF5."""

import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import math
import mmap
import os
import pathlib
import shutil

import cv2
import h5py
import numpy as np
import tqdm

from data import tissue as embedded
from hou_synth.io import files, image_files
from hou_synth.synthesis import texture

VERSION = 4  # of the bank's format
LAYERS = ("image", "background", "eosin", "grain")
PREPARATION = (  # the configuration fields that a prepared tile depends on
    "cell tissue_std super_factor super_level super_grow sub_factor sub_top colour_max inpaint_radius "
    "density_unit area_small"
).split()
EMBEDDED = "embedded"  # in place of a folder: the tissue that comes with the package
SIDE_MIN = 64  # smallest patch
RELEASED_AFTER = 100_000  # rows of tiles, after which their pages no longer count as this process's memory


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
        image: (h, w, 3) uint8 RGB; this and the further layers are read from disk when they are used.
        background: (h, w, 3) uint8 RGB without nuclei.
        eosin: (h, w) uint8, see `hou_synth.synthesis.texture.Tissue`.
        grain: (h, w) uint8, the same.
        colour: (3,) float32 nuclear colour in grey levels.
        density: nuclear density, see `hou_synth.synthesis.texture.Tissue`.
        cells: (rows, columns) bool, where there is tissue.
    """

    name: str
    type: str
    image: np.ndarray
    background: np.ndarray
    eosin: np.ndarray
    grain: np.ndarray
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
    paths = [p for p in files.below(folder) if p.suffix.lower() in image_files.IMAGES]
    paths = [p for p in paths if not p.stem.endswith(image_files.DERIVED)]
    if not paths:
        raise ValueError(f"Expected PNG, JPEG or TIFF tiles in {folder}. Received: none.")
    sources = []
    for path in paths:
        stat = path.stat()
        name = path.relative_to(folder).as_posix()
        sources.append(Source(name, f"{stat.st_size} {stat.st_mtime_ns}", functools.partial(image_files.image, path)))
    return sources


def embedded_sources():
    """The embedded default tissue as a list of `Source`."""
    return [Source(name, EMBEDDED, functools.partial(np.asarray, image)) for name, image in embedded.tiles().items()]


def prepare(folder, config, path=None, beside=pathlib.Path("banks"), rebuild=False):
    """The bank of a folder of tiles, built or reused.

    Args:
        folder: of tiles; None for the embedded default tissue.
        config: `Synthesis`.
        path: the bank's file; if None, one in `beside` named after the folder and the settings.
        beside: folder of banks.
        rebuild: whether a bank at `path` that was made with other settings is replaced.

    Returns:
        A `Bank`.

    Raises:
        ValueError: as `folder_sources` and `build` do.
    """
    sources = folder_sources(folder) if folder else embedded_sources()
    origin = pathlib.Path(folder).resolve() if folder else pathlib.Path(EMBEDDED)
    digest = hashlib.sha1((str(origin) + settings(config)).encode()).hexdigest()[:8]
    return build(sources, path or pathlib.Path(beside) / f"{origin.name}-{digest}.h5", config, rebuild=rebuild)


def build(sources, path, config, workers=None, progress=True, rebuild=False):
    """Prepares tiles and keeps them in a bank; what an existing bank already holds is not done again.

    Tiles are kept a few at a time in files beside the bank, which are merged at the end; interrupted or killed,
    the next call goes on with them.

    Args:
        sources: list of `Source`.
        path: the bank's file.
        config: `Synthesis`.
        workers: threads; all cores if None.
        progress: whether to show a progress bar.
        rebuild: whether a bank of another version or other settings is replaced.

    Returns:
        A `Bank`.

    Raises:
        ValueError: if no tile is usable, or if `path` holds something else: another file, or a bank of another
            version or with other settings that is not to be rebuilt.
    """
    path = pathlib.Path(path)
    if path.exists() and not rebuild:
        check(path, config)
    wanted = {source.name: source.stamp for source in sources}
    if _stamps(path, config) != wanted:
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = path.with_name(path.name + ".parts")
        _prepare(sources, path, parts, config, workers or os.cpu_count(), progress)
        _merge(path, parts, wanted, config)
        shutil.rmtree(parts, ignore_errors=True)
    return Bank(path)


def check(path, config):
    """Raises ValueError if a file is no bank, or one of another version or with other settings: says which."""
    try:
        with h5py.File(path, "r") as file:
            found = json.loads(file.attrs["settings"])
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"Expected a tile bank. Received: {path} ({error}).") from error
    wanted = json.loads(settings(config))
    differing = [f"{key} {found.get(key)}" for key in wanted if found.get(key) != wanted[key]]
    if differing:
        expected = ", ".join(f"{key} {value}" for key, value in wanted.items() if found.get(key) != value)
        raise ValueError(
            f"Expected a tile bank with {expected}. Received: {path} with {', '.join(differing)}. "
            "Add --rebuild to prepare its tiles anew, or name another --bank."
        )


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


def _prepare(sources, path, parts, config, workers, progress):
    """Writes the tiles that neither the old bank nor a part holds, a few at a time, as further parts."""
    known = _holding(path, parts, {source.name: source.stamp for source in sources}, config)
    todo = [source for source in sources if source.name not in known]
    bar = tqdm.tqdm(total=len(todo), desc="preparing tiles", unit="tile", disable=not progress or not todo)
    number = len(list(parts.glob("*"))) if parts.is_dir() else 0
    with bar, concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(todo), 4 * workers):  # results are bounded in memory
            batch, made = todo[start : start + 4 * workers], []
            for prepared in pool.map(lambda source: _prepared(source, config), batch):
                made.append(prepared)
                bar.update()
            parts.mkdir(exist_ok=True)
            with files.replacing(parts / f"{number + start:08}.h5") as partial, h5py.File(partial, "w") as file:
                _begin(file, config)
                for source, prepared in zip(batch, made, strict=True):
                    _keep(file, source, prepared)


def _holding(path, parts, wanted, config):
    """Name -> file, the old bank or a part, of every wanted tile that is prepared already."""
    known = {}
    for file in [path, *sorted(parts.glob("*.h5"))]:
        stamps = _stamps(file, config) or {}
        known.update({name: file for name, stamp in stamps.items() if wanted.get(name) == stamp})
    return known


def _merge(path, parts, wanted, config):
    """Writes the bank out of the old bank and the parts."""
    names = collections.defaultdict(list)
    for name, file in _holding(path, parts, wanted, config).items():
        names[file].append(name)
    with files.replacing(path) as partial, h5py.File(partial, "w") as bank:
        _begin(bank, config)
        for file, several in names.items():
            with h5py.File(file, "r") as held:
                for name in several:
                    held.copy(held["tiles"][_key(name)], bank["tiles"], name=_key(name))


def _begin(file, config):
    """Makes an empty bank of an open HDF5 file."""
    file.attrs["settings"] = settings(config)
    file.create_group("tiles")


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
        for layer in LAYERS:
            group.create_dataset(layer, data=getattr(prepared, layer))
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
        self._read = 0
        try:
            with open(path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
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
        kind = name.split("/")[0] if "/" in name else ""
        layers = (self._mapped(group[layer]) for layer in LAYERS)
        attributes = group.attrs["colour"], float(group.attrs["density"]), group["cells"][()]
        self.tiles.append(Tile(name, kind, *layers, *attributes))

    def _mapped(self, dataset):
        """A contiguous dataset as an array over the mapped file."""
        offset, shape = dataset.id.get_offset(), dataset.shape
        return np.frombuffer(self._map, np.uint8, math.prod(shape), offset).reshape(shape)

    def release(self, rows):
        """Called after every example: now and then gives back the mapped pages, which the system keeps cached.

        Args:
            rows: of tiles that the example read.
        """
        self._read += rows
        if self._read > RELEASED_AFTER and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = 0

    @functools.lru_cache(maxsize=8)  # noqa: B019 - a bank lives as long as its process
    def fitting(self, side):
        """Tiles of at least that side.

        Raises:
            ValueError: if there is none.
        """
        result = [tile for tile in self.tiles if min(tile.image.shape[:2]) >= side]
        if not result:
            raise ValueError(
                f"Expected a tile of at least {side}x{side} pixels for patches of that side. Received: none."
            )
        return result

    def report(self, path):
        """Writes the tiles that were left out, with their reasons, as CSV."""
        rows = [{"tile": name, "reason": reason} for name, reason in sorted(self.left_out.items())]
        files.write_csv(path, rows, ["tile", "reason"])
