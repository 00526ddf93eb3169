"""A run as a model of TensorFlow Serving, saved_models/<name>/<version>/: `python -m train.export --model RUN`."""

import argparse
import pathlib
import sys

import keras

from hou_synth.io import command, files
from train.runs import universal_run
from train.serving import assets, saved_model

FORMATS = ("savedmodel", "onnx")


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.export", description="Export a run as a model of TensorFlow Serving."
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
    settings, scores = universal_run.settings(args.model), assets.read(args.scores)
    if args.format == "onnx":
        print(f"model: {write_onnx(args.model, settings, args.out)}")
        return 0
    saved_model.vacant(args.out, args.version)
    print(f"model: {saved_model.write(args.model, args.out, *networks(args.model, settings), scores, args.version)}")
    return 0


def write_onnx(run, settings, folder):
    """Writes the task network of a run to `<folder>.onnx`, where TensorFlow Serving does not see it; returns the path.

    Raises:
        ValueError: if the file exists.
        OSError: if it cannot be written.
    """
    from train.serving import onnx  # here, as its libraries are an extra

    path = folder.with_name(f"{folder.name}.onnx")
    files.refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.write(networks(run, settings)[0], path)
    return path


def networks(run, settings):
    """The task network of a run and its `Refinement`, None if it has none or its weights are not known any more.

    Args:
        run: folder of `train.universal`, `train.supervised` or `train.finetune`.
        settings: its `Config`.

    Raises:
        ValueError: if there are no networks.
    """
    if universal_run.adversarial(run):
        trainer = universal_run.load(run, settings)
        plain = trainer.plain()
        return plain["task"], universal_run.refinement(trainer, plain)
    if not (run / "task.keras").exists():
        raise ValueError(f"Expected the network of a run in {run}. Received: a folder without task.keras.")
    return keras.saving.load_model(run / "task.keras", compile=False), None


if __name__ == "__main__":
    sys.exit(main())
