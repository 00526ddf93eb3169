"""The tile bank: tiles are read, checked and prepared once, and kept in HDF5."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import mmap
import os
import pathlib
import shutil
import zlib

import cv2
import h5py
import numpy as np
import tqdm

from data import draws, hdf5_members, tile_table
from data import tissue as embedded
from data.labelled import TABLE
from data.tile_options import TileFolder
from hou_synth import inference, normalise
from hou_synth.io import documents, files, image_files, locks
from hou_synth.synthesis import texture

VERSION = 6  # of the bank's format
LAYERS = ("image", "background", "eosin", "grain")
PREPARATION = (  # the configuration fields that a prepared tile depends on
    "balance cell tissue_std super_factor super_level super_grow sub_factor sub_top colour_max red_max inpaint_radius "
    "density_unit area_small"
).split()
EMBEDDED = "embedded"  # in place of a folder: the tissue that comes with the package
SIDE_MIN = 64  # smallest patch
FREED_AFTER = 100_000  # rows of tiles, after which their pages no longer count as this process's memory


@dataclasses.dataclass(frozen=True)
class Source:
    r"""Where a tile comes from.

    Attributes:
        name: relative path; its first part is the tissue type when there is more than one. Bytes that are not
            UTF-8 are written as `\xe9`.
        stamp: changes when the tile does.
        read: function that returns (h, w, 3) uint8 RGB at 40X.
        type: tissue type; None for the first folder level.
        microns_per_pixel: of the file; None for 0.25.
    """

    name: str
    stamp: str
    read: object
    type: str | None = None
    microns_per_pixel: float | None = None


@dataclasses.dataclass(frozen=True)
class Tile(texture.Tissue):
    """One prepared tile, whose layers are read from disk when they are used.

    Attributes:
        name: relative path.
        type: tissue type, the first folder level.
    """

    name: str
    type: str


def tissue_type(name):
    """The first folder level of a tile's name, "" if there is none: where tiles of one scanner lie together."""
    return name.split("/")[0] if "/" in name else ""


def tile_name(path, folder):
    """The name of the tile in a file below a folder."""
    return os.fsencode(path.relative_to(folder).as_posix()).decode(errors="backslashreplace")


def folder_sources(folder, table=None, microns_per_pixel=None):
    """Tiles of a folder: PNG, JPEG and TIFF at any depth.

    Args:
        folder: path.
        table: CSV file, see `data.tile_table.read`; None for `images.csv` in the folder if that exists.
        microns_per_pixel: resolution of all tiles; None for the table's.

    Returns:
        list of `Source`, sorted by name.

    Raises:
        ValueError: if there is no such folder, no image in it, or the table or the resolution is wrong.
        OSError: if `table` cannot be read.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise ValueError(f"Expected a folder of tiles. Received: {folder}, which is not a folder.")
    paths = [p for p in files.below(folder) if p.suffix.lower() in image_files.IMAGES]
    paths = [p for p in paths if not p.stem.endswith(image_files.DERIVED)]
    if not paths:
        raise ValueError(f"Expected PNG, JPEG or TIFF tiles in {folder}. Received: none.")
    table = table or (folder / TABLE if (folder / TABLE).is_file() else None)
    rows = tile_table.read(table, [tile_name(path, folder) for path in paths]) if table else {}
    inference.scale(microns_per_pixel)  # which refuses what cannot be meant
    sources = []
    for path in paths:
        kind, per_pixel = rows.get(tile_name(path, folder), (None, None))
        per_pixel, stat = microns_per_pixel or per_pixel, path.stat()
        known = "".join(f" {each}" for each in (kind, per_pixel) if each)
        stamp = f"{stat.st_size} {stat.st_mtime_ns}{known}"
        read = functools.partial(_read_at_40x, path, per_pixel)
        sources.append(Source(tile_name(path, folder), stamp, read, kind, per_pixel))
    return sources


def _read_at_40x(path, microns_per_pixel):
    return inference.at_40x(image_files.image(path), microns_per_pixel)


def embedded_sources():
    """The embedded default tissue as a list of `Source`."""
    return [Source(name, EMBEDDED, functools.partial(np.asarray, image)) for name, image in embedded.tiles().items()]


def prepare(folder, config, path=None, beside=pathlib.Path("banks"), rebuild=False):
    """The bank of a folder of tiles, built or reused.

    Args:
        folder: of tiles, a path or a `data.tile_options.TileFolder`; None for the embedded default tissue.
        config: `Synthesis`.
        path: the bank's file; if None, one in `beside` named after the folder and the settings.
        beside: folder of banks.
        rebuild: whether a bank at `path` that was made with other settings is replaced.

    Returns:
        A `Bank`.

    Raises:
        ValueError: as `folder_sources` and `build` do.
    """
    tissue = folder if isinstance(folder, TileFolder) else TileFolder(folder)
    known = tissue.table, tissue.microns_per_pixel
    sources = folder_sources(tissue.path, *known) if tissue.path else embedded_sources()
    origin = pathlib.Path(tissue.path).resolve() if tissue.path else pathlib.Path(EMBEDDED)
    about = "".join(str(each) for each in known if each)
    digest = hashlib.sha1((str(origin) + about + settings(config)).encode()).hexdigest()[:8]
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
        rebuild: whether a bank that is damaged, of another version or of other settings is replaced.

    Returns:
        A `Bank`.

    Raises:
        ValueError: if no tile is usable, if another process is building this bank, or if `path` holds something
            else that is not to be rebuilt: another file, or a bank that is damaged, of another version or with
            other settings.
    """
    path = pathlib.Path(path)
    sources = _stamped_together(sources) if config.balance else sources
    old = [path] if path.exists() else []
    if old and not rebuild:
        check(path, config)
    elif old and not _sound(path):
        old = []
    wanted = {source.name: source.stamp for source in sources}
    if not old or _stamps(path, config) != wanted:
        parts = path.with_name(path.name + ".parts")
        with locks.exclusive(parts):
            _prepare(sources, old, parts, config, workers or os.cpu_count(), progress)
            _merge(path, old, parts, wanted, config)
            shutil.rmtree(parts, ignore_errors=True)
    return Bank(path)


