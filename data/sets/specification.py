"""What a data set on disk is made of: two equal specifications give equal pixels."""

import dataclasses
import functools
import hashlib
import json

import hou_synth
from data import synthetic, tiles
from hou_synth.config import Config
from hou_synth.io import documents, files

VERSION = 1  # of the data sets' format
IDENTITY = "request.json"
SHARD = 64  # patches that are written as one; what a killed run may lose of each worker


@dataclasses.dataclass(frozen=True)
class Specification:
    """A data set that is asked for.

    Attributes:
        config: `Config`, of which the synthesis counts.
        seed: of the whole set.
        side: of the patches.
        count: of the patches.
        bank: path of the tile bank.
        tiles: `fingerprint` of the bank.
    """

    config: Config
    seed: int
    side: int
    count: int
    bank: str
    tiles: str

    def identity(self):
        """Everything that the pixels depend on, as a dict for JSON."""
        versions = {"format": VERSION, "hou_synth": hou_synth.__version__}
        own = {**versions, "seed": self.seed, "size": self.side, "tiles": self.tiles}
        return {**own, **json.loads(tiles.settings(self.config.synthesis)), **dataclasses.asdict(self.config.synthesis)}

    def refuse_other(self, recorded, path):
        """Raises ValueError, naming what differs, if `recorded` is not the identity of this specification."""
        wanted = self.identity()
        keys = sorted(wanted.keys() | recorded.keys())
        differing = [
            f"{key}: {recorded.get(key)} != {wanted.get(key)}" for key in keys if recorded.get(key) != wanted.get(key)
        ]
        if differing:
            raise ValueError(
                f"Expected the settings that {path} was begun with. Received: {'; '.join(differing)}. "
                "Name another --out, or delete it."
            )

    def refuse_fewer(self, held, path):
        """Raises ValueError if there are more patches already than this specification wants."""
        if self.count < held:
            raise ValueError(f"Expected a count of at least {held}, as in {path}. Received: {self.count}.")

    def refuse_begun(self, folder):
        """Raises ValueError if the folder of an unfinished data set was begun with another specification."""
        if (folder / IDENTITY).exists():
            self.refuse_other(documents.read(folder / IDENTITY, dict[str, object]), folder)

    def begin(self, folder):
        """Makes the folder of an unfinished data set, with this specification's identity in it."""
        folder.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / IDENTITY, json.dumps(self.identity(), indent=2) + "\n")

    def shard(self, start):
        """The range of patches that is written with the one at `start`."""
        return range(start, min(start + SHARD, self.count))

    def examples(self, start):
        """Yields the examples of a shard."""
        bank = _opened(self.bank, self.tiles)
        for index in self.shard(start):
            yield synthetic.example(bank, self.seed, index, self.side, self.config.synthesis)


def fingerprint(bank):
    """A text that changes when a tile of the bank does.

    Args:
        bank: `data.tiles.Bank`.
    """
    return hashlib.sha1(json.dumps(sorted(bank.stamps.items())).encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=2)
def _opened(path, wanted):
    """The bank, opened once in a process.

    Raises:
        ValueError: if it is another one by now, or on this machine.
    """
    bank = tiles.Bank(path)
    if fingerprint(bank) != wanted:
        raise ValueError(
            f"Expected the tile bank of the specification, {wanted}. Received: {path}, {fingerprint(bank)}."
        )
    return bank
