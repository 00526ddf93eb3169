"""Every command under one name: `hou-synth segment IMAGE...`, also `python -m hou_synth segment IMAGE...`."""

import argparse
import importlib
import pathlib
import sys

import hou_synth
from hou_synth.io import command

# Modules that have a `main`, imported by name when they are called, so that this package depends on none of them.
COMMANDS = {
    "segment": ("hou_synth.segment", "the nuclei of images and whole slides"),
    "train": ("train.universal", "train a network on tiles, without labels"),
    "adapt": ("train.adapt", "adapt a trained network to one's own tiles, without labels"),
    "supervised": ("train.supervised", "train a network on labelled images"),
    "finetune": ("train.finetune", "train a network further on labelled images"),
    "lymphocyte": ("train.lymphocyte", "train or measure a classifier of lymphocytes"),
    "evaluate": ("train.evaluate", "measure a model on labelled images"),
    "ranking": ("train.ranking", "rank models without a label"),
    "thresholds": ("train.thresholds", "choose the thresholds of a model without labels"),
    "export": ("train.export", "write a run as a model of TensorFlow Serving"),
    "figures": ("train.figures", "draw the paper's figures of a run"),
    "diagnose": ("train.diagnose", "look into a run's discriminator and importance weights"),
    "experiments": ("train.experiments", "train and measure the cells of the paper's tables"),
    "ablation": ("train.ablation", "train and measure the method without each of its parts"),
    "page": ("train.page", "a page in the browser: segment, synthesise, read studies"),
    "study": ("train.study", "make reader studies, and tell what their answers say"),
    "synthesize": ("data.synthesize", "write a data set of synthetic patches"),
    "slides": ("data.slides", "write tiles of whole slides, to train on"),
    "metrics": ("hou_synth.metrics", "compare two folders of label maps"),
}


def arguments(argv):
    """How this was called, and the command line: a command's name and all that follows it."""
    width = max(map(len, COMMANDS))
    parser = argparse.ArgumentParser(
        prog=command.MODULE if pathlib.Path(sys.argv[0]).name == "__main__.py" else command.PROGRAM,
        usage="%(prog)s [-h] [--version] COMMAND ...",
        description=hou_synth.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(
            ["commands:", *(f"  {name:{width}}  {about}" for name, (_, about) in COMMANDS.items())]
            + ["", "%(prog)s COMMAND --help tells the options of one."]
        ),
    )
    parser.add_argument("--version", action="version", version=f"{command.PROGRAM} {hou_synth.__version__}")
    parser.add_argument("command", metavar="COMMAND", nargs="?", help="one of those below")
    parser.add_argument("arguments", metavar="...", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        parser.exit(command.MISTAKE)
    return parser.prog, args


@command.command
def main(argv=None):
    """Runs the command that is named; returns its exit code."""
    program, args = arguments(argv)
    if args.command not in COMMANDS:
        raise ValueError(f"Expected a command out of {', '.join(COMMANDS)}. Received: {args.command!r}.")
    sys.argv = [f"{program} {args.command}", *args.arguments]  # as if it had been called alone
    return importlib.import_module(COMMANDS[args.command][0]).main()
