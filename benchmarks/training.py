"""How fast the networks train: `python -m benchmarks.training --tiles DIR`."""

import argparse
import dataclasses
import os
import sys
import tempfile

from data import tiles
from hou_synth import config, options
from hou_synth.io import command

PIXELS = 10 * 75**2  # of a batch on a CPU: 10 patches of the paper's 75x75
MEMORY = 8  # rounds whose data a device may have


@command.command
def main(argv=None):
    """Prints one row for each size, arithmetic and step."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--tiles", help="folder of tiles at 40X (default: the embedded tissue)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[75, 200, 400], help="sides of the patches")
    parser.add_argument("--batch", type=int, help="patches (default: as many as have the pixels of 10 of 75x75)")
    parser.add_argument("--preset", default="paper", help="preset of the networks [paper]")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], help="[float32 bfloat16]")
    parser.add_argument("--jit", action="store_true", help="compile the steps with XLA")
    parser.add_argument("--workers", type=int, default=0, help="processes that synthesise; 0: threads [0]")
    parser.add_argument("--seconds", type=options.finite, default=5.0, help="measuring time of each figure [5]")
    args = parser.parse_args(argv)
    from benchmarks import steps  # here, so that the help does not wait for TensorFlow

    with tempfile.TemporaryDirectory() as beside:
        bank = tiles.prepare(args.tiles, config.preset(args.preset).synthesis, beside=beside)
        print(f"{steps.device()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
        print(steps.COLUMNS, flush=True)
        for size in args.sizes:
            for precision in args.precisions:
                chosen = settings(args.preset, size, args.batch, precision, args.jit)
                steps.rows(bank, chosen, args.workers, args.seconds)
    print(f"load {os.getloadavg()[0]:.1f} after, in which this has its part")
    return 0


def settings(preset, size, batch, precision, jit):
    """The configuration of a size and an arithmetic; without a batch, one of as many pixels as ten of 75x75."""
    batch = batch or max(2, PIXELS // size**2 // 2 * 2)
    changes = {"patch": size, "batch": batch, "pool": MEMORY * batch, "mixed_precision": precision, "jit": jit}
    whole = config.preset(preset)
    return dataclasses.replace(whole, schedule=dataclasses.replace(whole.schedule, **changes))


if __name__ == "__main__":
    sys.exit(main())
