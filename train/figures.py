"""The paper's figures 6, 7 and 8, and the curves, from a run: `python -m train.figures --run DIR`."""

import argparse
import json
import pathlib
import sys

import numpy as np

from data import synthetic
from hou_synth.io import command, files
from train.judging import reliability, scores, unseen
from train.loop import phases
from train.loop.task_trainer import signed, unsigned
from train.pictures import plates
from train.runs import history, universal_run

TISSUES = 4  # of the plate of styles: rows and columns
WEIGHED = 200  # unseen patches behind the distribution of the weights
SORTED = 8  # of them that are shown
KINDS = 8  # tissue types of the gallery at most
EXAMPLES = 6  # patches of a type
STYLES = (
    "One mask painted with the tissue of several tiles (rows: a crop of the tile, then the initial patch), and each "
    "patch refined to several references (columns), which are other crops of the same tiles. The paper's Fig. 6 shows "
    "the same: the texture comes from the source tile, the style from the reference."
)
PANELS = {
    "refiner_loss": "refiner: loss",
    "discriminator_loss": "discriminator: loss",
    "realism": "refiner: realism",
    "accuracy": "discriminator: accuracy",
    "regularisation": "refiner: regularisation",
    "task_loss": "task network: loss a pixel",
    "hard": "refiner: hard examples",
    "dice": "task network: DICE on its training patches",
    "weight": "importance weights: mean of a batch",
    "effective": "importance weights: effective share of a batch",
}


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.figures", description="Draw the paper's figures of a run of train.universal."
    )
    parser.add_argument("--run", required=True, type=pathlib.Path, help="run folder, finished or with a checkpoint")
    parser.add_argument("--tiles", help="folder of tiles to use instead of the run's")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the figures (default: figures/ in the run folder)")
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Draws the figures and the page; returns the exit code."""
    args = arguments(argv)
    settings = universal_run.settings(args.run)
    bank, trainer = universal_run.bank(args.run, settings, args.tiles), universal_run.load(args.run, settings)
    out, sections = args.out or args.run / "figures", []
    out.mkdir(parents=True, exist_ok=True)
    for section in drawn(trainer, bank, settings, args.run):
        files.write_bytes(out / f"{section.name}.png", section.png)
        sections.append(section)
        print(out / f"{section.name}.png", flush=True)
    files.write_text(out / "index.html", plates.page(f"Run {args.run.name}", facts(args.run, settings, bank), sections))
    print(out / "index.html")
    return 0


def drawn(trainer, bank, settings, run):
    """The `plates.Section`s of a run; those of parts that it has not are left out."""
    examples = unseen.examples(bank, settings, WEIGHED)
    yield styles(trainer, bank, settings, examples)
    patches = refined(trainer, examples)
    if trainer.weighed:
        yield from weights(trainer, examples, patches)
        yield reliable(trainer, examples)
    yield gallery(examples, patches)
    curves = progress(settings, run)
    if curves:
        yield curves


def facts(run, settings, bank):
    """What a run was, as texts."""
    result = json.loads((run / "scores.json").read_text()) if (run / "scores.json").exists() else {}
    schedule = phases.phases(settings.schedule)
    found = {
        "preset": settings.preset,
        "tiles": f"{len(bank.tiles)} of {len(bank.types)} tissue types, from {bank.path.name}",
        "patches": f"{settings.schedule.patch}x{settings.schedule.patch}, in batches of {settings.schedule.batch}",
        "task updates": str(phases.task_updates(schedule)),
        "phases": ", ".join(f"{phase.name} {phase.rounds}" for phase in schedule),
    }
    if result:
        found["minutes"] = f"{result['minutes']:.1f}"
        found["on unseen synthetic patches"] = f"{scores.text(result)} (says nothing about real tissue)"
    return found


def refined(trainer, examples):
    """Refined patches of examples, (n, s, s, 3) uint8; initial ones if the run has no refiner."""
    parts = unseen.batches(examples, trainer.config.schedule.batch)
    return np.concatenate([unsigned(unseen.refined(trainer, part)).numpy() for part in parts])


def weighed(trainer, patches, references):
    """Importance weights of patches with references, (n, s, s, 3) uint8 each; (n,) float32."""
    parts = (unseen.batches(array, trainer.config.schedule.batch) for array in (patches, references))
    return np.concatenate([trainer.weight(*map(signed, both)).numpy() for both in zip(*parts, strict=True)])


def spread(items, count):
    """At most `count` items, evenly spaced, the first and the last among them."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def styles(trainer, bank, settings, examples):
    """The paper's Fig. 6: one mask with the textures of several tiles, refined to several references."""
    side, seed = settings.schedule.patch, examples[0].provenance["seed"]
    labels = max((example.labels for example in examples[:SORTED]), key=np.max)
    random, tissues = np.random.default_rng(seed), spread(bank.fitting(side), TISSUES)
    places = [synthetic.corners(random, tile.image.shape[:2], side) for tile in tissues]
    both = list(zip(tissues, places, strict=True))
    references = [synthetic.crop(tile.image, reference, side) for tile, (_, reference) in both]
    references = references if trainer.refined else []
    rows = [[plates.outlined(np.zeros((side, side, 3), np.uint8), labels), None, *map(plates.enlarged, references)]]
    for tile, (source, _) in both:
        patch = synthetic.repainted(labels, tile, source, np.random.default_rng(seed), settings.synthesis)
        row = [synthetic.crop(tile.image, source, side), patch.image, *restyled(trainer, patch.image, references)]
        rows.append([plates.enlarged(picture) for picture in row])
    left = ["mask, references", *(f"tile {number}" for number in range(1, len(tissues) + 1))]
    top = ["source", "initial", *(f"reference {number}" for number in range(1, len(references) + 1))]
    caption = f"{STYLES} The tiles: {', '.join(tile.name for tile in tissues)}."
    return plates.Section("styles", "One mask, several tissues", caption, plates.plate(rows, left=left, top=top))


