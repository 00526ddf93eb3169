"""A data set as folders of PNGs, as the authors' released program writes it: image, mask, refer."""

import csv
import heapq
import itertools
import json
import operator
import os
import pathlib
import shutil

from data.sets import hdf5
from data.sets import specification as specifications
from hou_synth import config
from hou_synth.io import files

FOLDERS = ("image", "mask", "refer")
COLUMNS = ("index", "tile", "type", "textures", "seed", "source", "reference", "real", "overlap")
PIXEL = 5.0  # bytes a pixel of the three PNGs; measured 4.1 on embedded tissue
PATCH = 12000  # blocks of the file system, that three files a patch leave half empty, and provenance


class Store:
    """A data set in a folder: a patch is complete with its three PNGs and its line of provenance.

    Attributes:
        path: the folder.
        specification: `Specification`.
        held: patches that a finished data set there holds.
    """

    merges = False
    damage = ""  # a missing file is made again

    def __init__(self, path, specification):
        """Looks at what is there.

        Args:
            path: the folder to fill.
            specification: `Specification`.

        Raises:
            ValueError: if it belongs to another specification, or holds something else.
        """
        self.path, self.specification = pathlib.Path(path), specification
        self.parts = self.path / "provenance.parts"
        if not (self.path / specifications.IDENTITY).exists():
            files.refuse_existing(self.path)
        specification.refuse_begun(self.path)
        self.held = sum(1 for _ in rows(self.path / "provenance.csv"))
        specification.refuse_fewer(self.held, self.path)

    def begin(self):
        """Makes the folders, and removes what a killed run left half written."""
        self.specification.begin(self.path)
        config.save(self.specification.config, self.path / "config.json")
        for folder in (*FOLDERS, self.parts.name):
            (self.path / folder).mkdir(exist_ok=True)
            for stray in (self.path / folder).glob("*.part"):
                stray.unlink(missing_ok=True)

    def missing(self):
        """First patches of the shards that are still to be made."""
        complete = set.intersection(*(_listed(self.path / folder) for folder in FOLDERS))
        starts = range(0, self.specification.count, specifications.SHARD)
        return [start for start in starts if not self._made(start, complete)]

    def _made(self, start, complete):
        """Whether a shard has its files, out of the names of the complete patches, and its provenance."""
        shard = self.specification.shard(start)
        told = shard[-1] < self.held or _count(self._part(start)) == len(shard)
        return told and all(name(index) in complete for index in shard)

    def write(self, start):
        """Makes the patches of one shard; returns how many they are."""
        told = []
        for index, made in zip(self.specification.shard(start), self.specification.examples(start), strict=True):
            arrays = (made.image, made.target(hdf5.MASK), made.reference)
            for folder, array in zip(FOLDERS, arrays, strict=True):
                files.write_png(self.path / folder / name(index), array)
            told.append(
                {key: json.dumps(v) if isinstance(v, tuple | list) else v for key, v in made.provenance.items()}
            )
        files.write_csv(self._part(start), told, COLUMNS)
        return len(told)

    def finish(self):
        """Gathers the provenance of all patches in one table."""
        path, parts = self.path / "provenance.csv", sorted(self.parts.glob("*.csv"))
        index = operator.itemgetter(0)
        both = heapq.merge(rows(path), itertools.chain.from_iterable(map(rows, parts)), key=index)
        with files.replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(next(same) for _, same in itertools.groupby(both, key=index))
        shutil.rmtree(self.parts)

    def size(self):
        """Bytes of the PNGs."""
        return sum(entry.stat().st_size for folder in FOLDERS for entry in os.scandir(self.path / folder))

    def _part(self, start):
        return self.parts / f"{start:08d}.csv"


def name(index):
    """File name of a patch."""
    return f"{index:06d}.png"


def _listed(folder):
    """Names in a folder, if there is one."""
    return set(os.listdir(folder)) if folder.exists() else set()


def _count(path):
    """Rows of a table of provenance, 0 if it is damaged."""
    try:
        return sum(1 for _ in rows(path))
    except ValueError:
        return 0


def rows(path):
    """Yields the rows of a table of provenance, with their index as a number; none if there is no table.

    Raises:
        ValueError: naming the file, if it is damaged.
    """
    if path.exists():
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            try:
                next(reader, None)
                for index, *rest in reader:
                    yield int(index), *rest
            except (csv.Error, ValueError) as error:
                raise ValueError(
                    f"Expected a table of provenance. Received: {path}, which is damaged ({error}). "
                    "Delete it, and the command that made it makes these patches and it anew."
                ) from error