def _sound(path):
    """Whether a file is a bank without damage."""
    try:
        Bank(path)
    except ValueError:
        return False
    return True


def check(path, config):
    """Raises ValueError if a file is no bank, or one of another version or with other settings: says which."""
    try:
        with h5py.File(path, "r") as file:
            recorded = documents.parse(str(file.attrs["settings"]), dict[str, object], "its settings")
    except Exception as error:  # HDF5 raises types of many kinds on a damaged file
        raise _no_bank(path, error) from error
    wanted = json.loads(settings(config))
    differing = [f"{key} {recorded.get(key)}" for key in wanted if recorded.get(key) != wanted[key]]
    if differing:
        expected = ", ".join(f"{key} {value}" for key, value in wanted.items() if recorded.get(key) != value)
        raise ValueError(
            f"Expected a tile bank with {expected}. Received: {path} with {', '.join(differing)}. "
            "Add --rebuild to prepare its tiles anew, or name another --bank."
        )


def _no_bank(path, error):
    """The error for a file that is no bank, or is damaged."""
    return ValueError(
        f"Expected a tile bank without damage. Received: {path} ({error}). "
        "Add --rebuild to prepare its tiles anew, or delete it."
    )


def settings(config):
    """The settings that a bank was prepared with, as JSON text."""
    return json.dumps({"version": VERSION, **{key: getattr(config, key) for key in PREPARATION}}, sort_keys=True)


def _stamps(path, config):
    """Name -> stamp of every tile of the bank that has a checksum, or None if there is no such bank."""
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["settings"] != settings(config):
                return None
            groups = _groups(file)
            return {group.attrs["name"]: group.attrs["stamp"] for group in groups if "checksum" in group.attrs}
    except Exception:  # HDF5 raises types of many kinds on a damaged file
        return None


def _groups(file):
    """The HDF5 groups of the tiles."""
    tiles = hdf5_members.member(file, "tiles", h5py.Group)
    return [hdf5_members.member(tiles, key, h5py.Group) for key in tiles]


def _of_types(sources):
    """Tissue type -> list of `Source`."""
    groups = {}
    for source in sources:
        groups.setdefault(source.type or tissue_type(source.name), []).append(source)
    return groups


def _stamped_together(sources):
    """Sources whose stamps change with any tile of their type, as their white does."""
    stamped = []
    for group in _of_types(sources).values():
        digest = hashlib.sha1(repr([(source.name, source.stamp) for source in group]).encode()).hexdigest()
        stamped += [dataclasses.replace(source, stamp=f"{source.stamp} {digest}") for source in group]
    return stamped


