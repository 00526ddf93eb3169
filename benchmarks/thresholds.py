"""How one network's nuclei depend on the thresholds: `python -m benchmarks.thresholds --data DIR...`."""

import argparse
import dataclasses
import sys

import hou_synth
from hou_synth import config, metrics
from hou_synth.io import command
from hou_synth.io.tables import aligned
from train.runs import labelled_options

SHOWN = ("dice", "aji", "pq", "f1")


@command.command
def main(argv=None):
    """Prints a row for each set and thresholds: those of the model, and of presets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.thresholds", description=__doc__)
    parser.add_argument("--model", help="SavedModel (default: the released one)")
    parser.add_argument("--presets", nargs="+", default=["release"], help="presets of the thresholds [release]")
    labelled_options.add_data(parser, required=True)
    args = parser.parse_args(argv)

    from train.runs import labelled_sets

    model, sets = hou_synth.load(args.model), labelled_sets.sets(labelled_options.named(args, args.data))
    tried = {"its own": model.thresholds, **{name: config.preset(name).instances for name in args.presets}}
    rows = [["set", "images", "thresholds", *SHOWN]]
    for name, entries in sets.items():
        for title, thresholds in tried.items():
            rows.append([name, str(len(entries)), title, *measured(model, thresholds, name, entries)])
    print(aligned(rows, 3))
    return 0


def measured(model, thresholds, name, entries):
    """Texts of the mean measures of a model with other thresholds on a set.

    Args:
        model: `hou_synth.model.Model`.
        thresholds: `Instances`.
        name: of the set.
        entries: list of `data.labelled.reader.Entry`.
    """
    from train.judging import evaluation

    own = dataclasses.replace(model, thresholds=thresholds)
    means = metrics.mean(evaluation.measured_set(own.segment, name, entries))
    return [f"{means[measure]:.3f}" for measure in SHOWN]


if __name__ == "__main__":
    sys.exit(main())
