"""What a slide's tiles add up to: outlines for QuPath, a table, a picture of the density of nuclei."""

import csv
import json

import cv2
import numpy as np

from hou_synth import instances
from hou_synth.io import files, geojson
from hou_synth.slides import quip, tiled

OUTPUTS = (".geojson", ".csv", "_overlay.png")
LYMPHOCYTES = "_lymphocytes.png"  # one more output, where each nucleus has a probability of being one
PROBABLE = 0.5  # from which a nucleus counts as one; ours
CELL = 64.0  # microns: side of the squares in which nuclei are counted; ours
LEGEND = 40  # height of the strip with the scale of the density
STRENGTH = 0.5  # opacity of the density over the slide


def write(stem_path, folder, slide, factor, classified=False):
    """Writes the outlines, table and picture of a slide out of its tiles, each atomically.

    One tile is in memory at a time.

    Args:
        stem_path: path without ending, str.
        folder: the tiles' folder, all of them finished.
        slide: a `Slide`.
        factor: by which its tiles were enlarged.
        classified: whether its nuclei have a probability of being a lymphocyte, whose density is then drawn too.

    Returns:
        Number of nuclei.
    """
    side = CELL / slide.microns_per_pixel
    density = np.zeros([int(length / side) + 1 for length in (slide.height, slide.width)], np.int64)
    lymphocytes = np.zeros_like(density)
    outlines, table = (files.replacing(f"{stem_path}{ending}") for ending in OUTPUTS[:2])
    with outlines as collection, table as rows, open(collection, "w") as features, open(rows, "w", newline="") as lines:
        writer = csv.DictWriter(lines, instances.COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        features.write('{"type": "FeatureCollection", "features": [')
        for label, nucleus in enumerate(every(folder, slide, factor), start=1):
            writer.writerow(nucleus | {"label": label})
            features.write(("\n" if label == 1 else ",\n") + json.dumps(geojson.feature(nucleus["polygon"], nucleus)))
            square = int(nucleus["centroid_y"] / side), int(nucleus["centroid_x"] / side)
            density[square] += 1
            lymphocytes[square] += classified and nucleus["lymphocyte"] >= PROBABLE
        features.write("\n]}\n")
    files.write_png(f"{stem_path}{OUTPUTS[2]}", picture(slide.overview(), density, slide))
    if classified:
        files.write_png(f"{stem_path}{LYMPHOCYTES}", picture(slide.overview(), lymphocytes, slide, "lymphocytes"))
    return int(density.sum())


def every(folder, slide, factor):
    """Yields the nuclei of all tiles of a slide that are there, as `quip.read`, tile by tile."""
    for place in tiled.places(slide, factor):
        yield from quip.read(folder, place, slide)


def picture(overview, density, slide, counted="nuclei"):
    """The overview with the density of nuclei in colour, and its scale in a strip below.

    Args:
        overview: (h, w, 3) uint8 RGB of the whole slide.
        density: (rows, columns) int, nuclei in each square of `CELL` microns from the slide's corner on.
        slide: a `Slide`.
        counted: what the numbers are of, for the scale.

    Returns:
        (h + 40, w, 3) uint8 RGB. Where there is no nucleus, the overview shows.
    """
    height, width = overview.shape[:2]
    side = CELL / slide.microns_per_pixel * width / slide.width
    large = cv2.resize(density.astype(np.float32), None, fx=side, fy=side, interpolation=cv2.INTER_LINEAR)
    large = np.pad(large, ((0, max(height - large.shape[0], 0)), (0, max(width - large.shape[1], 0))), "edge")
    top = max(float(density.max()), 1.0)
    levels = large[:height, :width] / top
    opacity = STRENGTH * np.minimum(levels * 10, 1)[..., None]
    drawn = overview * (1 - opacity) + coloured(levels) * opacity
    return np.concatenate([drawn.astype(np.uint8), legend(width, top / (CELL / 1000) ** 2, counted)])


def coloured(levels):
    """RGB (h, w, 3) of levels 0 to 1, dark to bright."""
    colours = cv2.applyColorMap(np.rint(255 * levels).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    return cv2.cvtColor(colours, cv2.COLOR_BGR2RGB)


def legend(width, top, counted):
    """Strip (40, width, 3) uint8 RGB with the colours of 0 to `top` of what is counted per square millimetre."""
    strip = np.full((LEGEND, width, 3), 255, np.uint8)
    bar = coloured(np.tile(np.linspace(0, 1, max(width // 4, 1)), (LEGEND, 1)))
    strip[:, : bar.shape[1]] = bar
    text = f"0 to {top:.0f} {counted} per mm2"
    cv2.putText(strip, text, (bar.shape[1] + 10, 26), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
