"""The texts that lie beside an exported model and that its signature `document` tells."""

import collections
import json

from data import tiles
from train.judging.scores import read as read_table
from train.runs import record
from train.serving import labels_json
from train.serving.card import Facts, card

CONFIG, RUN, LABELS, CARD = "config.json", "run.json", "labels.json", "model_card.md"
TASK = "task.keras"  # the network itself lies beside them, for `train.finetune` to go on from
COUNTED = ("tile_names", "labelled", "training", "validation")  # lists of names in run.json
COPIED = (
    "updates",
    "versions",
    "machine",
    "adapted_from",
    "tile_digest",
)  # and what else of it a published model tells: nothing with a path


def read(paths):
    """Rows of tables that `train.evaluate --out` wrote, see `train.judging.scores.read`."""
    return [row for path in paths for row in read_table(path)]


def written(run, name, task, refinement=None, scores=(), result=None):
    """The texts of a model by the names of their files.

    Args:
        run: folder with `config.json` and `run.json`.
        name: of the model.
        task: task network.
        refinement: `train.serving.signatures.Refinement` or None.
        scores: rows as `read` returns them.
        result: dict of what `scores.json` says or will say; None to look there.
    """
    settings, about = record.settings(run), published(record.about(run))
    about["trained"] = result or record.scores(run)
    contrast = list(record.contrasts(run).values())[-1:]
    facts = Facts(settings, about, task, refinement, list(scores), contrast[0] if contrast else {})
    return {
        CONFIG: (run / CONFIG).read_text(),
        RUN: json.dumps(about, indent=2) + "\n",
        LABELS: json.dumps(labels_json.labels(settings, bool(refinement)), indent=2) + "\n",
        CARD: card(name, facts),
    }


def published(recorded):
    """What of a `run.json` goes with a model: numbers and tissue types, no names of tiles, paths or command line."""
    about = {f"{key}_count".replace("_names", ""): len(recorded[key]) for key in COUNTED if key in recorded}
    if "tile_names" in recorded:
        types = collections.Counter(name.split("/")[0] if "/" in name else "" for name in recorded["tile_names"])
        about |= {"tissue_types": dict(types), "embedded": recorded.get("tiles") == tiles.EMBEDDED}
    return {"kind": kind(recorded), **about, **{key: recorded[key] for key in COPIED if key in recorded}}


def kind(recorded):
    """How a run was trained, of its `run.json`."""
    if "adapted_from" in recorded:
        return "adapted"
    if "tile_names" in recorded:
        return "universal + real" if recorded.get("labelled") else "label-free"
    return "finetuned" if "model" in recorded else "supervised"
