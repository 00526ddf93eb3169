"""What a table says of tiles: their types and resolutions."""

import collections
import pathlib

from data.labelled import discovery
from hou_synth.io import files


def read(path, names):
    """Tissue types and resolutions out of a CSV file.

    Args:
        path: CSV file with a column `image` and optionally `type` and `microns_per_pixel`. An image is a tile's path in
            its folder or the end of it, with or without ending, or a folder for all tiles in it that have no row of
            their own. Empty cells say nothing.
        names: of the tiles, paths in their folder.

    Returns:
        Dict name -> (type or None, microns per pixel or None).

    Raises:
        ValueError: naming the file, if it is not such a table, or has a tile or a folder twice, one that is unknown,
            one of several tiles, or a resolution that is not a number from 0.01 to 10.
        OSError: if there is no such file.
    """
    tiles, folders = _meanings(names)
    of_tiles, of_folders = {}, {}
    for row in files.read_csv(path, ["image"]):
        wanted = row["image"].strip().strip("/")
        meant, rows = (folders, of_folders) if wanted in folders else (tiles, of_tiles)
        if len(meant[wanted]) != 1 and meant is tiles or rows.keys() & meant[wanted]:
            raise ValueError(
                f"Expected each tile or folder at most once. Received: {row['image']!r} in {path}, "
                f"which is {len(meant[wanted])} tiles."
            )
        rows |= dict.fromkeys(meant[wanted], discovery.cells(row, f"{path}, image {wanted}"))
    return of_folders | of_tiles


def _meanings(names):
    """What a row may call a tile -> tiles of that name; folders -> tiles in them."""
    tiles, folders = collections.defaultdict(set), collections.defaultdict(set)
    for name in names:
        whole = pathlib.PurePosixPath(name)
        for each in (whole, whole.with_suffix("")):
            for depth in range(len(whole.parts)):
                tiles["/".join(each.parts[depth:])].add(name)
        for parent in whole.parents[:-1]:
            folders[parent.as_posix()].add(name)
    return tiles, folders
