"""A classifier of lymphocytes as a version of a served model."""

import json
import pathlib

from hou_synth.io import tables
from hou_synth.lymphocytes import OUTPUT, SIDE
from models.task import folded
from train.loop import phases
from train.runs import record
from train.serving import assets, saved_model
from train.serving.signatures import ServedClassifier

CARD = """# {name}

## What it is

A network of {parameters:,} parameters that says how probable a lymphocyte is at the centre of a patch of H&E tissue.
{method}
The method is that of Hou et al., "Robust Histopathology Image Analysis: To Label or To Synthesize?" (CVPR 2019, Sec.
5.4), in the program hou_synth.

## Intended use

Research on histopathology: a first mark for lymphocytes among nuclei that are outlined already. `hou_synth.segment
--lymphocytes` asks it about each nucleus.

## Limits

- It is no medical device. It must not serve diagnosis or treatment.
- It goes by what is round, small, dark and dense: other nuclei that look so are taken for lymphocytes, plasma cells,
  granulocytes and dying cells among them.
- Patches are {side}x{side} pixels or larger, at 0.25 microns per pixel, their colours normalised as for the network of
  nuclei.

## How it was trained

{training}

## How to call it

`serving_default` takes `images`, uint8 (any, h, w, 3) RGB, and returns `{output}`, float32 (any): 0 to 1. `document`
takes `names` out of {documents} and returns `texts`.
"""
METHODS = {
    "label-free": "It was trained without a single label, on patches with painted lymphocytes and other nuclei.",
    "supervised": "It was trained on labelled places.",
}


def write(run, folder, network, result=None, version=None):
    """Writes a version of a served classifier, atomically.

    Args:
        run: folder with `config.json` and `run.json`.
        folder: `saved_models/<name>`.
        network: classifier, logits out.
        result: dict of what `scores.json` will say; None if the run's own is there, or it is not finished.
        version: number; None for the next one.

    Returns:
        The path of the version.

    Raises:
        ValueError: if the version exists.
        OSError: if it cannot be written; nothing of it stays.
    """
    folder, settings = pathlib.Path(folder), record.settings(run)
    saved_model.vacant(folder, version)
    about = assets.published(record.about(run)) | {"trained": result or record.scores(run)}
    texts = {assets.CONFIG: (run / assets.CONFIG).read_text(), assets.RUN: json.dumps(about, indent=2) + "\n"}
    texts[assets.CARD] = card(folder.name, settings, about, network, [*texts, assets.CARD])
    served = ServedClassifier(folded(network, settings.networks), texts)
    return saved_model.kept(folder, version, served, texts, network)


def card(name, settings, about, network, documents):
    """The model card, Markdown."""
    schedule, trained = settings.schedule, about["trained"]
    rows = {"kind": about["kind"]}
    if "tile_count" in about:
        rows["unlabelled tiles"] = str(about["tile_count"])
    if "training_count" in about:
        rows["labelled images"] = str(about["training_count"])
    updates = phases.task_updates(phases.phases(schedule))
    rows["updates"] = f"{updates}, {schedule.batch} patches of {schedule.patch} pixels each"
    rows |= {"preset": settings.preset, "seed": str(schedule.seed)}
    rows |= {"minutes": f"{trained['minutes']:.1f}"} if "minutes" in trained else {}
    return CARD.format(
        name=name,
        parameters=network.count_params(),
        method=METHODS[about["kind"]],
        side=SIDE,
        training=tables.markdown([["", ""], *map(list, rows.items())], 2),
        output=OUTPUT,
        documents=", ".join(f"`{document}`" for document in documents),
    )
