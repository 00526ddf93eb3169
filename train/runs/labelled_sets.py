"""The labelled sets that a command line names."""

import itertools
import os
import pathlib

from data.labelled import reader


def add_data(parser, flag="--data", **kwargs):
    """Adds the options that name labelled sets to an argparse parser.

    Args:
        parser: `argparse.ArgumentParser`.
        flag: of the folders.
        **kwargs: passed on with them, such as `required`.
    """
    parser.add_argument(flag, nargs="+", metavar="DIR", help="folders of labelled images", **kwargs)
    parser.add_argument("--format", choices=reader.FORMATS, help="of their labels (default: detected)")
    about = f"for each DIR a table of image, type, microns_per_pixel (default: its {reader.TABLE})"
    parser.add_argument("--images", nargs="+", metavar="CSV", help=about)
    parser.add_argument("--microns-per-pixel", type=float, help="resolution of all images (default: theirs, or 0.25)")


def sets(args, folders, on_error=None):
    """The sets of a command line: name -> list of `data.labelled.reader.Entry`.

    Args:
        args: with the options of `add_data`.
        folders: list of paths.
        on_error: as for `labelled.find`.

    Raises:
        ValueError: for a folder without images or given twice, or tables that are not one for each folder.
    """
    found, about = {}, args.images or [None] * len(folders)
    if len(about) != len(folders):
        raise ValueError(f"Expected --images with a table for each set. Received: {len(about)} of {len(folders)}.")
    for name, folder, table in zip(names(folders), folders, about, strict=True):
        found[name] = reader.find(folder, args.format, table, args.microns_per_pixel, on_error)
    return found


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
