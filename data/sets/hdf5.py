"""A data set as one HDF5 file: written in shards, merged at the end, read as far as it is intact."""

import contextlib
import dataclasses
import glob
import io
import json
import os
import pathlib
import shutil

import h5py
import numpy as np
import tqdm

import hou_synth
from data import hdf5_members, tiles
from data.sets import specification as specifications
from hou_synth import config
from hou_synth.io import documents, files

PACKED = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
FIELDS = {  # name -> type, channels, filters; tissue has noise: gzip saves 13 to 19 % of it and costs 2.3 ms at 200x200
    "image": (np.uint8, (3,), {}),
    "labels": (np.uint16, (), PACKED),  # 3 to 4 % of its size remains; lzf leaves twice that
    "mask": (np.uint8, (), PACKED),
    "reference": (np.uint8, (3,), {}),
}
PIXEL = 6.2  # bytes a pixel in the file; measured 6.2 with provenance on embedded tissue
PATCH = 100  # bytes of provenance and index a patch
MASK = config.preset("release").losses  # the kind of the mask's bits
TEXTS = 1024  # provenances in a chunk


class Store:
    """A data set in one HDF5 file `path`, whose shards lie in `path.parts` until it is complete.

    Attributes:
        path: the file.
        specification: `Specification`.
        kept: patches at its beginning that the file already holds, intact.
        held: patches that the file should hold.
    """

    merges = True  # while shards are merged, they and the file are on the disk

    def __init__(self, path, specification):
        """Looks at what is there.

        Args:
            path: the file to write.
            specification: `Specification`.

        Raises:
            ValueError: if the file or its shards belong to another specification, or the file is none of ours.
        """
        self.path, self.specification, self.kept, self.held = pathlib.Path(path), specification, 0, 0
        self.parts = self.path.with_name(self.path.name + ".parts")
        specification.refuse_begun(self.parts)
        if self.path.exists():
            with readable(self.path) as file:
                specification.refuse_other(identity(file, self.path), self.path)
                self.held = len(file["image"])
                specification.refuse_fewer(self.held, self.path)
                self.kept = intact(file)

    @property
    def damage(self):
        """What is intact of a damaged file, in words; else nothing."""
        return _span(self.kept, self.held) if self.kept < self.held else ""

    def begin(self):
        """Makes the folder of the shards, and removes what a killed run left half written."""
        self.specification.begin(self.parts)
        halves = self.path.parent.glob(f"{glob.escape(self.path.name)}.*.part")
        for stray in (*halves, *self.parts.glob("*.part")):
            stray.unlink(missing_ok=True)

    def missing(self):
        """First patches of the shards that are still to be made."""
        there = set(self.parts.glob("*.h5"))
        starts = tqdm.tqdm(self._starts(), desc="looking", unit="shard", leave=False, delay=1)
        return [start for start in starts if not (self._shard(start) in there and self._made(start))]

    def _made(self, start):
        return _length(self._shard(start)) == len(self.specification.shard(start))

    def write(self, start):
        """Makes one shard; returns how many patches it has."""
        shard = self.specification.shard(start)
        texts = []
        with _new(self._shard(start)) as (file, _):
            _fields(file, len(shard), self.specification.side)
            for row, example in enumerate(self.specification.examples(start)):
                for name, array in _arrays(example).items():
                    file[name][row] = array
                texts.append(json.dumps(example.provenance).encode())
            file["provenance"] = np.array(texts)
        return len(shard)

    def finish(self):
        """Merges the shards into the file and removes them.

        Raises:
            OSError: if the disk is full; the shards are kept.
        """
        sources = [(self.path, range(self.kept))] if self.kept else []
        sources += [(self._shard(start), self.specification.shard(start)) for start in self._starts()]
        with _new(self.path) as (file, raw):
            _about(file, self.specification)
            _merge_texts(file, sources, self.specification.count)
            _fields(file, self.specification.count, self.specification.side)
            file.flush()  # what describes the patches lies before them: a truncated file keeps it
            for source, rows in tqdm.tqdm(sources, desc="merging", unit="shard", leave=False, disable=None):
                with readable(source) as shard:
                    _copy(shard, file, rows)
                raw.check()
        shutil.rmtree(self.parts)

    def size(self):
        """Bytes on disk."""
        return self.path.stat().st_size

    def _starts(self):
        return range(self.kept, self.specification.count, specifications.SHARD)

    def _shard(self, start):
        return self.parts / f"{start:08d}.h5"


def intact(file):
    """Number of patches at the beginning of a file that can be read.

    Args:
        file: open `h5py.File` of `readable`.
    """
    count = len(file["image"])
    for index in tqdm.trange(count, desc="checking", unit="patch", leave=False, disable=None):
        try:
            for name in FIELDS:
                file[name][index]
            documents.parse(file["provenance"][index], dict[str, object], "its provenance")
        except Exception:  # HDF5 raises types of many kinds on a damaged file
            return index
    return count


def damage(path):
    """What is wrong with a file, as a `ValueError` that says what is intact."""
    with readable(path) as file:
        kept = _span(intact(file), len(file["image"]))
    return ValueError(
        f"Expected a complete data set. Received: {path}, which is damaged; intact: {kept}. "
        "The command that made it goes on from there."
    )


def _span(good, count):
    """The first patches of a file, in words."""
    return f"patches 0 to {good - 1} of {count}" if good else f"none of {count} patches"


