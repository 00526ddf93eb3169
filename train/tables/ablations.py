"""The rows of the paper's Table 3 and their controls: what is left out of the method, and how each is trained."""

import argparse
import dataclasses

from hou_synth import config, options

NO_REFINER = {"refiner_steps": 0, "refiner_updates": 0}
NO_DISCRIMINATOR = {"discriminator_steps": 0, "discriminator_updates": 0}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        title: for a person.
        changes: what it changes of the configuration.
        paper: DICE average of the paper's Table 3 on MICCAI17.
    """

    title: str
    changes: dict
    paper: str = ""


ROWS = {
    "all": Row("all", {}, "0.7612"),
    "no-hard": Row("no hard examples", {"gamma": 0.0}, "0.7476"),
    "no-reference": Row("no reference patch", {"reference": False}, "0.7410"),
    "no-weights": Row("no importance weights", {"weighting": "none"}, "0.7533"),
    "shuffled": Row("weights shuffled among patches", {"weighting": "shuffle"}),
    "no-refiner": Row("no refiner: initial patches, weighted", NO_REFINER),
    "hou2017": Row("no importance weights, one output head: Hou et al. 2017", {"weighting": "none", "heads": 1}),
    "initial": Row("initial patches alone: no refiner, no weights", {**NO_REFINER, **NO_DISCRIMINATOR}),
}


def check(settings, rows):
    """Refuses rows that leave out what a configuration does not have.

    Args:
        settings: `Config` of the row `all`.
        rows: names out of `ROWS`.

    Raises:
        ValueError: naming the row that would be like `all`.
    """
    whole = {name: value for group in config.GROUPS for name, value in vars(getattr(settings, group)).items()}
    for name in rows:
        changes = ROWS[name].changes
        if changes and changes.items() <= whole.items():
            raise ValueError(f"Expected rows that differ from `all`. Received: {name} with {changes}.")


def words(row, seed, wanted, where, tiles=None):
    """The command line of a training, from the module's name on.

    Args:
        row: name out of `ROWS`.
        seed: of the training.
        wanted: options of the configuration, as `hou_synth.options.given` returns them.
        where: options that say where it lies.
        tiles: folder; None for the embedded tissue.
    """
    tissue = ["--tiles", tiles] if tiles else []
    preset = [] if "--preset" in wanted else ["--preset", "cpu"]
    changes = options.given(argparse.Namespace(**ROWS[row].changes))  # the last of an option's values counts
    return ["train.universal", *tissue, *where, *preset, *wanted, *changes, "--seed", str(seed)]
