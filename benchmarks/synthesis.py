"""How fast patches are synthesised: `python -m benchmarks.synthesis --tiles DIR`."""

import argparse
import contextlib
import functools
import pathlib
import resource
import sys
import tempfile
import time

import cv2
import numpy as np

from data import synthetic, tiles, workers
from hou_synth import config, options
from hou_synth.io import command

PAPER = {200: 1000.0}  # milliseconds a patch on one core; paper Sec. 4.1
RELEASE = {400: 21100.0}  # the released program, median on one core of a 2-core machine of 2026
SEED = 0
TURNS = 5
MANY, FEW, LARGE = 2000, 100, 500  # tiles of the large bank and of the small one, and their side


@command.command
def main(argv=None):
    """Prints one row for each size and number of workers, and a last line for machines."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.synthesis", description=__doc__)
    parser.add_argument("--tiles", help="folder of tiles at 40X (default: the embedded tissue)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[75, 200, 400], help="sides of the patches")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of worker processes")
    parser.add_argument("--seconds", type=options.finite, default=10.0, help="measuring time of each figure [10]")
    parser.add_argument("--preset", default="release", help="preset of the synthesis [release]")
    parser.add_argument("--memory", action="store_true", help=f"also measure a bank of {MANY} tiles of {LARGE}x{LARGE}")
    args = parser.parse_args(argv)
    settings = config.preset(args.preset).synthesis
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        sources = tiles.folder_sources(args.tiles) if args.tiles else tiles.embedded_sources()
        bank = prepared(sources, folder / "bank.h5", settings)
        workers.keep_memory()
        print("size workers median_ms ninth_decile_ms patches/s megapixels/s peak_MB paper_ms release_ms", flush=True)
        lines = [line for size in args.sizes for line in rows(bank, settings, size, args.workers, args.seconds)]
        if args.memory:
            memory(sources, folder, settings, args.seconds)
    print(next((line for line in lines if line.startswith("size=200 workers=1 ")), lines[0]))
    return 0


def prepared(sources, path, settings):
    """The bank, built on one core, with the time that a tile took."""
    started = time.perf_counter()
    bank = tiles.build(sources, path, settings, workers=1, progress=False)
    milliseconds = (time.perf_counter() - started) * 1e3 / len(sources)
    height, width = np.median([tile.image.shape[:2] for tile in bank.tiles], axis=0).astype(int)
    print(f"{len(bank.tiles)} tiles, {milliseconds:.1f} ms each ({height}x{width} median) on one core", flush=True)
    return bank


def rows(bank, settings, size, counts, seconds):
    """Measures and prints the rows of one size; returns their lines for machines.

    Numbers of workers take turns, and each gets the median of its turns, as a machine's speed drifts.
    """
    median, decile = durations(bank, settings, size, seconds)
    teams = [(count, workers.examples(bank, SEED, size, settings, 0, None, count)) for count in counts]
    turns = [[rate(patches, count, seconds / TURNS) for count, patches in teams] for _ in range(TURNS)]
    for _, patches in teams:
        patches.close()
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    for count, each in zip(counts, np.median(turns, axis=0), strict=True):
        figures = (
            f"{size:4} {count:7} {median:9.2f} {decile:15.2f} {each:9.0f} {each * size**2 / 1e6:12.1f} {peak:7.0f}"
        )
        print(f"{figures} {PAPER.get(size, '-'):>8} {RELEASE.get(size, '-'):>10}", flush=True)
    return [f"size={size} workers={count} median_ms={median:.3f}" for count in counts]


def durations(bank, settings, size, seconds):
    """Median and ninth decile of the milliseconds of one patch, in this process."""
    times, index, end = [], 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        synthetic.example(bank, SEED, index, size, settings)
        times.append(time.perf_counter() - started)
        index += 1
    return np.quantile(times, (0.5, 0.9)) * 1e3


def throughput(bank, settings, size, count, seconds):
    """Patches a second of that many worker processes."""
    with contextlib.closing(workers.examples(bank, SEED, size, settings, 0, None, count)) as patches:
        return rate(patches, count, seconds)


def rate(patches, count, seconds):
    """Patches a second of a stream, once the workers' read-ahead, made before the clock starts, is used up."""
    for _ in range((workers.AHEAD + 2) * count * workers.BLOCK):
        next(patches)
    made, started = 0, time.perf_counter()
    while time.perf_counter() < started + seconds:
        next(patches)
        made += 1
    return made / (time.perf_counter() - started)


def memory(sources, folder, settings, seconds):
    """Throughput with a small and with a large bank, and the peak memory of the generating process."""
    rates = []
    for number in (FEW, MANY):
        several = [varied(sources[k % len(sources)], k) for k in range(number)]
        bank = tiles.build(several, folder / f"{number}.h5", settings)
        rates.append(throughput(bank, settings, 200, 1, seconds))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"{len(bank.tiles)} tiles of {LARGE}x{LARGE}: {rates[-1]:.0f} patches/s of 200x200, peak {peak:.0f} MB")
    print(f"{rates[1] / rates[0]:.0%} of the throughput")


def varied(source, number):
    """A `Source` made of another: mirrored to 500x500, flipped, with jittered colours."""
    return tiles.Source(f"{number}/{source.name}", "varied", functools.partial(_varied, source.read, number))


def _varied(read, number):
    image, random = read(), np.random.default_rng(number)
    height, width = (max(0, LARGE - side) for side in image.shape[:2])
    image = cv2.copyMakeBorder(image, 0, height, 0, width, cv2.BORDER_REFLECT)[:LARGE, :LARGE]
    image = cv2.flip(image, int(random.integers(-1, 2)))
    density = -np.log(np.maximum(image, 1) / 255.0) * random.uniform(0.9, 1.1, 3)
    return (255.0 * np.exp(-density)).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
