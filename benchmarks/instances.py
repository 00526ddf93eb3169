"""How fast maps become nuclei and nuclei are measured: `python -m benchmarks.instances`."""

import argparse
import sys
import time

import cv2
import numpy as np

from hou_synth import config, instances, metrics
from hou_synth.io import command

SIDE = 1000  # of the maps
NUCLEI, PAIR = 500, 1500  # nuclei that are converted, and nuclei of each map of the measured pair


@command.command
def main(argv=None):
    """Prints one row for each case: least and median milliseconds of its repeats."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instances", description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="times that each case is run [15]")
    parser.add_argument("--presets", nargs="+", default=["release", "cpu"], help="presets of the thresholds")
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    print("case nuclei least_ms median_ms", flush=True)
    for name in args.presets:
        settings = config.preset(name).instances
        pair = maps(discs(NUCLEI), settings)
        found = instances.nuclei(*pair, settings).max()
        report(f"nuclei:{name}", found, milliseconds(args.repeats, instances.nuclei, *pair, settings))
    true = discs(PAIR)
    predicted = np.roll(true, (2, 2), (0, 1))
    report("scores", true.max(), milliseconds(args.repeats, metrics.scores, predicted, true))
    return 0


def discs(count, side=SIDE):
    """Label map (side, side) int32 of `count` discs on a jittered grid; about half of them touch others."""
    random, labels = np.random.default_rng(0), np.zeros((side, side), np.int32)
    step = side / np.ceil(np.sqrt(count))
    rows, columns = np.divmod(np.arange(count), int(np.ceil(np.sqrt(count))))
    centres = np.stack([columns + 0.5, rows + 0.5], axis=1) * step + random.uniform(-0.25, 0.25, (count, 2)) * step
    radii = random.uniform(0.25, 0.45, count) * step
    for label, (centre, radius) in enumerate(zip(centres, radii, strict=True), start=1):
        cv2.circle(labels, tuple(map(int, centre)), int(radius), label, -1)
    return labels


def maps(labels, settings):
    """Segmentation and detection maps of a label map, blurred, with noise: no region is flat, specks are many."""
    random = np.random.default_rng(1)
    noise = [cv2.GaussianBlur(random.normal(0, 1, labels.shape).astype(np.float32), (0, 0), 2) for _ in range(2)]
    eroded = cv2.erode(labels.astype(np.float32), np.ones((7, 7))) == labels
    segmentation = cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), 1)
    detection = cv2.GaussianBlur((eroded & (labels > 0)).astype(np.float32), (0, 0), 1)
    shares = (0.9, 0.9 if settings.seed_height else 0.2)
    return [np.clip(s * m + 0.4 * n, 0, 1) for s, m, n in zip(shares, (segmentation, detection), noise, strict=True)]


def milliseconds(repeats, function, *arguments):
    """Durations of the calls of a function, after one that warms up."""
    function(*arguments)
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function(*arguments)
        times.append((time.perf_counter() - started) * 1e3)
    return times


def report(case, count, times):
    """Prints a row."""
    print(f"{case:15} {count:6} {min(times):8.1f} {np.median(times):9.1f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
