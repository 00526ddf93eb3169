"""Measures a model against labelled images: `python -m train.evaluate --model PATH --data DIR`.

The only module of `train` that reads label maps of real images.
"""

import argparse
import functools
import pathlib
import sys

import numpy as np
from tqdm import tqdm

from hou_synth import command, files, inference, labels, metrics, segment

TRUE_OUTLINE = (255, 255, 0)  # colour of the outlines of true nuclei, RGB
OTSU = "otsu"  # instead of a model's path: the baseline without training


def method(args):
    """Function from a uint8 RGB image to its label map: a model, or the Otsu baseline."""
    if args.model != OTSU:
        network = inference.load(args.model)
        return functools.partial(
            inference.segment,
            network,
            normalise=not args.no_normalise,
            microns_per_pixel=args.microns_per_pixel,
            settings=inference.thresholds(args.model),
        )

    def otsu(image):
        nuclei = inference.otsu_nuclei(inference.at_40x(image, args.microns_per_pixel))
        return inference.on_pixels(nuclei, image.shape[:2])

    return otsu


def labelled(path):
    """Image and true label map of an image's path.

    Raises:
        ValueError: if there is no label map, or its size is not the image's.
    """
    image, true = labels.image(path), labels.read(labels.partner(path))
    if image.shape[:2] != true.shape:
        raise ValueError(f"Expected a label map of shape {image.shape[:2]}. Received: {true.shape}.")
    return image, true


def measured(segmented, path, overlays):
    """Row of the table for one image; also draws true and predicted outlines side by side into `overlays`."""
    image, true = labelled(path)
    predicted = segmented(image)
    if overlays:
        pair = [segment.overlay(image, true, TRUE_OUTLINE), segment.overlay(image, predicted)]
        files.write_png(overlays / f"{path.stem}_overlay.png", np.concatenate(pair, axis=1))
    return {"image": path.stem, **metrics.scores(predicted, true)}


def arguments(argv):
    """Parsed command line."""
    parser = argparse.ArgumentParser(prog="train.evaluate", description="Measures a model on labelled images.")
    parser.add_argument("--model", required=True, help="SavedModel, or `otsu` for the baseline without training")
    parser.add_argument("--data", required=True, help="folder of images and <stem>_labels.png, .tif or .npy")
    parser.add_argument("--out", help="CSV file for the table")
    parser.add_argument("--overlays", type=pathlib.Path, help="folder for true (yellow) and predicted (green) outlines")
    parser.add_argument("--limit", type=int, help="measure only the first N images")
    parser.add_argument("--microns-per-pixel", type=float, help="resolution of the images, by default 0.25 (40X)")
    parser.add_argument("--no-normalise", action="store_true", help="leave the colours as they are")
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Measures a model and prints the table; returns the exit code."""
    args = arguments(argv)
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"Expected --limit of at least 1. Received: {args.limit}.")
    paths = labels.find(args.data)[: args.limit]
    if not paths:
        raise ValueError(f"Expected a folder with labelled images. Received: {args.data}, which has none.")
    for output in filter(None, (args.out, args.overlays)):
        files.refuse_existing(output)
    segmented = method(args)
    if args.overlays:
        args.overlays.mkdir(parents=True, exist_ok=True)
    rows, failures = [], 0
    for path in tqdm(paths, unit="image", disable=None):
        try:
            rows.append(measured(segmented, path, args.overlays))
        except (ValueError, OSError) as error:
            command.complain(f"{path.name}: {error}")
            failures += 1
    rows = metrics.with_mean(rows)
    print(metrics.aligned(rows))
    if args.out:
        files.write_csv(args.out, rows, ("image", *metrics.MEASURES))
    return command.MISTAKE if failures else 0


if __name__ == "__main__":
    sys.exit(main())
