"""The labelled sets that a command line names, as lists of their images."""

import itertools
import os
import pathlib

from data.labelled import reader


def sets(named, on_error=None):
    """The images of labelled sets: name -> list of `data.labelled.reader.Entry`.

    Args:
        named: `train.runs.labelled_options.Named`.
        on_error: as for `data.labelled.reader.find`.

    Raises:
        ValueError: for a folder without images or given twice, or tables that are not one for each folder.
    """
    entries, tables = {}, named.tables or [None] * len(named.folders)
    if len(tables) != len(named.folders):
        raise ValueError(
            f"Expected --images with a table for each set. Received: {len(tables)} of {len(named.folders)}."
        )
    for name, folder, table in zip(names(named.folders), named.folders, tables, strict=True):
        entries[name] = reader.find(folder, named.format, table, named.microns_per_pixel, on_error)
    return entries


def names(folders):
    """Names of sets: the shortest ends of their paths that tell them apart, so `a/test` and `b/test`.

    Raises:
        ValueError: if a folder is given twice.
    """
    paths = [pathlib.Path(os.path.abspath(folder)).parts[1:] for folder in folders]
    names = []
    for path in paths:
        if paths.count(path) > 1:
            raise ValueError(f"Expected every folder once. Received: /{'/'.join(path)} more than once.")
        depths = (n for n in itertools.count(1) if sum(other[-n:] == path[-n:] for other in paths) == 1)
        names.append("/".join(path[-next(depths) :]))
    return names
