"""Studies made: patches real and synthetic of a run (paper Sec. 4.3), outlines of two models (Sec. 5.3)."""

import dataclasses

import numpy as np
from tqdm import tqdm

import hou_synth
from data import draws, synthetic, tiles
from hou_synth.io import files, image_files
from train.judging import unseen
from train.pictures import report
from train.runs import universal_run
from train.studies import study


def reality(folder, run, tissue, count, seed):
    """Makes a study of real, initial and refined patches, each of a place and a mask of its own.

    Args:
        folder: of the study.
        run: folder of a run of `train.universal`; of one without a refiner there are no refined patches.
        tissue: folder of tiles in place of the run's, or None.
        count: of each kind.
        seed: of the patches and of the orders.
    """
    files.refuse_existing(folder)
    loaded = universal_run.load(run, tissue)
    trainer, schedule, synthesis = loaded.trainer, loaded.settings.schedule, loaded.settings.synthesis
    kinds = study.KINDS if trainer.refined else study.KINDS[:2]
    made = [
        synthetic.example(loaded.bank, schedule.seed + unseen.OTHER_SEED + seed, index, schedule.patch, synthesis)
        for index in tqdm(range(count * len(kinds)), "patches", unit="patch", disable=None)
    ]
    pictures = [example.real for example in made[:count]] + [example.image for example in made[count : 2 * count]]
    weights = [None] * len(pictures)
    if refined := made[2 * count :]:
        patches = report.refined(trainer, refined)
        pictures += list(patches)
        weights += weighed(trainer, patches, refined)
    items = [
        study.Item(example.provenance["tile"], kinds[place // count], weights[place])
        for place, example in enumerate(made)
    ]

    def draw(stem, place):
        files.write_png(stem.with_suffix(".png"), pictures[place])

    about = {"run": run.resolve().name, "preset": loaded.settings.preset}
    study.write(folder, study.REALITY, seed, about, items, draw)


def weighed(trainer, patches, examples):
    """Importance weights of refined patches (n, s, s, 3) of examples, list of n floats; of None if it has none."""
    if not trainer.weighed:
        return [None] * len(examples)
    return report.weighed(trainer, patches, *unseen.stacked(examples, "reference")).tolist()


def outlines(folder, models, tissue, count, side, seed):
    """Makes a study of the outlines of two models on the same fields.

    Args:
        folder: of the study.
        models: paths of SavedModels A and B.
        tissue: `data.tile_options.TileFolder`.
        count: of the fields; from different tiles as long as there are some, tissue types in turn.
        side: of a field in pixels at 40X; of smaller tiles, all that there is.
        seed: of the fields and of the orders.
    """
    files.refuse_existing(folder)
    both = dict(zip(study.MODELS, map(hou_synth.load, models), strict=True))
    random = np.random.default_rng(seed)
    sources = tiles.folder_sources(tissue.path, tissue.table, tissue.microns_per_pixel)
    typed = [dataclasses.replace(each, type=each.type or tiles.tissue_type(each.name)) for each in sources]
    order = draws.in_turn(random.permutation(len(typed)), typed)
    chosen = [typed[order[place % len(order)]] for place in range(count)]
    items = [study.Item(source.name) for source in chosen]
    bar = tqdm(total=count, desc="fields", unit="field", disable=None)

    def draw(stem, place):
        image = chosen[place].read()
        top, left = (int(random.integers(max(length - side, 0) + 1)) for length in image.shape[:2])
        field = np.ascontiguousarray(image[top : top + side, left : left + side])
        files.write_png(stem.with_suffix(".png"), field)
        for name, model in both.items():
            image_files.write(stem.with_name(f"{stem.name}_{name}"), model.segment(field))
        bar.update()

    with bar:
        about = {name: model.identity for name, model in both.items()}
        study.write(folder, study.OUTLINES, seed, about, items, draw)
