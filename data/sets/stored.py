"""Training examples out of a data set on disk, in place of fresh ones."""

import functools
import hashlib
import json

import numpy as np

from data import augment, synthetic
from data.sets import dataset, hdf5, specification
from hou_synth.config import Synthesis
from hou_synth.io import documents

TEXTS = 1024  # provenances that are read together


class Stored:
    """Patches with references that `data.synthesize` wrote, as training examples of any index.

    They are taken round by round, each patch once in a round, in an order that seed and round give. The second real
    patch of a reference's tile is not on disk: it is cut anew from the tile each time.

    Attributes:
        path: of the file.
        count: of the patches in it.
        about: text that says what they are; of equal texts the pixels are equal.
    """

    def __init__(self, path, bank, config, paired=True):
        """Opens a data set and finds that a run can learn from it.

        Args:
            path: HDF5 file.
            bank: `data.tiles.Bank` of the run.
            config: `Config` of the run.
            paired: whether the run needs second real patches; if not, the references stand in for them.

        Raises:
            ValueError: if it is no complete data set, if its patches are not as the run would make them, or if they are
                of tiles that the run needs and does not have.
        """
        self.path, self.bank, self.config = path, bank, config
        self._file = dataset.opened(path)
        self.count, side = self._file["image"].shape[:2]
        identity = hdf5.identity(self._file, path)
        self._check(identity, side)
        digest = hashlib.sha256(json.dumps([identity, self.count], sort_keys=True).encode()).hexdigest()
        self.about = f"{self.count} of {side}x{side}, {digest[:16]}"
        self._tiles = self._found(side) if paired else None
        self._order = functools.lru_cache(maxsize=2)(self._shuffled)

    def close(self):
        """Closes the file."""
        self._file.close()

    def training(self, index):
        """As `data.synthetic.training`: image, reference, real and target bits.

        Raises:
            ValueError: naming the patch, if it is damaged.
        """
        turn, place = divmod(index, self.count)
        row = int(self._order(turn)[place])
        patch = dataset.row(self._file, self.path, row)
        real = self._real(row, index) if self._tiles else patch["reference"]
        return [patch["image"], patch["reference"], real, self._target(patch)[..., None]]

    def _check(self, identity, side):
        """Raises ValueError if the run would make other patches."""
        own, losses = self.config.schedule.patch, self.config.losses
        if side != own:
            raise ValueError(
                f"Expected patches of {own}x{own}, as --patch says. Received: {self.path} of {side}x{side}."
            )
        recorded = {**vars(Synthesis()), **identity}  # what an older file lacks meant today's defaults
        wanted = {"format": specification.VERSION, **vars(self.config.synthesis)}
        differing = [
            f"{key} {recorded.get(key)}, not {wanted[key]}" for key in wanted if recorded.get(key) != wanted[key]
        ]
        if differing:
            raise ValueError(
                f"Expected patches of the run's synthesis: the same --preset. Received: {self.path} with "
                f"{'; '.join(differing)}."
            )
        if losses.detection == hdf5.MASK.detection and losses.centre_dilation != hdf5.MASK.centre_dilation:
            raise ValueError(
                f"Expected --centre-dilation {hdf5.MASK.centre_dilation}, which the centres of a data set have. "
                f"Received: {losses.centre_dilation}."
            )

    def _found(self, side):
        """The tile of each patch, list of `data.tiles.Tile`.

        Raises:
            ValueError: if one is not in the bank.
        """
        known, texts = {tile.name: tile for tile in self.bank.fitting(side)}, self._file["provenance"]
        made = (text for start in range(0, self.count, TEXTS) for text in texts[start : start + TEXTS])
        names = [documents.parse(text, dict[str, object], f"a provenance of {self.path}")["tile"] for text in made]
        missing = sorted(set(names) - known.keys())
        if missing:
            raise ValueError(
                f"Expected the tiles that {self.path} was made of, of which the discriminator sees more. "
                f"Received: tiles without {missing[0]}" + (f" and {len(missing) - 1} others." if missing[1:] else ".")
            )
        return [known[name] for name in names]

    def _shuffled(self, turn):
        """The order of the patches in a round."""
        return np.random.default_rng([self.config.schedule.seed, turn, 0]).permutation(self.count)

    def _real(self, row, index):
        """A real patch of a patch's tile, (s, s, 3) uint8."""
        random, tile = np.random.default_rng([self.config.schedule.seed, index, 1]), self._tiles[row]
        side = self.config.schedule.patch
        real = synthetic.crop(tile.image, synthetic.anywhere(random, tile.image.shape[:2], side), side)
        turned = augment.turned(random, real)[0]
        self.bank.free_pages(side)
        return turned

    def _target(self, patch):
        """Target of the task network, (s, s) uint8, as `data.synthetic.target`."""
        losses, mask = self.config.losses, patch["mask"]
        if losses.detection == hdf5.MASK.detection:
            return mask
        return synthetic.target(patch["labels"], mask & synthetic.CENTRE > 0, mask & synthetic.CONTOUR > 0, losses)
