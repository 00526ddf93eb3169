"""The paper's ablations (Table 3) and their controls: `python -m train.ablation --tiles DIR --data DIR...`."""

import argparse
import pathlib
import sys

from hou_synth import options
from hou_synth.io import command
from train.runs import labelled_options
from train.tables import ablations


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=command.program("train.ablation"), description="Train and measure the method without each of its parts."
    )
    parser.add_argument("--tiles", help="folder of tiles at 40X (default: the embedded tissue)")
    labelled_options.add_data(parser, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/ablation"), help="folder of the cells")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the runs of each row [0 1 2]")
    parser.add_argument("--rows", nargs="+", choices=tuple(ablations.ROWS), default=tuple(ablations.ROWS), help="[all]")
    options.add_configuration(parser, "cpu")
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Runs the cells that are not finished, seed by seed, measures them, writes the table; returns the exit code."""
    args = arguments(argv)
    if hasattr(args, "seed"):
        raise ValueError(f"Expected --seeds. Received: --seed {args.seed}.")

    from train.runs import labelled_sets
    from train.tables import ablation_table, sweep

    settings, wanted = options.configuration(args, "cpu"), options.given(args)
    sweep.check(settings)
    ablations.check(settings, args.rows)
    sets = labelled_sets.sets(labelled_options.named(args, args.data))
    sweep.same(args.out / "ablation.json", {"data": args.data, "tiles": args.tiles, "options": wanted})
    planned = [(row, seed) for seed in dict.fromkeys(args.seeds) for row in ablations.ROWS if row in args.rows]
    measured = []
    for number, (row, seed) in enumerate(planned, 1):
        name = f"{row}-seed{seed}"
        print(f"cell {number} of {len(planned)}: {name}", flush=True)
        if not sweep.finished(args.out, name):
            where = [*sweep.places(args.out, name), "--bank", str(args.out / "tiles.h5")]
            sweep.train(name, ablations.words(row, seed, wanted, where, args.tiles))
        about = {"row": row, "seed": seed, "minutes": sweep.minutes(args.out, name)}
        for group, entries in sets.items():
            measured += [{**about, **scores} for scores in sweep.measured(args.out, name, group, entries)]
        ablation_table.write(args.out, measured)
    print((args.out / "ablation.md").read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
