"""The model card: what a reader should know of a model who knows nothing of the run."""

import dataclasses
import re

from hou_synth import config
from hou_synth.io import tables
from train.judging.scores import SHOWN, means
from train.loop import phases
from train.serving import labels_json

METHODS = {
    "label-free": "It was trained without a single label, on synthetic patches that a GAN refined towards real tissue.",
    "universal + real": "It was trained on labelled images and on synthetic patches that a GAN refined.",
    "supervised": "It was trained on labelled images alone.",
    "adapted": "A trained model, {}, was adapted to unlabelled tiles. Its own card says what it learned from before.",
    "finetuned": "A label-free model was trained on with labelled images.",
}
PLAIN = "It was trained without a single label, on synthetic patches as they were drawn."
TAUGHT = "After that it learned from the nuclei that it found itself on unlabelled tiles where it was sure of them."
USE = """Research on histopathology: outlines, counts, sizes and shapes of nuclei in images stained with haematoxylin
and eosin (H&E) at 40X (0.25 microns per pixel), and first outlines for annotators to correct. Look at its outlines on
some of your own images before you rely on its numbers."""
LIMITS = """- It is no medical device. It must not serve diagnosis or treatment.
- All nuclei are one class: it does not tell kinds of cells apart. A pixel belongs to one nucleus at most, so nuclei
  that overlap are cut.
- Images of another resolution must be resampled to 0.25 microns per pixel, and colours normalised as in training
  (Reinhard; numbers in `labels.json`). hou_synth's clients do both, the model itself does neither.
- Other stains (immunohistochemistry, for example), frozen sections, smears and blurred images were not tried."""
LICENCE = """The licence of the program is not one for the model. Whoever owns the tissue images that it learned from
decides about its use; ask them before you pass it on."""
NUCLEI = """The model returns probabilities. The client makes nuclei of them by a seeded watershed
(`hou_synth.instances.nuclei`) with these numbers, lengths in pixels; `typical_area` says which images it shows to the
model a second time, enlarged (`hou_synth.inference.segment`). They are in `config.json` too, which the signature
`document` tells to clients.

"""
CHOSEN = """Of these, compactness, transposed and typical_area of preset {} were chosen by scores on 16 labelled images
(kumar16), and seed_height and mean_min too, but for presets thorough and adapt. There these two, and line in all, were
chosen without labels, by `train.thresholds`, whose rule was set after seeing such scores. Settings of the synthesis
among about a dozen, the limits of self-training, and how much better by the criterion without labels an earlier state
must be to be kept, were chosen by those scores. Training itself reads no label."""
MAPS = """For each pixel it returns two numbers from 0 to 1:

- `segmentation`: {}
- `detection`: {}

Nuclei are made of the two by the client, see below. `labels.json` says the same to programs."""
LABELS_CHOSE = ("cpu", "thorough", "quick", "adapt")  # presets whose numbers from maps to nuclei labels chose
LEARNED = {"tile_count": "unlabelled tiles", "training_count": "labelled images"}
CONTRAST = """Contrast of haematoxylin across the borders of synthetic nuclei, before and after refinement (where it
falls far, the truth that the model learned from is lost): {}."""
CALLS = """Nuclei of images, locally or from a server, with the Python package:

    python -m hou_synth.segment --model saved_models/{name} --out segmented IMAGE...
    python -m hou_synth.segment --server http://HOST:8501 --model {name} --out segmented IMAGE...

The maps alone, from a TensorFlow Serving:

    echo '{{"signature_name": "encoded", "instances": [{{"b64": "'$(base64 -w0 image.png)'"}}]}}' |
        curl -d @- http://HOST:8501/v1/models/{name}:predict

The same with TensorFlow, without a server:

    import tensorflow as tf
    encoded = tf.saved_model.load("saved_models/{name}/VERSION").signatures["encoded"]
    maps = encoded(image_bytes=tf.constant([open("image.png", "rb").read()]))"""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a card tells.

    Attributes:
        settings: `Config`.
        about: dict as `published` returns it, with `trained`, what `scores.json` says.
        task: task network.
        refinement: `train.serving.signatures.Refinement` or None.
        scores: rows as `read` returns them.
        contrast: dict of `initial`, `refined` and `ratio`, or empty.
    """

    settings: config.Config
    about: dict
    task: object
    refinement: object
    scores: list
    contrast: dict


def card(name, facts):
    """The model card, Markdown."""
    sections = {
        "What it is": what(facts),
        "Intended use": USE,
        "Limits": limits(facts),
        "How it was trained": _table(("", ""), training(facts)),
        "Scores": scores(facts),
        "From maps to nuclei": nuclei(facts.settings),
        "How to call it": calls(name, facts),
        "Licence": LICENCE,
    }
    return f"# {name}\n\n" + "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items()) + "\n"


def what(facts):
    """Section: the network, what it learned from and what it returns."""
    settings, kind = facts.settings, facts.about["kind"]
    plain = kind == "label-free" and not phases.refines(phases.phases(settings.schedule))
    network = {"unet": "U-Net", "cnn": "CNN", "dcan": "contour-aware network"}[settings.networks.network]
    return "\n".join(
        [
            f"A {network} of {facts.task.count_params():,} parameters that finds nuclei in H&E images of any size.",
            PLAIN if plain else METHODS[kind].format(facts.about.get("adapted_from")),
            *([TAUGHT] if kind == "label-free" and settings.schedule.self_rounds else []),
            'The method is that of Hou et al., "Robust Histopathology Image Analysis: To Label or To Synthesize?"',
            "(CVPR 2019), in the program hou_synth.\n",
            MAPS.format(labels_json.SEGMENTATION, labels_json.detection(settings)),
        ]
    )


def limits(facts):
    """Section: what it is not for, and on what it was not tried."""
    about = facts.about
    count, what = next((about[key], what) for key, what in LEARNED.items() if key in about)
    types = ", ".join(filter(None, about.get("tissue_types", {})))
    learned = f"{count} {what}" + (f" of the types {types}" if types else "")
    if about.get("embedded"):
        learned = "one single section of colon, whose stain was changed by computation: it is a demonstration"
    if "adapted_from" in about:
        learned += ", and before that from what the card of the model tells that it was adapted from"
    return f"{LIMITS}\n- It learned from {learned}. On tissue that no table below names, nobody measured it."


def training(facts):
    """Rows: how it was trained."""
    about, settings = facts.about, facts.settings
    trained, versions, machine = about["trained"], about.get("versions", {}), about.get("machine")
    rows = {"kind": about["kind"]}
    if "tile_count" in about:
        types = ", ".join(f"{key or 'unnamed'} {count}" for key, count in sorted(about["tissue_types"].items()))
        rows["unlabelled tiles"] = f"{about['tile_count']} ({types})" + ("; embedded tissue" * about["embedded"])
    labelled = about.get("labelled_count", 0) + about.get("training_count", 0)
    rows["labelled images"] = str(labelled or "none")
    if about.get("validation_count"):
        rows["labelled images that chose the epoch"] = str(about["validation_count"])
    updates, schedule = about.get("updates") or phases.task_updates(phases.phases(settings.schedule)), settings.schedule
    rounds = int(trained.get("rounds", schedule.self_rounds))
    if "adapted_from" in about:
        rows["adapted from"] = about["adapted_from"]
        rows |= adaptation(trained)
        updates = rounds * schedule.self_steps
    rows["updates of the task network"] = f"{updates}, {schedule.batch} patches of {schedule.patch} pixels each"
    if rounds and "tile_count" in about:
        taught = f"the last {rounds * schedule.self_steps} of them, and {schedule.labelled_batch} patches"
        rows["self-training"] = f"{taught} of tiles that it labelled {rounds} times"
    if facts.refinement:
        parts = {"refiner": facts.refinement.refiner, "discriminator": facts.refinement.discriminator}
        rows |= {key: f"{network.count_params():,} parameters" for key, network in parts.items()}
    rows["preset"] = f"{settings.preset}; otherwise: " + (", ".join(changes(settings)) or "nothing")
    rows["seed"] = str(settings.schedule.seed)
    rows["minutes"] = f"{trained['minutes']:.1f}" if trained else "not known: the run was not finished"
    if machine:
        rows["machine"] = f"{machine['cores']} CPU cores; GPUs: {', '.join(machine['gpus']) or 'none'}"
    rows["libraries"] = ", ".join(f"{key} {value}" for key, value in versions.items()) or "not known"
    return list(rows.items())


def adaptation(trained):
    """Rows: what came of adapting a model.

    Args:
        trained: what `scores.json` says.
    """
    if "rounds" not in trained:
        return {}
    judged = f"{trained['criterion_before']:.3f} before, {trained['criterion']:.3f} after"
    kept = (
        f"{trained['rounds']:.0f}, after which it did best on its tiles"
        if trained["rounds"]
        else "none: none was better"
    )
    return {"rounds of self-training kept": kept, "agreement x separation on its tiles, without labels": judged}


def changes(settings):
    """Fields in which a configuration differs from its preset, apart from the seed: `field value (preset's)`."""
    differences = config.differences(config.preset(settings.preset), settings)
    parts = (re.fullmatch(r"(\w+): (.*) != (.*)", text).groups() for text in differences)
    return [f"{key} {own} (preset: {other})" for key, other, own in parts if key != "seed"]


def scores(facts):
    """Section: measured scores by set, those of the run itself, the contrast."""
    parts, trained = ["On labelled images: not measured."], facts.about["trained"]
    if facts.scores:
        parts = ["On labelled images, means over the images of each set:", measured(facts.scores)]
    if "dice" in trained:
        where = "the labelled images that chose the epoch, so higher than on others"
        if "tile_count" in facts.about:
            where = "synthetic patches that training did not see, which says nothing about real tissue"
        parts.append(f"On {where}: " + ", ".join(f"{title} {trained[key]:.3f}" for key, title in SHOWN.items()) + ".")
    if facts.contrast:
        parts.append(CONTRAST.format(", ".join(f"{key} {value:.3f}" for key, value in facts.contrast.items())))
    return "\n\n".join(parts)


def measured(rows):
    """Table of the means of each set."""
    lines = [[row["set"], str(row["images"]), *(f"{row[key]:.3f}" for key in SHOWN)] for row in means(rows, "set")]
    return tables.markdown([["set", "images", *SHOWN.values()], *lines], 1)


def nuclei(settings):
    """Section: how the client makes nuclei of the maps, and which of its numbers labels chose."""
    text = NUCLEI + _table(("setting", "value", "meaning"), thresholds(settings.instances))
    own = settings.instances == config.preset(settings.preset).instances and settings.preset in LABELS_CHOSE
    return text + "\n\n" + CHOSEN.format(settings.preset) if own else text


def thresholds(instances):
    """Rows: settings from maps to nuclei with the meaning of each."""
    fields = dataclasses.fields(instances)
    return [(field.name, str(getattr(instances, field.name)), field.metadata["meaning"]) for field in fields]


def calls(name, facts):
    """Section: the signatures, and ways to call them."""
    every = labels_json.labels(facts.settings, bool(facts.refinement))["signatures"]
    lines = [[f"`{key}`", *(_tensors(sides[side]) for side in ("inputs", "outputs"))] for key, sides in every.items()]
    return _table(("signature", "takes", "returns"), lines) + "\n\n" + CALLS.format(name=name)


def _tensors(tensors):
    return "; ".join(
        f"`{key}` {tensor['dtype']} {_shape(tensor['shape'])}: {tensor['meaning']}" for key, tensor in tensors.items()
    )


def _shape(shape):
    return f"({', '.join('any' if side is None else str(side) for side in shape)})"


def _table(head, rows):
    return tables.markdown([list(head), *map(list, rows)], len(head))
