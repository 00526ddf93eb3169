"""Models measured on labelled images: rows of scores, tables of them, pictures beside them."""

import functools

from tqdm import tqdm

import hou_synth
from data.labelled import reader
from hou_synth import inference, metrics
from train.judging import scores
from train.pictures import outlines
from train.pictures.worst import Worst

OTSU = "otsu"  # instead of a model's path: the baseline without training
MEAN_OF_SETS = "mean of sets"  # each set weighs the same, however many images it has


def method(path, normalise=True):
    """Function from a uint8 RGB image and its microns per pixel to its label map.

    Args:
        path: of a SavedModel, `OTSU` for the baseline without training, or None for the released model.
        normalise: whether colours are moved to the fixed target first; the baseline takes them as they are.
    """
    if path == OTSU:
        return otsu
    return functools.partial(hou_synth.load(path).segment, normalise=normalise)


def otsu(image, microns_per_pixel):
    """Label map of an image by the baseline without training."""
    return inference.on_pixels(inference.otsu_nuclei(inference.at_40x(image, microns_per_pixel)), image.shape[:2])


def measured(segmented, item, overlays=None, worst=None):
    """Scores of one image, on its own pixels.

    Args:
        segmented: function of an image and its microns per pixel that returns an (h, w) label map.
        item: `data.labelled.reader.Labelled`.
        overlays: folder to draw true and predicted outlines into, side by side.
        worst: `Worst` that takes note of the image.

    Returns:
        Dict of `type`, `image` and the measures of `metrics.scores`.
    """
    predicted = segmented(item.image, item.microns_per_pixel)
    row = {"type": item.type, "image": item.name, **metrics.scores(predicted, item.labels)}
    if overlays:
        outlines.write(overlays, item, predicted)
    if worst:
        worst.add(row, item, predicted)
    return row


def measured_set(segmented, name, entries, overlays=None, on_error=None, worst=None):
    """Rows of one set: `set` and what `measured` returns.

    Args:
        segmented: as for `measured`.
        name: the set's.
        entries: list of `data.labelled.reader.Entry`.
        overlays: folder for outlines.
        on_error: called with the ValueError of an image, which is then left out; by default it is raised.
        worst: as for `measured`.

    Returns:
        List of dicts, in the order of the entries.

    Raises:
        ValueError: naming the image that cannot be read or measured, without `on_error`.
    """
    rows = []
    for entry in tqdm(entries, desc=name, unit="image", disable=None):
        try:
            rows.append({"set": name, **measured(segmented, reader.read(entry), overlays, worst)})
        except (ValueError, OSError) as error:
            failure = ValueError(f"{name}/{entry.name}: {error}")
            if on_error is None:
                raise failure from error
            on_error(failure)
    return rows


def tables(rows):
    """Tables of one set, (title, columns, rows): its images and their mean; its tissue types, if several."""
    name, types = rows[0]["set"], scores.means(rows, "type")
    images = [(name, ("image", "type"), metrics.with_mean(rows))]
    return images + ([(f"{name}, tissue types", ("type", "images"), types)] if len(types) > 1 else [])


def closing(rows, title="all sets"):
    """Table of the sets, if several, whose mean counts every set once."""
    sets = scores.means(rows, "set")
    return [(title, ("set", "images"), [*sets, mean_of_sets(sets)])] if len(sets) > 1 else []


def mean_of_sets(sets):
    """Row of the mean over sets, of rows as `scores.means` returns them."""
    return {"set": MEAN_OF_SETS, **metrics.mean(sets)}


def models_table(rows):
    """Table of models: the mean of the sets of each, and how many images they have."""
    lines = []
    for model, members in scores.grouped(rows, "model").items():
        sets = scores.means(members, "set")
        lines.append({**mean_of_sets(sets), "model": model, "sets": len(sets), "images": len(members)})
    return [(f"models, {MEAN_OF_SETS}", ("model", "sets", "images"), lines)] if lines else []


def report(rows):
    """Markdown of rows as `measure` or `compare` returns them: the tables that these print."""
    if rows and "model" in rows[0]:
        models = scores.grouped(rows, "model").items()
        shown = [table for model, members in models for table in closing(members, f"{model}: all sets")]
        shown += models_table(rows)
    else:
        shown = [table for members in scores.grouped(rows, "set").values() for table in tables(members)] + closing(rows)
    return "\n".join(f"## {title}\n\n{metrics.markdown(members, columns)}\n" for title, columns, members in shown)


def show(titled):
    """Prints tables, a list of (title, columns, rows)."""
    for title, columns, rows in titled:
        print(f"{title}\n{metrics.aligned(rows, columns)}\n", flush=True)


def draw(name, members, overlays, worst):
    """Draws the sheets of a set into the folder of its overlays, and its `Worst` images, whose scores are printed."""
    if overlays:
        outlines.write_sheets(overlays, members)
    if worst:
        show([(f"{name}, worst", ("image", "type"), worst.rows())])
        worst.write()


def measure(segmented, sets, on_error=None, overlays=None, worst=None):
    """Measures, prints and draws set by set.

    Args:
        segmented: as for `measured`.
        sets: name -> list of `data.labelled.reader.Entry`.
        on_error: as for `measured_set`.
        overlays: folder for outlines; with a folder for each set if there are several.
        worst: folder for the worst images, likewise.

    Returns:
        List of rows, as `measured_set`.
    """
    rows = []
    for name, entries in sets.items():
        drawn, extremes = (folder and (folder / name if len(sets) > 1 else folder) for folder in (overlays, worst))
        noted = extremes and Worst(extremes)
        members = measured_set(segmented, name, entries, drawn, on_error, noted)
        if members:
            show(tables(members))
            draw(name, members, drawn, noted)
        rows += members
    show(closing(rows))
    return rows


def compare(models, sets, normalise=True, on_error=None):
    """Measures several models, and prints the means of each one's sets, at the end those of the models.

    Args:
        models: list of paths or `OTSU`.
        sets: name -> list of `data.labelled.reader.Entry`.
        normalise: whether colours are moved to the fixed target.
        on_error: as for `measured_set`.

    Returns:
        List of rows, as `measured_set`, each with its `model`.
    """
    rows = []
    for model in models:
        segmented = method(model, normalise)
        members = []
        for name, entries in sets.items():
            members += measured_set(segmented, name, entries, on_error=on_error)
        rows += [{"model": model, **row} for row in members]
        show(closing(members, f"{model}: all sets"))
    show(models_table(rows))
    return rows
