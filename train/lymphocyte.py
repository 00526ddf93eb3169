"""Lymphocytes (paper Sec. 5.4): `python -m train.lymphocyte --tiles DIR`, or `--labelled DIR`, or `--evaluate DIR`."""

import argparse
import contextlib
import pathlib
import sys

from data import tile_options
from data.labelled import POSITIVE, TABLE
from hou_synth import options, released
from hou_synth.io import command, files, locks


def arguments(argv):
    """Parsed command line.

    Raises:
        ValueError: for options that do not go together.
    """
    parser = argparse.ArgumentParser(
        prog=command.program("train.lymphocyte"),
        description="Train a classifier that says whether a lymphocyte is at the centre of a patch, on unlabelled H&E "
        "tiles or on labelled places; or measure one.",
    )
    tile_options.add_tiles(parser, "folder of unlabelled tiles: train without labels", "tiles-")
    parser.add_argument(
        "--labelled", type=pathlib.Path, metavar="DIR", help="of *_points.csv or label.txt: train on them"
    )
    parser.add_argument("--evaluate", type=pathlib.Path, metavar="DIR", help="of the same: measure --model on them")
    parser.add_argument(
        "--positive", nargs="+", default=POSITIVE, metavar="CLASS", help=f"of points [{' '.join(POSITIVE)}]"
    )
    parser.add_argument("--images", metavar="CSV", help=f"table of image, microns_per_pixel (default: its {TABLE})")
    parser.add_argument(
        "--microns-per-pixel",
        type=options.finite,
        help="resolution of the labelled images (default: the table's, or 0.25)",
    )
    parser.add_argument("--model", help=f"SavedModel to measure (default: the released {released.LYMPHOCYTE})")
    parser.add_argument("--roc", type=pathlib.Path, metavar="PNG", help="picture of the ROC curve that is measured")
    parser.add_argument("--weights", metavar="FILE", help="Keras's weights of VGG16 without top layers, to begin with")
    parser.add_argument("--out", type=pathlib.Path, help="run folder (default: runs/lymphocyte)")
    parser.add_argument("--bank", help="tile bank (default: banks/ beside the run folder)")
    parser.add_argument("--rebuild", action="store_true", help="replace a --bank that is damaged or has other settings")
    parser.add_argument(
        "--models", type=pathlib.Path, default=pathlib.Path("saved_models"), help="for the SavedModel [saved_models]"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, if there is one")
    parser.add_argument("--workers", type=int, default=0, help="processes that synthesise; 0: threads [0]")
    options.add_configuration(parser, "lymphocyte", ("synthesis", "networks", "losses", "schedule"))
    args = parser.parse_args(argv)
    wanted = [flag for flag in ("tiles", "labelled", "evaluate") if getattr(args, flag)]
    if len(wanted) != 1:
        told = " and ".join(f"--{flag}" for flag in wanted) or "none"
        raise ValueError(f"Expected one of --tiles, --labelled and --evaluate. Received: {told}.")
    if (args.model or args.roc) and not args.evaluate:
        raise ValueError("Expected --evaluate with --model and --roc. Received: a training.")
    return args


@command.command
def main(argv=None):
    """Trains or measures; returns the exit code."""
    args = arguments(argv)
    if args.evaluate:
        evaluate(args)
        return 0

    from train.runs import lymphocyte_run, record
    from train.runs.callbacks import Clock

    clock, settings = Clock(), options.configuration(args, "lymphocyte")
    lymphocyte_run.check(settings, bool(args.labelled))
    out = args.out or pathlib.Path("runs/lymphocyte")
    with locks.exclusive(out):
        record.check(out, settings, args.resume)
        with contextlib.closing(source(args, settings, out)) as examples:
            if told := record.finished(out):
                print(told, end="")
                return 0
            run = lymphocyte_run.train(out, settings, examples, clock, args.weights)
            lymphocyte_run.finish(run, examples, args.models, clock.minutes())
    return 0


def source(args, settings, out):
    """What a run learns from, and the beginning of its record.

    Args:
        args: parsed command line.
        settings: `Config`.
        out: run folder.

    Returns:
        `data.pipeline.Source` or `data.marked.Source`.
    """
    from data import marked, pipeline
    from train.runs import record, universal_training

    if args.tiles:
        tissue = tile_options.named(args)
        bank = universal_training.prepared(tissue, settings, args.bank, out, args.rebuild)
        universal_training.begin(out, settings, bank, tissue)
        return pipeline.Source(bank, settings, args.workers)
    images = places(args.labelled, args)
    examples = marked.Source(images, settings)
    counts = sum(int(image.positive.sum()) for image in images), sum(len(image.positive) for image in images)
    record.begin(out, settings, {"training": [image.name for image in images]})
    print(f"{len(images)} images; {counts[0]} of {counts[1]} places are lymphocytes")
    return examples


def places(folder, args):
    """Labelled places of a folder, list of `data.labelled.points.Marked`."""
    from data.labelled import points

    return points.read_folder(folder, args.positive, args.images, args.microns_per_pixel)


def evaluate(args):
    """Measures a classifier and prints the AUROC with its interval, last of all; draws the ROC curve."""
    from hou_synth import lymphocytes
    from train.judging import auroc

    if args.roc:
        files.refuse_existing(args.roc)
    classifier, images = lymphocytes.load(args.model), places(args.evaluate, args)
    judged = auroc.judged(classifier, images)
    if args.roc:
        auroc.draw(judged, args.roc)
    print(f"{len(images)} images; {judged.positive.sum()} of {len(judged.positive)} places are lymphocytes")
    area, (low, high) = auroc.area(judged.scores, judged.positive), auroc.interval(judged)
    print(f"auroc={area:.4f} low={low:.4f} high={high:.4f}")


if __name__ == "__main__":
    sys.exit(main())
