"""The paper's figures 6, 7 and 8 and the curves of a run, and the page that holds them."""

import numpy as np

from data import synthetic
from hou_synth.io import files
from train.judging import reliability, scores, unseen
from train.loop import phases
from train.loop.task_trainer import signed, unsigned
from train.pictures import plates
from train.runs import history, record

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


def write(run, out):
    """Draws the figures of a run and the page that holds them.

    Args:
        run: `train.runs.universal_run.Run`.
        out: folder; made if it is not there.

    Yields:
        The path of each file, when it is written.
    """
    out.mkdir(parents=True, exist_ok=True)
    sections = []
    for section in drawn(run):
        path = out / f"{section.name}.png"
        files.write_bytes(path, section.png)
        sections.append(section)
        yield path
    files.write_text(out / "index.html", plates.page(f"Run {run.folder.name}", facts(run), sections))
    yield out / "index.html"


def drawn(run):
    """The `plates.Section`s of a run; those of parts that it has not are left out."""
    examples = unseen.examples(run.bank, run.settings, WEIGHED)
    yield styles(run, examples)
    patches = refined(run.trainer, examples)
    if run.trainer.weighed:
        yield from weights(run.trainer, examples, patches)
        yield reliable(run.trainer, examples)
    yield gallery(examples, patches)
    curves = progress(run.folder, run.settings)
    if curves:
        yield curves


def facts(run):
    """What a run was, as texts."""
    result, schedule = record.scores(run.folder), run.settings.schedule
    phases_of_run = phases.phases(schedule)
    texts = {
        "preset": run.settings.preset,
        "tiles": f"{len(run.bank.tiles)} of {len(run.bank.types)} tissue types, from {run.bank.path.name}",
        "patches": f"{schedule.patch}x{schedule.patch}, in batches of {schedule.batch}",
        "task updates": str(phases.task_updates(phases_of_run)),
        "phases": ", ".join(f"{phase.name} {phase.rounds}" for phase in phases_of_run),
    }
    if result:
        texts["minutes"] = f"{result['minutes']:.1f}"
        texts["on unseen synthetic patches"] = f"{scores.text(result)} (says nothing about real tissue)"
    return texts


def refined(trainer, examples):
    """Refined patches of examples, (n, s, s, 3) uint8; initial ones if the run has no refiner."""
    return repainted(trainer, *unseen.stacked(examples, "image", "reference"))


def repainted(trainer, images, references):
    """Initial patches refined to references, (n, s, s, 3) uint8; as they are if the run has no refiner."""
    return unseen.in_batches(trainer, lambda *both: unsigned(trainer.patch(*both)), images, references)


def weighed(trainer, patches, references):
    """Importance weights of patches with references, (n, s, s, 3) uint8 each; (n,) float32."""
    return unseen.in_batches(trainer, lambda *both: trainer.weight(*map(signed, both)), patches, references)


def spread(items, count):
    """At most `count` items, evenly spaced, the first and the last among them."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def styles(run, examples):
    """The paper's Fig. 6: one mask with the textures of several tiles, refined to several references."""
    side, seed = run.settings.schedule.patch, examples[0].provenance["seed"]
    labels = max((example.labels for example in examples[:SORTED]), key=np.max)
    random, tissues = np.random.default_rng(seed), spread(run.bank.fitting(side), TISSUES)
    places = [synthetic.corners(random, tile.image.shape[:2], side) for tile in tissues]
    both = list(zip(tissues, places, strict=True))
    references = [synthetic.crop(tile.image, reference, side) for tile, (_, reference) in both]
    references = references if run.trainer.refined else []
    rows = [[plates.outlined(np.zeros((side, side, 3), np.uint8), labels), None, *map(plates.enlarged, references)]]
    for tile, (source, _) in both:
        patch = synthetic.repainted(labels, tile, source, np.random.default_rng(seed), run.settings.synthesis)
        row = [synthetic.crop(tile.image, source, side), patch.image, *restyled(run.trainer, patch.image, references)]
        rows.append([plates.enlarged(picture) for picture in row])
    left = ["mask, references", *(f"tile {number}" for number in range(1, len(tissues) + 1))]
    top = ["source", "initial", *(f"reference {number}" for number in range(1, len(references) + 1))]
    caption = f"{STYLES} The tiles: {', '.join(tile.name for tile in tissues)}."
    return plates.Section("styles", "One mask, several tissues", caption, plates.plate(rows, left=left, top=top))


def restyled(trainer, image, references):
    """An initial patch refined to each of some references, list of (s, s, 3) uint8."""
    if not references:
        return []
    return list(repainted(trainer, np.stack([image] * len(references)), np.stack(references)))


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
    curve = reliability.reliability(trainer, examples)
    return plates.Section(
        "reliability",
        "Is the discriminator's probability a probability?",
        f"Real and refined patches that training never saw, {len(examples)} each, by what the discriminator says of "
        "them: on the line it says neither too much nor too little. The numbers are those of the patches. Mean "
        f"distance from the line {curve.error:.3f}; the weights leave {curve.effective:.0f} of {len(examples)} refined "
        "patches' worth of information. The paper does not show this.",
        plates.agreement(curve.rows),
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


def progress(folder, settings):
    """Losses and accuracies of all phases; None for a run without a history."""
    done, ends, series = 0, {}, {}
    for number, phase in enumerate(phases.phases(settings.schedule), 1):
        columns = history.read(folder / "history" / f"{number}_{phase.name}.csv")
        updates = sum(phase.updates)
        for name in PANELS.keys() & columns.keys():
            series.setdefault(name, []).append((done + updates * columns["round"], columns[name]))
        done += phase.rounds * updates
        ends[phase.name] = done
    if not series:
        return None
    return plates.Section(
        "curves",
        "Losses and accuracies",
        f"Every round (pale) and a moving average, over the updates of all networks. Grey lines end the phases: "
        f"{', '.join(ends)}. The accuracy is on real and refined patches, 0.5 if the discriminator cannot tell them. "
        "The paper shows no curves.",
        plates.curves({title: series[name] for name, title in PANELS.items() if name in series}, ends),
    )
