"""The texts that lie beside an exported model and that its signature `document` tells."""

import collections
import json

from data import tiles
from hou_synth import config
from train.judging.scores import read as read_table
from train.serving import labels_json
from train.serving.card import Facts, card

CONFIG, RUN, LABELS, CARD = "config.json", "run.json", "labels.json", "model_card.md"
TASK = "task.keras"  # the network itself lies beside them, for `train.finetune` to go on from
COUNTED = ("tile_names", "labelled", "training", "validation")  # lists of names in run.json
COPIED = ("updates", "versions", "machine")  # and what else of it a published model tells: nothing with a path


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
    settings, about = config.load(run / CONFIG), published(json.loads((run / RUN).read_text()))
    result = result or _json(run / "scores.json")
    about["trained"] = result
    contrast = list(_json(run / "contrast.json").values())[-1:]
    facts = Facts(settings, about, task, refinement, list(scores), contrast[0] if contrast else {})
    return {
        CONFIG: (run / CONFIG).read_text(),
        RUN: json.dumps(about, indent=2) + "\n",
        LABELS: json.dumps(labels_json.labels(settings, bool(refinement)), indent=2) + "\n",
        CARD: card(name, facts),
    }


def published(record):
    """What of a `run.json` goes with a model: numbers and tissue types, no names of tiles, paths or command line."""
    about = {f"{key}_count".replace("_names", ""): len(record[key]) for key in COUNTED if key in record}
    if "tile_names" in record:
        types = collections.Counter(name.split("/")[0] if "/" in name else "" for name in record["tile_names"])
        about |= {"tissue_types": dict(types), "embedded": record.get("tiles") == tiles.EMBEDDED}
    return {"kind": kind(record), **about, **{key: record[key] for key in COPIED if key in record}}


def kind(record):
    """How a run was trained, of its `run.json`."""
    if "tile_names" in record:
        return "universal + real" if record.get("labelled") else "label-free"
    return "finetuned" if "model" in record else "supervised"


def _json(path):
    return json.loads(path.read_text()) if path.exists() else {}
