"""Options of the commands that read unlabelled tiles; nothing heavy is imported for them."""

import dataclasses

from data.labelled import TABLE
from hou_synth import options


@dataclasses.dataclass(frozen=True)
class TileFolder:
    """A folder of tiles as a command line names it.

    Attributes:
        path: of the folder; None for the embedded tissue.
        table: path of a table of its images, see `data.tile_table.read`; None for its `images.csv`, if it has one.
        microns_per_pixel: resolution of all tiles; None for the table's.
    """

    path: str | None
    table: str | None = None
    microns_per_pixel: float | None = None


def add_tiles(parser, about, prefix="", required=False):
    """Adds the options that name a folder of tiles to an argparse parser.

    Args:
        parser: `argparse.ArgumentParser`.
        about: what `--tiles` is, for the help.
        prefix: of the further options, in commands that have those of labelled images besides.
        required: whether there have to be tiles.
    """
    parser.add_argument("--tiles", required=required, metavar="DIR", help=about)
    parser.add_argument(
        f"--{prefix}images",
        dest="tile_table",
        metavar="CSV",
        help=f"table of image (or folder), type, microns_per_pixel of the tiles (default: its {TABLE})",
    )
    parser.add_argument(
        f"--{prefix}microns-per-pixel",
        dest="tile_resolution",
        type=options.finite,
        metavar="UM",
        help="resolution of all tiles (default: the table's, or 0.25)",
    )


def named(args):
    """The `TileFolder` of a parsed command line with the options of `add_tiles`.

    Raises:
        ValueError: for a table or a resolution without a folder.
    """
    if not args.tiles and (args.tile_table or args.tile_resolution is not None):
        raise ValueError("Expected --tiles with a table or a resolution of tiles. Received: none.")
    return TileFolder(args.tiles, args.tile_table, args.tile_resolution)
