"""How fast a served model answers: `python -m benchmarks.serving --model saved_models/NAME --run RUN`."""

import argparse
import concurrent.futures
import contextlib
import functools
import itertools
import multiprocessing
import os
import pathlib
import resource
import sys
import tempfile
import time

import numpy as np
from tqdm import tqdm

import hou_synth
from hou_synth import model, options, released
from hou_synth.io import command, quiet, tables

RUN = ("keras call", "keras predict", "onnx")  # networks that are measured besides, given a run folder
CALLS = 5  # least calls behind a figure
FIRST = 512  # side of the image of the first request of a cold start
SPEED = ("network", "size", "batch", "calls", "images/s", "p50 ms", "p99 ms", "peak MB")
COLD = ("started", "TensorFlow ms", "load ms", "warm-up ms", "first answer ms", "second answer ms")


@command.command
def main(argv=None):
    """Prints what lies on disk, what a cold start costs, and the speed by network, image size and batch."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    about = f"SavedModel: saved_models/<name> or <name>/<version> (default: the released {released.NAME})"
    known = f"out of savedmodel, {', '.join(RUN)} [all that there are]"
    parser.add_argument("--model", help=about)
    parser.add_argument("--run", type=pathlib.Path, help="its run folder, to measure Keras and ONNX too")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024], help="sides [256 512 1024]")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8], help="images a call [1 2 4 8]")
    parser.add_argument("--networks", nargs="+", choices=("savedmodel", *RUN), metavar="NETWORK", help=known)
    parser.add_argument("--seconds", type=options.finite, default=5.0, help="measuring time of each figure [5]")
    parser.add_argument("--cold", type=int, default=3, help="cold starts of each kind, the median counts [3]")
    args = parser.parse_args(argv)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        networks = places(
            model.model_folder(args.model or released.model()), args.run, pathlib.Path(scratch), args.networks
        )
        show(("on disk", "MB"), [[name, f"{megabytes(path):.2f}"] for name, path in networks.items()])
        if args.cold and "savedmodel" in networks:
            show(COLD, [cold_row(networks["savedmodel"], warm, args.cold) for warm in (False, True)])
        show(SPEED, rows(networks, args.sizes, args.batches, args.seconds), left=1)
    print(f"load {os.getloadavg()[0]:.1f} after, in which this has its part")
    return 0


def show(header, rows, left=1):
    """Prints a table."""
    print(f"\n{tables.aligned([list(header), *rows], left)}\n", flush=True)


def places(folder, run, scratch, names=None):
    """Path of each network; the ONNX file is made from the run, if its libraries are installed.

    Args:
        folder: of the SavedModel.
        run: folder, or None.
        scratch: where the ONNX file goes.
        names: of the networks that are wanted; None for all that there are.

    Raises:
        ValueError: if one that is wanted needs a run, or there is none in the folder.
    """
    if names and set(names) & set(RUN) and not run:
        raise ValueError(f"Expected --run for {', '.join(RUN)}. Received: --networks {' '.join(names)} without.")
    paths = {"savedmodel": folder}
    if run:
        if not (run / "task.keras").is_file():
            raise ValueError(f"Expected a run folder with task.keras. Received: {run}.")
        paths |= dict.fromkeys(RUN, run / "task.keras") | {"onnx": scratch / "task.onnx"}
    paths = {name: path for name, path in paths.items() if name in (names or paths)}
    if "onnx" in paths:
        try:
            with fresh() as process:
                process.submit(convert, run / "task.keras", paths["onnx"]).result()
        except ValueError as error:
            if names:
                raise
            print(f"ONNX is left out: {error}", file=sys.stderr)
            del paths["onnx"]
    return paths


def convert(kept, path):
    """Writes a kept task network as ONNX."""
    import keras

    from train.serving import onnx

    onnx.write(keras.saving.load_model(kept, compile=False), path)


@contextlib.contextmanager
def fresh():
    """A process of its own, so that its peak memory and its cold start are those of one network."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context, initializer=quiet.tensorflow) as process:
        yield process


