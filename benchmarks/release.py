"""How preset `release` compares with the authors' shipped patches: `python -m benchmarks.release --examples DIR`.

Their masks hold bits: 1 nucleus, 2 contour, 4 centre. Nuclei are counted by their centres.
"""

import argparse
import pathlib
import sys
import tempfile

import cv2
import numpy as np

from data import synthetic, tiles
from hou_synth import config
from hou_synth.io import command, files, image_files
from hou_synth.io.tables import aligned

SEED = 0
DRAWS = 2000  # of the bootstrap
ROWS_SHOWN, COLUMNS, GAP = 4, 5, 3  # rows of the sheet, patches of each kind in one, and pixels around each


@command.command
def main(argv=None):
    """Prints a row for each statistic, and draws a sheet of both kinds if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.release", description=__doc__)
    parser.add_argument("--tiles", help="folder of tiles at 40X (default: the embedded tissue)")
    parser.add_argument("--examples", type=pathlib.Path, required=True, help="folder with image/*.png and mask/*.png")
    parser.add_argument("--count", type=int, default=400, help="patches of ours [400]")
    parser.add_argument("--preset", default="release", help="preset of the synthesis [release]")
    parser.add_argument("--sheet", type=pathlib.Path, help="PNG to draw, both side by side")
    args = parser.parse_args(argv)
    theirs = examples(args.examples)
    ours = made(args.tiles, args.count, len(theirs[0][0]), config.preset(args.preset).synthesis)
    print(table([described(*patch) for patch in theirs], [described(*patch) for patch in ours]))
    if args.sheet:
        files.write_png(args.sheet, sheet(theirs, ours))
    return 0


def examples(folder):
    """Shipped patches, a list of (image, mask of bits).

    Raises:
        ValueError: where an image has no mask, or there is none.
    """
    paths = sorted((folder / "image").glob("*.png"))
    if not paths:
        raise ValueError(f"Expected patches in {folder / 'image'}. Received: none.")
    return [(image_files.image(path), image_files.image(folder / "mask" / path.name)[..., 0]) for path in paths]


def made(folder, count, side, settings):
    """Patches of ours, a list of (image, mask of bits)."""
    sources = tiles.folder_sources(folder) if folder else tiles.embedded_sources()
    with tempfile.TemporaryDirectory() as scratch:
        bank = tiles.build(sources, pathlib.Path(scratch) / "bank.h5", settings, workers=1, progress=False)
        patches = [synthetic.example(bank, SEED, index, side, settings) for index in range(count)]
    bits = synthetic.NUCLEUS, synthetic.CENTRE
    return [(each.image, (each.labels > 0) * bits[0] + each.centres * bits[1]) for each in patches]


def described(image, mask):
    """Statistics of one patch, by name; nan where it has no nucleus.

    Args:
        image: (s, s, 3) uint8 RGB.
        mask: (s, s) bits.
    """
    inside, count = mask & synthetic.NUCLEUS > 0, np.count_nonzero(mask & synthetic.CENTRE)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
    some = count and inside.any() and not inside.all()
    return {
        "nuclei": count,
        "foreground": inside.mean(),
        "empty": float(count == 0),
        "area": np.count_nonzero(inside) / count if some else np.nan,
        "contrast": grey[~inside].mean() - grey[inside].mean() if some else np.nan,
    }


ROWS = (
    ("nuclei, median", "nuclei", np.median),
    ("nuclei, lower quartile", "nuclei", lambda values: np.quantile(values, 0.25)),
    ("nuclei, upper quartile", "nuclei", lambda values: np.quantile(values, 0.75)),
    ("nuclei, mean", "nuclei", np.mean),
    ("foreground, median", "foreground", np.median),
    ("foreground, mean", "foreground", np.mean),
    ("empty patches", "empty", np.mean),
    ("area of a nucleus, mean", "area", np.mean),
    ("contrast in grey levels, mean", "contrast", np.mean),
)


def table(theirs, ours):
    """Text table: theirs, its standard error by bootstrap, ours, and the difference in standard errors."""
    lines = [["", "examples", "standard error", "ours", "difference / error"]]
    for name, key, statistic in ROWS:
        one, other = (np.array([row[key] for row in rows], float) for rows in (theirs, ours))
        one, other = one[~np.isnan(one)], other[~np.isnan(other)]
        error = np.std([statistic(draw) for draw in np.random.default_rng(0).choice(one, (DRAWS, len(one)))])
        value, own = statistic(one), statistic(other)
        apart = f"{(own - value) / error:+.1f}" if error else "-"
        lines.append([name, *(f"{number:.3f}" for number in (value, error, own)), apart])
    return aligned(lines, left=1)


def sheet(theirs, ours):
    """(h, w, 3) uint8: the first shipped patches with nuclei on the left, ours on the right."""
    halves = [[image for image, mask in patches if mask.any()][: ROWS_SHOWN * COLUMNS] for patches in (theirs, ours)]
    return np.hstack([_tiled(images) for images in halves])


def _tiled(images):
    """Images in rows, with white around each."""
    framed = [np.pad(image, ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=255) for image in images]
    framed += [np.full_like(framed[0], 255)] * (ROWS_SHOWN * COLUMNS - len(framed))
    return np.vstack([np.hstack(framed[start : start + COLUMNS]) for start in range(0, len(framed), COLUMNS)])


if __name__ == "__main__":
    sys.exit(main())
