"""Options of the commands that read labelled images; nothing heavy is imported for them."""

import dataclasses
import pathlib

from data import labelled
from hou_synth import options

VALIDATION = 0.2  # share of the images that validate; ours
FINETUNE_UPDATES = 400  # of the network; ours
FINETUNE_RATE = 2e-4  # first learning rate of fine-tuning, a fifth of the preset's; ours


@dataclasses.dataclass(frozen=True)
class Named:
    """Labelled sets as a command line names them.

    Attributes:
        folders: paths.
        format: of their labels, one of `data.labelled.FORMATS`; None to detect it.
        tables: for each folder the path of a table; None for its own.
        microns_per_pixel: resolution of all images; None for theirs.
    """

    folders: list
    format: str | None = None
    tables: list | None = None
    microns_per_pixel: float | None = None

    def words(self):
        """The folders and the options with which another command line names the same."""
        options = ["--images", *self.tables] if self.tables else []
        options += ["--format", self.format] if self.format else []
        options += ["--microns-per-pixel", str(self.microns_per_pixel)] if self.microns_per_pixel else []
        return [*self.folders, *options]


def add_data(parser, flag="--data", about="folders of labelled images", **kwargs):
    """Adds the options that name labelled sets to an argparse parser.

    Args:
        parser: `argparse.ArgumentParser`.
        flag: of the folders.
        about: what they are for.
        **kwargs: passed on with them, such as `required`.
    """
    parser.add_argument(flag, nargs="+", metavar="DIR", help=about, **kwargs)
    parser.add_argument("--format", choices=labelled.FORMATS, help="of their labels (default: detected)")
    tables = f"for each DIR a table of image, type, microns_per_pixel (default: its {labelled.TABLE})"
    parser.add_argument("--images", nargs="+", metavar="CSV", help=tables)
    parser.add_argument(
        "--microns-per-pixel", type=options.finite, help="resolution of all images (default: theirs, or 0.25)"
    )


def named(args, folders):
    """The `Named` of a parsed command line with the options of `add_data`, whose flag gave the folders."""
    return Named(folders, args.format, args.images, args.microns_per_pixel)


def check(args, folders):
    """Refuses options of labelled images where none are named.

    Args:
        args: parsed command line with the options of `add_data`.
        folders: that its flag gave, or None.

    Raises:
        ValueError: naming the options, and those of tiles that may be meant.
    """
    given = {"--images": args.images, "--microns-per-pixel": args.microns_per_pixel}
    lost = [flag for flag, value in given.items() if value is not None and not folders]
    if lost:
        raise ValueError(
            f"Expected labelled images with {' and '.join(lost)}; of tiles: --tiles{lost[0][1:]}. Received: none."
        )


def add_training_data(parser, flag="--data", **kwargs):
    """Adds the options that name the images to learn from; the arguments are those of `add_data`."""
    add_data(parser, flag, **kwargs)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="train with these images alone, named without ending")
    parser.add_argument("--skip", action="store_true", help="name images that cannot be read and go on without them")


def add_run(parser, out, share):
    """Adds the options that say where a run on labelled images goes and how it is validated.

    Args:
        parser: `argparse.ArgumentParser`.
        out: run folder by default.
        share: of the images that validate by default.
    """
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(out), help=f"run folder [{out}]")
    parser.add_argument("--models", default="saved_models", help="where the SavedModel goes [saved_models]")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, if there is one")
    parser.add_argument(
        "--validation", type=options.finite, default=share, help=f"share of the images that choose the epoch [{share}]"
    )
