"""Measures a model against labelled images: `python -m train.evaluate --data DIR...`."""

import argparse
import functools
import pathlib
import sys

from tqdm import tqdm

import hou_synth
from data.labelled import reader
from hou_synth import inference, metrics, released
from hou_synth.io import command, files
from train.pictures import outlines
from train.pictures.worst import Worst
from train.runs import labelled_sets

OTSU = "otsu"  # instead of a model's path: the baseline without training
COLUMNS = ("set", "type", "image")  # of a row, before the measures


def method(path, normalise=True):
    """Function from a uint8 RGB image and its microns per pixel to its label map: a model, or the Otsu baseline."""
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


def grouped(rows, column):
    """Rows of each value of a column, in order of appearance."""
    groups = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return groups


def means(rows, column):
    """Mean of every measure for each value of a column, and its number of images."""
    return [
        {column: name, "images": len(members), **metrics.mean(members)}
        for name, members in grouped(rows, column).items()
    ]


def tables(rows):
    """Tables of one set, (title, columns, rows): its images and their mean; its tissue types, if several."""
    name, types = rows[0]["set"], means(rows, "type")
    found = [(name, ("image", "type"), metrics.with_mean(rows))]
    return found + ([(f"{name}, tissue types", ("type", "images"), types)] if len(types) > 1 else [])


def closing(rows):
    """Table of the sets, if several; its mean counts every set once, however many images it has."""
    sets = means(rows, "set")
    return [("all sets", ("set", "images"), metrics.with_mean(sets, "set"))] if len(sets) > 1 else []


def report(rows):
    """Markdown of rows with `set`, `type`, `image` and measures: tables of each set, its types, and all sets."""
    found = [table for members in grouped(rows, "set").values() for table in tables(members)]
    return "\n".join(
        f"## {title}\n\n{metrics.markdown(members, columns)}\n" for title, columns, members in found + closing(rows)
    )


def show(found):
    """Prints tables."""
    for title, columns, rows in found:
        print(f"{title}\n{metrics.aligned(rows, columns)}\n", flush=True)


def arguments(argv):
    """Parsed command line."""
    parser = argparse.ArgumentParser(prog="train.evaluate", description="Measures a model on labelled images.")
    parser.add_argument(
        "--model",
        help=f"SavedModel, or `otsu` for the baseline without training (default: the released {released.NAME})",
    )
    labelled_sets.add_data(parser, required=True)
    parser.add_argument("--limit", type=int, help="measure only the first N images of each set")
    parser.add_argument("--no-normalise", action="store_true", help="leave the colours as they are")
    parser.add_argument("--out", type=pathlib.Path, help="CSV file for the images; Markdown tables are put beside it")
    parser.add_argument("--overlays", type=pathlib.Path, help="folder for true (yellow) and predicted (green) outlines")
    parser.add_argument(
        "--worst", type=pathlib.Path, help="folder for the five worst images, beside true and predicted outlines"
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first image that fails")
    args = parser.parse_args(argv)
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"Expected --limit of at least 1. Received: {args.limit}.")
    return args


def make_room(args):
    """Refuses older results and makes the folder of new ones, so that nothing fails after the measuring."""
    if args.out and (args.out.suffix == ".md" or args.out.is_dir()):
        raise ValueError(f"Expected --out to be a CSV file; Markdown is put beside it. Received: {args.out}.")
    for path in filter(None, (args.out, args.out and args.out.with_suffix(".md"), args.overlays, args.worst)):
        files.refuse_existing(path)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)


def draw(name, members, overlays, worst):
    """Draws the sheets of a set into the folder of its overlays, and its `Worst` images, whose scores are printed."""
    if overlays:
        outlines.write_sheets(overlays, members)
    if worst:
        show([(f"{name}, worst", ("image", "type"), worst.rows())])
        worst.write()


def measure(args, on_error):
    """Measures, prints and draws set by set; returns all rows."""
    found, rows = labelled_sets.sets(args, args.data, on_error), []
    make_room(args)
    segmented = method(args.model, not args.no_normalise)
    for name, entries in found.items():
        overlays, extremes = (
            folder and (folder / name if len(found) > 1 else folder) for folder in (args.overlays, args.worst)
        )
        worst = extremes and Worst(extremes)
        members = measured_set(segmented, name, entries[: args.limit], overlays, on_error, worst)
        if members:
            show(tables(members))
            draw(name, members, overlays, worst)
        rows += members
    show(closing(rows))
    return rows


@command.command
def main(argv=None):
    """Measures a model and prints the tables; returns the exit code."""
    args, failures = arguments(argv), []

    def skip(error):
        command.complain(error)
        failures.append(error)

    rows = measure(args, None if args.strict else skip)
    if args.out:  # the CSV has no means: whoever groups its rows would count them as images
        files.write_csv(args.out, rows, (*COLUMNS, *metrics.MEASURES))
        files.write_text(args.out.with_suffix(".md"), report(rows))
    return command.MISTAKE if failures else 0


if __name__ == "__main__":
    sys.exit(main())
