"""A run as a model of TensorFlow Serving, saved_models/<name>/<version>/: `python -m train.export --model RUN`."""

import argparse
import pathlib
import sys

from hou_synth.io import command

FORMATS = ("savedmodel", "onnx")


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=command.program("train.export"), description="Export a run as a model of TensorFlow Serving."
    )
    parser.add_argument("--model", required=True, type=pathlib.Path, help="run folder of a training")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="saved_models/<name>")
    parser.add_argument("--version", type=int, help="number of the version (default: the next one)")
    parser.add_argument("--scores", nargs="+", default=[], metavar="CSV", help="of train.evaluate, for the model card")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="onnx: the task network as <out>.onnx")
    args = parser.parse_args(argv)
    if args.format == "onnx" and (args.version is not None or args.scores):
        raise ValueError("Expected --version and --scores with --format savedmodel alone. Received: --format onnx.")
    if args.out.name.isdecimal():
        raise ValueError(f"Expected --out saved_models/<name>, which holds versions. Received: {args.out}.")
    return args


@command.command
def main(argv=None):
    """Exports; returns the exit code."""
    args = arguments(argv)

    from train.runs import universal_run
    from train.serving import assets, lymphocyte_model, run_export, saved_model

    if universal_run.classifies(args.model):
        if args.format == "onnx" or args.scores:
            raise ValueError(
                "Expected --format savedmodel without --scores of a run of train.lymphocyte. Received: both."
            )
        task = universal_run.trainer(args.model).plain()["task"]
        print(f"model: {lymphocyte_model.write(args.model, args.out, task, version=args.version)}")
        return 0
    if args.format == "onnx":
        print(f"model: {run_export.write_onnx(args.model, args.out)}")
        return 0
    scores = assets.read(args.scores)
    saved_model.vacant(args.out, args.version)
    task, refinement = run_export.networks(args.model)
    print(f"model: {saved_model.write(args.model, args.out, task, refinement, scores, args.version)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
