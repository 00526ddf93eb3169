"""Tiles of whole slides, on which networks are trained: `python -m data.slides SLIDE... --out DIR`."""

import argparse
import pathlib
import sys

import numpy as np

from hou_synth import normalise
from hou_synth.io import command, files, locks
from hou_synth.slides import whole_slide

TISSUE_MIN = 0.5  # least share of a tile that is tissue; ours
TABLE = "provenance.csv"
COLUMNS = ("tile", "slide", "x", "y", "width", "height", "microns_per_pixel", "resampled")


def arguments(argv):
    """Parsed command line; ValueError for numbers that do not fit."""
    parser = argparse.ArgumentParser(prog=command.program("data.slides"), description=__doc__)
    parser.add_argument("slides", nargs="+", metavar="SLIDE", help="file, or a folder of them, whose name is the type")
    parser.add_argument("--out", required=True, help="folder for the tiles, into which one command at a time writes")
    parser.add_argument("--tiles-per-slide", type=int, default=1, help="of tissue, at random places [1]")
    parser.add_argument("--size", type=int, default=500, help="side of a tile in pixels at 40X [500]")
    parser.add_argument("--seed", type=int, default=0, help="other places for another number [0]")
    args = parser.parse_args(argv)
    if min(args.tiles_per_slide, args.size) < 1 or args.seed < 0:
        raise ValueError(
            "Expected --tiles-per-slide and --size of at least 1, and --seed of at least 0. "
            f"Received: {args.tiles_per_slide}, {args.size}, {args.seed}."
        )
    return args


@command.command
def main(argv=None):
    """Writes the tiles into a folder for each type, and where each is from; returns the exit code."""
    args = arguments(argv)
    named = map(pathlib.Path, args.slides)
    paths = [path for name in named for path in (whole_slide.find(name) if name.is_dir() else [name])]
    if not paths:
        raise ValueError(f"Expected slides. Received: {', '.join(args.slides)}, without any.")
    rows, failures = [], 0
    with locks.exclusive(args.out):
        for path in paths:
            try:
                rows += tiles(whole_slide.Slide(path), pathlib.Path(args.out), args)
            except (ValueError, FileNotFoundError) as error:
                command.complain(f"{path}: {error}")
                failures += 1
        files.write_csv(pathlib.Path(args.out) / TABLE, rows, COLUMNS)
    print(f"{len(rows)} tiles of {len(paths) - failures} slides: {args.out}")
    return command.MISTAKE if failures else 0


def tiles(slide, out, args):
    """Writes the tiles of a slide that are not there yet, and returns the rows of the table.

    Which they are depends on the slide and the seed alone. They lie in the folder of their type, the name of the
    folder that the slide lies in.

    Raises:
        ValueError: if it has not so many tiles of tissue.
    """
    random = np.random.default_rng([args.seed, int(slide.fingerprint(), 16)])
    cells, rows = slide.tissue_cells(args.size), []
    for index in random.permutation(len(cells)):
        if len(rows) == args.tiles_per_slide:
            break
        place = square(slide, cells[index], args.size)
        image = slide.at_40x(place)
        if min(image.shape[:2]) < args.size or normalise.tissue(image).mean() < TISSUE_MIN:
            continue
        path = out / slide.path.resolve().parent.name / f"{slide.path.stem}_{place.x}_{place.y}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            files.write_png(path, image[: args.size, : args.size])
        numbers = (place.x, place.y, place.width, place.height, slide.microns_per_pixel, slide.scale != 1)
        rows.append(dict(zip(COLUMNS, (path.relative_to(out), slide.path.name, *numbers), strict=True)))
    if len(rows) < args.tiles_per_slide:
        raise ValueError(f"Expected {args.tiles_per_slide} tiles of tissue. Received: {len(rows)}.")
    return rows


def square(slide, cell, size):
    """The place of a tile that begins where a cell does, moved onto the slide if it would reach beyond it."""
    side = int(np.ceil(size / slide.scale))
    x, y = max(min(cell.x, slide.width - side), 0), max(min(cell.y, slide.height - side), 0)
    return whole_slide.Place(x, y, side, side).grown(0, slide.width, slide.height)


if __name__ == "__main__":
    sys.exit(main())
