"""Nuclei of images: `python -m hou_synth.segment --model PATH --out DIR IMAGE...`."""

import argparse
import json
import pathlib
import sys

import numpy as np
from skimage.segmentation import find_boundaries
from tqdm import tqdm

from hou_synth import command, files, inference, instances, labels

OUTLINE = (0, 255, 0)  # colour of the outlines of predicted nuclei, RGB
OUTPUTS = ("_labels.png", "_labels.tif", "_overlay.png", ".geojson", ".csv")


def overlay(image, nuclei, colour=OUTLINE):
    """Copy of a uint8 RGB image with the outlines of a label map drawn on it, one pixel wide."""
    drawn = image.copy()
    drawn[find_boundaries(nuclei, mode="inner")] = colour
    return drawn


def geojson(nuclei):
    """Text of a GeoJSON FeatureCollection that QuPath reads: one detection "Nucleus" for each nucleus."""
    features = []
    for outline in instances.polygons(nuclei).values():
        ring = np.concatenate([outline, outline[:1]]).tolist()
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {"objectType": "detection", "classification": {"name": "Nucleus"}},
            }
        )
    return json.dumps({"type": "FeatureCollection", "features": features})


def write(stem_path, image, nuclei, microns_per_pixel):
    """Writes the label map, overlay, outlines and table of one image, each atomically.

    Args:
        stem_path: path without ending.
        image: (h, w, 3) uint8 RGB.
        nuclei: (h, w) integer labels.
        microns_per_pixel: resolution of the image.
    """
    written = labels.write(stem_path, nuclei)
    for other in {f"{stem_path}{ending}" for ending in OUTPUTS[:2]} - {str(written)}:
        pathlib.Path(other).unlink(missing_ok=True)  # an older label map would contradict the new one
    files.write_png(f"{stem_path}_overlay.png", overlay(image, nuclei))
    files.write_text(f"{stem_path}.geojson", geojson(nuclei))
    files.write_csv(f"{stem_path}.csv", instances.table(nuclei, microns_per_pixel), instances.COLUMNS)


def inputs(arguments):
    """Paths of the images named on the command line; folders stand for the images in them.

    Raises:
        ValueError: if something does not exist, a folder has no image, or two images share a stem.
    """
    paths = []
    for argument in map(pathlib.Path, arguments):
        found = labels.find(argument) if argument.is_dir() else [argument]
        if not found or not found[0].is_file():
            raise ValueError(f"Expected an image or a folder with images. Received: {argument}.")
        paths += found
    stems = {}
    for path in paths:
        if path.stem in stems:
            raise ValueError(f"Expected images with different stems. Received: {stems[path.stem]} and {path}.")
        stems[path.stem] = path
    return paths


def refuse_existing(paths, out):
    """Raises ValueError naming the first output of these images that is already there."""
    for path in paths:
        for ending in OUTPUTS:
            output = out / (path.stem + ending)
            if output.exists():
                raise ValueError(f"Expected no older output, or --overwrite. Received: {output} exists.")


def arguments(argv):
    """Parsed command line."""
    parser = argparse.ArgumentParser(prog="hou_synth.segment", description="Segments the nuclei of H&E images.")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, JPEG or TIFF file, or a folder of them")
    parser.add_argument("--model", required=True, help="SavedModel: saved_models/<name> or <name>/<version>")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="folder for the results")
    parser.add_argument("--microns-per-pixel", type=float, help="resolution of the images, by default 0.25 (40X)")
    parser.add_argument("--no-normalise", action="store_true", help="leave the colours as they are")
    parser.add_argument("--overwrite", action="store_true", help="replace older results")
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Segments images and writes the results; returns the exit code."""
    args = arguments(argv)
    paths = inputs(args.images)
    if not args.overwrite:
        refuse_existing(paths, args.out)
    network, settings = inference.load(args.model), inference.thresholds(args.model)
    args.out.mkdir(parents=True, exist_ok=True)
    failures = 0
    for path in tqdm(paths, unit="image", disable=None):
        try:
            image = labels.image(path)
            nuclei = inference.segment(network, image, not args.no_normalise, args.microns_per_pixel, settings)
        except (ValueError, OSError) as error:
            command.complain(f"{path.name}: {error}")
            failures += 1
            continue
        write(args.out / path.stem, image, nuclei, args.microns_per_pixel or inference.MICRONS_PER_PIXEL)
    return command.MISTAKE if failures else 0


if __name__ == "__main__":
    sys.exit(main())