def restyled(trainer, image, references):
    """An initial patch refined to each of some references, list of (s, s, 3) uint8."""
    if not references:
        return []
    return list(unsigned(trainer.patch(np.stack([image] * len(references)), np.stack(references))).numpy())


def weights(trainer, examples, patches):
    """The paper's Fig. 7: how importance weights are distributed, and which patches have which."""
    references, real = unseen.stacked(examples, "reference", "real")
    own = weighed(trainer, patches, references)
    samples = {
        "refined": own,
        "refined, with a reference of another tile": weighed(trainer, patches, elsewhere(examples, references)),
        "real": weighed(trainer, real, references),
    }
    yield plates.Section(
        "weights",
        "Distribution of the importance weights",
        f"Weights of {len(own)} refined patches that training never saw, of the same with a reference of another tile, "
        "and of real patches. The paper's Fig. 7a divides refined patches by what a pathologist called real and fake: "
        "the real ones have higher weights. Here a weight should be lower where the reference does not fit.",
        plates.histogram(samples, "importance weight"),
    )
    chosen = spread(list(np.argsort(own, kind="stable")), SORTED)
    shown = [[plates.enlarged(array[number]) for number in chosen] for array in (references, patches)]
    yield plates.Section(
        "sorted",
        "Patches by their weight",
        "References, refined patches and their weights, the lowest on the left; evenly spaced among all. The paper's "
        "Fig. 7b: patches that do not match their reference count less, those that do count more.",
        plates.plate(
            shown, [[""] * len(chosen), [f"{own[number]:.2f}" for number in chosen]], left=["reference", "refined"]
        ),
    )


def reliable(trainer, examples):
    """Reliability curve of the discriminator."""
    found = reliability.reliability(trainer, examples)
    return plates.Section(
        "reliability",
        "Is the discriminator's probability a probability?",
        f"Real and refined patches that training never saw, {len(examples)} each, by what the discriminator says of "
        "them: on the line it says neither too much nor too little. The numbers are those of the patches. Mean "
        f"distance from the line {found.error:.3f}; the weights leave {found.effective:.0f} of {len(examples)} refined "
        "patches' worth of information. The paper does not show this.",
        plates.agreement(found.rows),
    )


def elsewhere(examples, references):
    """For each example the reference of a following one that is of another tile, if there is any."""
    tiles = [example.provenance["tile"] for example in examples]
    others = [
        next((k % len(tiles) for k in range(i, i + len(tiles)) if tiles[k % len(tiles)] != tiles[i]), i)
        for i in range(len(tiles))
    ]
    return references[others]


def gallery(examples, patches):
    """The paper's Fig. 8: refined patches of every tissue type with the outlines of their masks."""
    kinds = sorted({example.provenance["type"] for example in examples})
    rows, left = [], []
    for kind in spread(kinds, KINDS):
        own = [n for n, example in enumerate(examples) if example.provenance["type"] == kind]
        own = [n for n in own if examples[n].labels.any()][:EXAMPLES]
        if own:
            rows.append([plates.enlarged(patches[n]) for n in own])
            rows.append([plates.outlined(patches[n], examples[n].labels) for n in own])
            left += [kind or "refined", "with its mask"]
    return plates.Section(
        "gallery",
        "Refined patches by tissue type",
        "Patches that training never saw, and below each the outlines of the mask it was painted from, which is its "
        "ground truth. The paper's Fig. 8a.",
        plates.plate(rows, left=left),
    )


def progress(settings, run):
    """Losses and accuracies of all phases; None for a run without a history."""
    done, ends, found = 0, {}, {}
    for number, phase in enumerate(phases.phases(settings.schedule), 1):
        columns = history.read(run / "history" / f"{number}_{phase.name}.csv")
        each = sum(phase.updates)
        for name in PANELS.keys() & columns.keys():
            found.setdefault(name, []).append((done + each * columns["round"], columns[name]))
        done += phase.rounds * each
        ends[phase.name] = done
    if not found:
        return None
    return plates.Section(
        "curves",
        "Losses and accuracies",
        f"Every round (pale) and a moving average, over the updates of all networks. Grey lines end the phases: "
        f"{', '.join(ends)}. The accuracy is on real and refined patches, 0.5 if the discriminator cannot tell them. "
        "The paper shows no curves.",
        plates.curves({title: found[name] for name, title in PANELS.items() if name in found}, ends),
    )


if __name__ == "__main__":
    sys.exit(main())