def megabytes(path):
    """Size of a file, or of what an exported model needs at serving: its graph and its weights."""
    files = [path] if path.is_file() else [path / "saved_model.pb", *(path / "variables").iterdir()]
    return sum(file.stat().st_size for file in files) / 1e6


def cold_row(folder, warm, count):
    """Row of `COLD`: medians of some cold starts."""
    times = []
    for _ in tqdm(range(count), desc=f"cold start{', warm-up' if warm else ''}", unit="start", disable=None):
        with fresh() as process:
            times.append(process.submit(cold, folder, warm).result())
    medians = [f"{value:.0f}" for value in np.median(times, axis=0)]
    return ["with the warm-up file" if warm else "without", *medians]


def cold(folder, warm):
    """Milliseconds of a cold start: TensorFlow, loading, warm-up requests, first and second answer."""
    moments = [time.perf_counter()]

    def passed():
        moments.append(time.perf_counter())

    import tensorflow as tf

    passed()
    loaded = tf.saved_model.load(str(folder))
    passed()
    if warm:
        warm_up(loaded, folder)
    passed()
    images = tf.constant(noise(1, FIRST))
    for _ in range(2):
        loaded.signatures["serving_default"](images=images)["segmentation"].numpy()
        passed()
    return np.diff(moments) * 1e3


def warm_up(loaded, folder):
    """Runs the requests of the warm-up file, as TensorFlow Serving does before it serves a version."""
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    file = folder / "assets.extra" / "tf_serving_warmup_requests"
    if not file.is_file():
        raise ValueError(f"Expected a model with warm-up requests, or --cold 0. Received: {folder}.")
    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        loaded.signatures[request.model_spec.signature_name or "serving_default"](**inputs)


def noise(batch, size):
    """Images of noise, (batch, size, size, 3) uint8; the time does not depend on what is in them."""
    return np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)


def rows(networks, sizes, batches, seconds):
    """Rows of `SPEED`, the smallest images first, so that the peak is that of its row."""
    cases = sorted(itertools.product(sizes, batches), key=lambda case: case[0] ** 2 * case[1])
    made = []
    with tqdm(total=len(networks) * len(cases), unit="figure", disable=None) as progress:
        for name, path in networks.items():
            with fresh() as process:
                for size, batch in cases:
                    progress.set_postfix_str(f"{name} {batch} x {size}x{size}")
                    times, peak = process.submit(measured, name, path, size, batch, seconds).result()
                    made.append(row(name, size, batch, times, peak))
                    progress.update()
    return made


def row(name, size, batch, times, peak):
    """One of `SPEED`."""
    middle, slowest = np.quantile(times, (0.5, 0.99)) * 1e3
    figures = f"{batch * len(times) / sum(times):.2f} {middle:.1f} {slowest:.1f} {peak:.0f}"
    return [name, str(size), str(batch), str(len(times)), *figures.split()]


def measured(name, path, size, batch, seconds):
    """Seconds of each call after two that trace, and the most memory that the process had in use so far, in MB."""
    run, images, times = network(name, path), noise(batch, size), []
    for _ in range(2):
        run(images)
    end = time.perf_counter() + seconds
    while len(times) < CALLS or time.perf_counter() < end:
        started = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - started)
    return times, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@functools.cache
def network(name, path):
    """Callable from (b, h, w, 3) uint8 to maps, as NumPy arrays; Keras takes sides that its pools divide."""
    if name == "savedmodel":
        return hou_synth.load(path).network
    if name == "onnx":
        from train.serving import onnx

        return onnx.network(path)
    return keras_network(name, path)


def keras_network(name, path):
    """The task network by Keras's `predict`, or called as a function that is traced."""
    import keras
    import tensorflow as tf

    from train.serving import signatures

    task = keras.saving.load_model(path, compile=False)
    if name == "keras predict":
        return lambda images: task.predict(images / np.float32(127.5) - 1, batch_size=len(images), verbose=0)
    serve = tf.function(functools.partial(signatures.probabilities, task), reduce_retracing=True)
    return lambda images: {name: map.numpy() for name, map in serve(tf.constant(images)).items()}


if __name__ == "__main__":
    sys.exit(main())