class _Padded(io.RawIOBase):
    """A file that goes on with zeros behind its end: HDF5 opens no truncated file otherwise."""

    def __init__(self, path):
        self._file = open(path, "rb")
        self._at = 0

    def seek(self, offset, whence=io.SEEK_SET):
        self._at = 1 << 48 if whence == io.SEEK_END else offset
        return self._at

    def tell(self):
        return self._at

    def readinto(self, buffer):
        content = os.pread(self._file.fileno(), len(buffer), self._at)
        buffer[: len(content)] = content
        buffer[len(content) :] = bytes(len(buffer) - len(content))
        self._at += len(buffer)
        return len(buffer)

    def close(self):
        self._file.close()
        super().close()


@contextlib.contextmanager
def readable(path):
    """Context with a data set, also a truncated one, open for reading."""
    if not pathlib.Path(path).is_file():
        raise ValueError(f"Expected a data set in a file. Received: {path}, which is none.")
    with _Padded(path) as raw:
        try:
            file = h5py.File(raw, "r")
            _refuse_formless(file)
        except Exception as error:  # HDF5 raises types of many kinds on a damaged file
            raise ValueError(f"Expected a data set. Received: {path}, in which nothing is intact ({error}).") from error
        with file:
            yield file


def _refuse_formless(file):
    """Raises ValueError or KeyError if the arrays of an open file have not the form of a data set's."""
    sets = {name: hdf5_members.member(file, name) for name in (*FIELDS, "provenance")}
    count, side = len(sets["provenance"]), max(sets["image"].shape[1:2], default=0)
    for name, (kind, channels, _) in FIELDS.items():
        if sets[name].shape != (count, side, side, *channels) or sets[name].dtype != kind:
            raise ValueError(f"{name} of shape {sets[name].shape} and type {sets[name].dtype}")
    if count < 1 or sets["provenance"].dtype.kind != "S":
        raise ValueError(f"{count} provenances of type {sets['provenance'].dtype}")


class _Written(io.FileIO):
    """A file that remembers its first failed write: HDF5 also writes where an exception would get lost."""

    error = None

    def write(self, content):
        rest = memoryview(content)
        try:
            while len(rest) and self.error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return len(content)

    def check(self):
        """Raises the OSError of the first failed write."""
        if self.error is not None:
            raise self.error


@contextlib.contextmanager
def _new(path):
    """Context with an HDF5 file that appears when its body succeeds, and the `_Written` below it."""
    with files.replacing(path) as partial, _Written(partial, "w+") as raw:
        try:
            with h5py.File(raw, "w", libver="latest") as file:
                yield file, raw
        finally:
            raw.check()


def _fields(file, count, side):
    """Creates the arrays, one chunk a patch, with checksums."""
    for name, (kind, channels, filters) in FIELDS.items():
        shape = (side, side, *channels)
        file.create_dataset(name, (count, *shape), kind, chunks=(1, *shape), fletcher32=True, **filters)


def _arrays(example):
    """Field -> array of an example."""
    mask = example.target(MASK)
    return {"image": example.image, "labels": example.labels, "mask": mask, "reference": example.reference}


def _about(file, specification):
    """Writes what the file is as attributes, and the names of the tiles."""
    file.attrs.update(
        preset=specification.config.preset,
        seed=specification.seed,
        size=specification.side,
        complete=specification.count,
        version=hou_synth.__version__,
        config=json.dumps(dataclasses.asdict(specification.config)),
        bank_settings=tiles.settings(specification.config.synthesis),
        identity=json.dumps(specification.identity()),
    )
    names = [tile.name for tile in tiles.Bank(specification.bank).tiles]
    file.create_dataset("tiles", data=names, dtype=h5py.string_dtype())


def identity(file, path):
    """What a file was made of, as `Specification.identity` says it.

    Args:
        file: open `h5py.File`.
        path: its path, for the error.

    Raises:
        ValueError: if the file does not say it.
    """
    try:
        return documents.parse(str(file.attrs["identity"]), dict[str, object], "its identity")
    except Exception as error:  # HDF5 raises types of many kinds on a damaged file
        raise ValueError(f"Expected a data set of this version. Received: {path} ({error}).") from error


def _length(path):
    """Patches in a shard, 0 if there is none."""
    try:
        with h5py.File(path, "r") as file:
            return len(file["provenance"])
    except Exception:  # HDF5 raises types of many kinds on a damaged file
        return 0


def _merge_texts(file, sources, count):
    """Writes the provenance of all patches, as JSON in strings of one length."""
    longest = 1
    for source, _ in sources:
        with readable(source) as shard:
            longest = max(longest, shard["provenance"].dtype.itemsize)
    chunks = (min(count, TEXTS),)
    texts = file.create_dataset("provenance", (count,), f"S{longest}", chunks=chunks, fletcher32=True, **PACKED)
    for source, rows in sources:
        with readable(source) as shard:
            texts[rows.start : rows.stop] = shard["provenance"][: len(rows)]


def _copy(shard, file, rows):
    """Copies the patches of a shard to rows of the file as they are, without unpacking."""
    for number, row in enumerate(rows):
        for name in FIELDS:
            rest = (0,) * (file[name].ndim - 1)
            skipped, chunk = shard[name].id.read_direct_chunk((number, *rest))
            file[name].id.write_direct_chunk((row, *rest), chunk, skipped)