def _prepare(sources, old, parts, config, workers, progress):
    """Writes the tiles that neither the old bank nor a part holds, a few at a time, as further parts."""
    known = _holding(old, parts, {source.name: source.stamp for source in sources}, config)
    todo = [source for source in sources if source.name not in known]
    hidden = None if progress and todo else True  # None: unless stderr is a terminal
    bar = tqdm.tqdm(total=len(todo), desc="preparing tiles", unit="tile", disable=hidden)
    number = len(list(parts.glob("*.h5")))
    with bar, concurrent.futures.ThreadPoolExecutor(workers) as pool:
        todo = _balanced(todo, sources, pool) if config.balance else todo
        for start in range(0, len(todo), 4 * workers):  # results are bounded in memory
            batch, made = todo[start : start + 4 * workers], []
            for prepared in pool.map(lambda source: _prepared(source, config), batch):
                made.append(prepared)
                bar.update()
            with files.replacing(parts / f"{number + start:08}.h5") as partial, _begun(partial, config) as file:
                for source, prepared in zip(batch, made, strict=True):
                    _keep(file, source, prepared)


def _balanced(todo, sources, pool):
    """Sources that read their tiles with their white brought to the standard: that of all tiles of their type."""
    groups, result = _of_types(sources), []
    for name, group in _of_types(todo).items():
        levels = [each for each in pool.map(_brightest, groups[name]) if each is not None]
        if levels:
            read = functools.partial(_read_balanced, white=normalise.common_white(levels))
            group = [dataclasses.replace(source, read=functools.partial(read, source.read)) for source in group]
        result += group
    return result


def _read_balanced(read, white):
    return normalise.balanced(read(), white)


def _brightest(source):
    """What `normalise.brightest` finds on a tile; None if it cannot be read."""
    try:
        return normalise.brightest(source.read())
    except (ValueError, OSError):
        return None


def _holding(old, parts, wanted, config):
    """Name -> file, the old bank or a part, of every wanted tile that is prepared already."""
    known = {}
    for file in [*old, *sorted(parts.glob("*.h5"))]:
        stamps = _stamps(file, config) or {}
        known.update({name: file for name, stamp in stamps.items() if wanted.get(name) == stamp})
    return known


def _merge(path, old, parts, wanted, config):
    """Writes the bank out of the old bank and the parts."""
    holding = _holding(old, parts, wanted, config)
    with files.replacing(path) as partial, _begun(partial, config) as bank:
        for source in dict.fromkeys(holding.values()):
            with h5py.File(source, "r") as held:
                for group in _groups(held):
                    if holding.get(group.attrs["name"]) == source:
                        held.copy(group, bank["tiles"], name=_next_key(bank))


def _begun(path, config):
    """A new, empty bank, open for writing."""
    file = h5py.File(path, "w", libver="latest")  # whose own tables have checksums
    file.attrs["settings"] = settings(config)
    file.create_group("tiles")
    return file


def _next_key(file):
    """Name of the next tile's HDF5 group: a number, as a tile's own name may hold what HDF5 gives a meaning."""
    return f"{len(file['tiles']):08}"


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
    group = file["tiles"].create_group(_next_key(file))
    group.attrs["name"] = source.name
    group.attrs["stamp"] = source.stamp
    if source.type:
        group.attrs["type"] = source.type
    if isinstance(prepared, str):
        group.attrs["reason"] = prepared
        group.attrs["checksum"] = _checksum(source.name, source.stamp, prepared)
        return
    for layer in (*LAYERS, "cells"):
        group.create_dataset(layer, data=getattr(prepared, layer))
    group.attrs["colour"] = prepared.colour
    group.attrs["density"] = prepared.density
    layers = [getattr(prepared, layer) for layer in (*LAYERS, "cells")]
    group.attrs["checksum"] = _checksum(source.name, source.stamp, *layers, prepared.colour, prepared.density)


def _checksum(*parts):
    """CRC-32 of texts, numbers and arrays."""
    sums = [zlib.crc32(str(part).encode() if isinstance(part, str) else np.ascontiguousarray(part)) for part in parts]
    return zlib.crc32(np.array(sums, "<u4"))


def _compare(group, name, *parts):
    """Raises ValueError if a tile has a checksum, and it is another one."""
    if "checksum" in group.attrs and group.attrs["checksum"] != _checksum(name, *parts):
        raise ValueError(f"tile {name} is not as it was written")


