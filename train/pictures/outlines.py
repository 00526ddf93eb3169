"""Pictures of true and predicted outlines: one an image, and sheets of the worst and the best."""

import pathlib

import cv2
import numpy as np

from hou_synth import results
from hou_synth.io import files, image_files

TRUE = (255, 255, 0)  # colour of the outlines of true nuclei, RGB
HEAD = 18  # pixels of the line of text above a row of a sheet
SIDE = 512  # larger images are reduced to this on the sheets, small ones enlarged
SHOWN = 5  # images on a sheet of the worst or best
CAPTION = ("dice", "dice1", "dice2", "aji", "pq", "f1")  # measures above a pair of images


def path(overlays, image):
    """The file that an image's outlines are drawn into."""
    return pathlib.Path(overlays) / f"{image}_overlay.png"


def write(overlays, item, predicted):
    """Draws true and predicted outlines side by side.

    Args:
        overlays: folder, made if it is not there.
        item: `data.labelled.reader.Labelled`.
        predicted: (h, w) label map.
    """
    pair = [results.overlay(item.image, item.labels, TRUE), results.overlay(item.image, predicted)]
    path(overlays, item.name).parent.mkdir(parents=True, exist_ok=True)
    files.write_png(path(overlays, item.name), np.concatenate(pair, axis=1))


def reduced(panel, colour):
    """Image enlarged by a whole number or reduced to about `SIDE` pixels, its outlines of one colour kept sharp."""
    scale = SIDE / max(panel.shape[:2])
    if scale >= 1:
        return np.repeat(np.repeat(panel, int(scale), 0), int(scale), 1)
    size = tuple(max(round(side * scale), 1) for side in panel.shape[1::-1])
    outline = cv2.resize((panel == colour).all(axis=2).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(panel, size, interpolation=cv2.INTER_AREA)
    small[outline > 0.4 * scale] = colour  # a line of one pixel covers at least half of `scale` in one of two pixels
    return small


def halves(overlay):
    """Both halves of an overlay at the size of a sheet, each in a column `SIDE` wide."""
    middle = overlay.shape[1] // 2
    panels = [reduced(overlay[:, :middle], TRUE), reduced(overlay[:, middle:], results.OUTLINE)]
    return np.hstack([np.pad(h, ((0, 0), (0, SIDE - h.shape[1]), (0, 0)), constant_values=255) for h in panels])


def write_sheets(overlays, rows):
    """Draws `worst.png` and `best.png` of a set from its overlay files: by DICE average, the extreme first.

    Args:
        overlays: folder that `measured` drew into.
        rows: what it returned for the set.
    """
    ranked = sorted(rows, key=lambda row: row["dice"])
    for title, chosen in (("worst", ranked[:SHOWN]), ("best", ranked[::-1][:SHOWN])):
        shown = []
        for row in chosen:
            scores = "  ".join(f"{name} {row[name]:.3f}" for name in CAPTION)
            drawn = halves(image_files.image(path(overlays, row["image"])))
            shown.append(titled(drawn, f"{row['image']}   {row['type']}   {scores}"))
        text = f"{title} by DICE average: true (yellow), predicted (green)"
        files.write_png(overlays / f"{title}.png", titled(np.vstack(shown), text))


def titled(row, text, scale=1):
    """A picture with a line of text above it, `scale` times as high as on the sheets."""
    head = np.full((HEAD * scale, row.shape[1], 3), 255, np.uint8)
    place = (4 * scale, 13 * scale)
    cv2.putText(head, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * scale, (0, 0, 0), scale, cv2.LINE_AA)
    return np.vstack([head, row])
