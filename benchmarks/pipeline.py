"""Whether training waits for its data: `python -m benchmarks.pipeline --tiles DIR`."""

import argparse
import contextlib
import math
import sys
import tempfile
import time

from benchmarks.synthesis import throughput
from data import tiles
from hou_synth import config, options
from hou_synth.io import command

UPDATES = (1, 1, 1)  # refiner, discriminator and task updates of the round that is timed
DEMAND, SIDE = 4000, 200  # patches a second of a fast trainer, and their side


@command.command
def main(argv=None):
    """Prints one row a preset, and the cores that a fast trainer needs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__)
    parser.add_argument("--tiles", help="folder of tiles at 40X (default: the embedded tissue)")
    segmenting = [name for name in config.PRESETS if name != "lymphocyte"]
    parser.add_argument("--presets", nargs="+", default=segmenting, help="presets [all of nuclei]")
    parser.add_argument("--workers", type=int, default=0, help="processes that synthesise; 0: threads [0]")
    parser.add_argument("--seconds", type=options.finite, default=20.0, help="measuring time of each preset [20]")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        banks = {name: tiles.prepare(args.tiles, config.preset(name).synthesis, beside=folder) for name in args.presets}
        print("preset patch batch rounds seconds_a_round waiting", flush=True)
        for name, bank in banks.items():
            settings = config.preset(name)
            rounds, seconds, waiting = measured(bank, settings, args.workers, args.seconds)
            size = f"{settings.schedule.patch:5} {settings.schedule.batch:5}"
            print(f"{name:7} {size} {rounds:6} {seconds / rounds:15.3f} {waiting / seconds:7.2%}", flush=True)
        for name, bank in banks.items():
            rate = throughput(bank, config.preset(name).synthesis, SIDE, 1, args.seconds)
            print(
                f"{name}: a worker makes {rate:.0f} patches/s of {SIDE}x{SIDE}, so "
                f"{math.ceil(DEMAND / rate)} cores feed a trainer that takes {DEMAND}"
            )
    return 0


def measured(bank, settings, count, seconds):
    """Rounds, seconds, and seconds of them spent waiting for data, after two rounds that trace."""
    import tensorflow as tf  # here, so that the help does not wait for it

    from data import pipeline
    from train.loop.trainer import UniversalTrainer

    trainer = UniversalTrainer(settings)
    trainer.compile(updates=UPDATES)
    with contextlib.closing(pipeline.Source(bank, settings, count)) as source:
        batches = iter(source.rounds(sum(UPDATES)))
        for _ in range(2):
            trainer.train_step(next(batches))
        rounds, waiting, started = 0, 0.0, time.perf_counter()
        while rounds < 3 or time.perf_counter() < started + seconds:
            asked = time.perf_counter()
            batch = next(batches)
            waiting += time.perf_counter() - asked
            tf.nest.map_structure(lambda value: value.numpy(), trainer.train_step(batch))
            rounds += 1
        return rounds, time.perf_counter() - started, waiting


if __name__ == "__main__":
    sys.exit(main())