def _refuse_formless(tile):
    """Raises ValueError if the parts of a tile, of a bank without checksums, do not go together."""
    height, width = tile.image.shape[:2]
    shapes = [(height, width, 3)] * 2 + [(height, width)] * 2
    fitting = [getattr(tile, layer).shape for layer in LAYERS] == shapes and min(height, width) >= SIDE_MIN
    colour = np.shape(tile.colour) == (3,) and np.isfinite(tile.colour).all() and tile.colour.dtype == np.float32
    cells = np.ndim(tile.cells) == 2 and tile.cells.size and tile.cells.dtype == bool
    if not (fitting and colour and cells and 0 <= tile.density < np.inf):
        raise ValueError(f"tile {tile.name} has not the form of a tile")


class Bank:
    """Prepared tiles, in the order of their names, read lazily.

    Attributes:
        path: the HDF5 file.
        tiles: list of `Tile`.
        stamps: dict of name -> stamp, of the tiles and of those left out.
        left_out: dict of name -> reason.
        types: sorted list of the tissue types.
    """

    def __init__(self, path):
        """Opens a bank.

        Args:
            path: HDF5 file written by `build`.

        Raises:
            ValueError: if the file is not a bank, is damaged, or holds no usable tile. The tiles of banks of
                earlier versions have no checksum: of those only the form is looked at.
        """
        self.path = pathlib.Path(path)
        self.tiles, self.stamps, self.left_out = [], {}, {}
        self._read = 0
        try:
            with open(path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            with h5py.File(path, "r") as file:
                for group in sorted(_groups(file), key=lambda group: group.attrs["name"]):
                    self._open(group)
        except Exception as error:  # HDF5 raises types of many kinds on a damaged file
            raise _no_bank(path, error) from error
        self.types = sorted({tile.type for tile in self.tiles})
        if not self.tiles:
            reason = next(iter(self.left_out.values()), "no tile")
            raise ValueError(f"Expected at least one usable tile. Received: {len(self.left_out)}, such as: {reason}")

    def _open(self, group):
        """Adds a tile.

        Raises:
            ValueError: if it does not have its checksum, or not the form of a tile; and what HDF5 raises.
        """
        name = str(group.attrs["name"])
        self.stamps[name] = stamp = str(group.attrs["stamp"])
        if "reason" in group.attrs:
            reason = str(group.attrs["reason"])
            _compare(group, name, stamp, reason)
            self.left_out[name] = reason
            return
        layers = [self._mapped(hdf5_members.member(group, layer)) for layer in LAYERS]
        cells = hdf5_members.member(group, "cells")[()]
        colour, density = group.attrs["colour"], group.attrs["density"]
        _compare(group, name, stamp, *layers, cells, colour, density)
        tile = Tile(*layers, colour, float(density), cells, name, str(group.attrs.get("type", tissue_type(name))))
        _refuse_formless(tile)
        self.tiles.append(tile)
        self.free_pages(len(LAYERS) * tile.image.shape[0])

    def _mapped(self, dataset):
        """A contiguous dataset of bytes as an array over the mapped file."""
        if dataset.dtype != np.uint8 or dataset.chunks or dataset.id.get_offset() is None:
            raise ValueError(f"{dataset.name} is no contiguous array of uint8")
        return np.frombuffer(self._map, np.uint8, dataset.size, dataset.id.get_offset()).reshape(dataset.shape)

    def free_pages(self, rows):
        """Called after every example: now and then gives back the mapped pages, which the system keeps cached.

        Args:
            rows: of tiles that the example read.
        """
        self._read += rows
        if self._read > FREED_AFTER and hasattr(mmap, "MADV_DONTNEED"):
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

    @functools.lru_cache(maxsize=8)  # noqa: B019 - a bank lives as long as its process
    def groups(self, side, config):
        """The tiles of at least that side as `data.draws.drawn` takes them: by type, or all in one list.

        Args:
            side: in pixels.
            config: `Synthesis`.

        Raises:
            ValueError: as `fitting`.
        """
        fitting = self.fitting(side)
        return draws.by_type(fitting) if config.by_type else [fitting]

    def report(self, path):
        """Writes the tiles that were left out, with their reasons, as CSV."""
        rows = [{"tile": name, "reason": reason} for name, reason in sorted(self.left_out.items())]
        files.write_csv(path, rows, ["tile", "reason"])
