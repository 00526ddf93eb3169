"""How the cells of a protocol are trained: command lines with equal budgets."""

import dataclasses
import pathlib

from hou_synth import config
from train.loop import phases
from train.runs import labelled_options
from train.tables import budget, sweep


@dataclasses.dataclass(frozen=True)
class Study:
    """What all cells have in common.

    Attributes:
        out: folder of the cells.
        named: `train.runs.labelled_options.Named`, the images that may be trained with.
        settings: `Config`.
        options: of the configuration, as `hou_synth.options.given` returns them.
        tiles: folder of unlabelled tiles; None for the embedded tissue.
        minutes: bound of each training; None for none.
    """

    out: pathlib.Path
    named: labelled_options.Named
    settings: config.Config
    options: list
    tiles: str | None = None
    minutes: float | None = None

    def words(self, cell):
        """The command line of a cell's training, from the module's name on."""
        where = sweep.places(self.out, cell.name)
        data = [*self.named.words(), "--only", *cell.training]
        if cell.kind == "finetune":
            model, seed = self.out / f"universal-{cell.network}", ["--seed", str(self.settings.schedule.seed)]
            updates = self._updates(cell, labelled_options.FINETUNE_UPDATES)
            return ["train.finetune", "--model", str(model), "--data", *data, *where, *seed, "--updates", updates]
        wanted = [*self.options, "--network", cell.network]
        if cell.kind == "supervised":
            updates = self._updates(cell, phases.task_updates(phases.phases(self.settings.schedule)))
            return ["train.supervised", "--data", *data, *where, *wanted, "--updates", updates]
        tissue = ["--tiles", self.tiles] if self.tiles else []
        real = ["--labelled", *data] if cell.kind == "real" else []
        bank = ["--bank", str(self.out / "tiles.h5")]
        return ["train.universal", *tissue, *real, *bank, *where, *wanted, *self._schedule(cell)]

    def _updates(self, cell, count):
        """Text of the updates that fit into the minutes, out of so many."""
        return str(self._affordable(cell, {"task": count})["task"])

    def _schedule(self, cell):
        """Options of the schedule's rounds and steps that fit into the minutes."""
        counts = self._affordable(cell, {name: getattr(self.settings.schedule, name) for name in budget.COUNTS})
        return [word for name, count in counts.items() for word in ("--" + name.replace("_", "-"), str(count))]

    def _affordable(self, cell, counts):
        return budget.affordable(self.out, self.minutes, self.settings, cell, counts)
