"""Measures models against labelled images: `python -m train.evaluate --data DIR...`."""

import argparse
import pathlib
import sys

from hou_synth import released
from hou_synth.io import command, files
from train.runs import labelled_options


def arguments(argv):
    """Parsed command line.

    Raises:
        ValueError: for options that do not go together, or results that are there already.
    """
    parser = argparse.ArgumentParser(
        prog=command.program("train.evaluate"), description="Measure models on labelled images."
    )
    parser.add_argument(
        "--model",
        nargs="+",
        metavar="PATH",
        help=f"SavedModels, or `otsu` for the baseline without training (default: the released {released.NAME}); "
        "of several, the means of the sets alone are told",
    )
    labelled_options.add_data(parser, required=True)
    parser.add_argument("--limit", type=int, help="measure only the first N images of each set")
    parser.add_argument("--no-normalise", action="store_true", help="leave the colours as they are")
    parser.add_argument("--out", type=pathlib.Path, help="CSV file for the images; Markdown tables are put beside it")
    parser.add_argument("--overlays", type=pathlib.Path, help="folder for true (yellow) and predicted (green) outlines")
    parser.add_argument(
        "--worst", type=pathlib.Path, help="folder for the five worst images, beside true and predicted outlines"
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first image that fails")
    args = parser.parse_args(argv)
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"Expected --limit of at least 1. Received: {args.limit}.")
    check_models(args.model or [], args.overlays or args.worst)
    check_room(args.out, args.overlays, args.worst)
    return args


def check_models(models, drawn):
    """Refuses a model that is named twice, and pictures of several."""
    if len(set(models)) < len(models):
        raise ValueError(f"Expected every model once. Received: {', '.join(models)}.")
    if drawn and len(models) > 1:
        raise ValueError(f"Expected one model with --overlays or --worst. Received: {', '.join(models)}.")


def check_room(out, *folders):
    """Refuses older results, so that nothing fails after the measuring."""
    if out and (out.suffix == ".md" or out.is_dir()):
        raise ValueError(f"Expected --out to be a CSV file; Markdown is put beside it. Received: {out}.")
    for path in filter(None, (out, out and out.with_suffix(".md"), *folders)):
        files.refuse_existing(path)


@command.command
def main(argv=None):
    """Measures models and prints the tables; returns the exit code."""
    args, failures = arguments(argv), []

    from train.judging import evaluation, scores
    from train.runs import labelled_sets

    def skip(error):
        command.complain(error)
        failures.append(error)

    on_error = None if args.strict else skip
    sets = labelled_sets.sets(labelled_options.named(args, args.data), on_error)
    sets = {name: entries[: args.limit] for name, entries in sets.items()}
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    if args.model and len(args.model) > 1:
        rows = evaluation.compare(args.model, sets, not args.no_normalise, on_error)
    else:
        segmented = evaluation.method(args.model and args.model[0], not args.no_normalise)
        rows = evaluation.measure(segmented, sets, on_error, args.overlays, args.worst)
    if not rows:
        raise ValueError("Expected an image that can be measured. Received: none, see above.")
    if args.out:
        scores.write(args.out, rows)
        files.write_text(args.out.with_suffix(".md"), evaluation.report(rows))
    return command.MISTAKE if failures else 0


if __name__ == "__main__":
    sys.exit(main())
