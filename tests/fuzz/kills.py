"""Jobs that are killed at random moments, and whose file system fills up: `python -m tests.fuzz.kills`.

Each job is run to its end once. Then it is started again and again and killed with SIGKILL at random moments, and at
the end it must have written what the undisturbed one wrote. The same on a file system that is too small, which grows
between the starts (Linux, root). TensorFlow takes seconds to import: this program imports it, starts nothing of it, and
forks each start.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import io
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable

import cv2
import h5py
import numpy as np
import tifffile

from data import tissue
from hou_synth import segment
from train import universal
from train.runs import universal_training

KILLS = 20
SEED = 0
FILLED = (0.02, 0.2, 0.5, 0.8)  # sizes of the file system in turn, as shares of what the whole job writes
SMALL = "--refiner-blocks 1 --unet-widths 4,8 --unet-down 1,1 --unet-up 1 --patch 64 --batch 2 --pool 8 --workers 0"


@dataclasses.dataclass(frozen=True)
class Job:
    """A command that can be started again.

    Attributes:
        name: what is told.
        start: function from the folder of inputs and that of outputs to the command's exit code.
        result: function from the folder of outputs to what an undisturbed start writes, comparable with `==`.
    """

    name: str
    start: Callable
    result: Callable


def training(inputs, out):
    """A whole training with a refiner."""
    rounds = "--preset cpu --refiner-steps 10 --discriminator-steps 0 --adversarial-rounds 0 --task-steps 12"
    more = "--joint-rounds 10 --final-steps 0 --refiner-updates 1 --task-updates 1"
    return trained(inputs, out, f"{rounds} {more}")


def self_training(inputs, out):
    """Two rounds of self-training."""
    return trained(inputs, out, "--preset thorough --task-steps 12 --self-rounds 2 --self-steps 8")


def trained(inputs, out, rounds):
    universal_training.CHECKPOINT_MINUTES, universal_training.SCORED = 0.0, 2
    where = ["--tiles", f"{inputs}/tiles", "--out", f"{out}/run", "--models", f"{out}/models", "--resume"]
    return universal.main([*where, *SMALL.split(), *rounds.split()])


def weights(out):
    """Digests of the networks' weights, read without TensorFlow: a process that has used it cannot fork."""
    return {path.name: digest(path) for path in (out / "run").glob("*.keras")}


def digest(path):
    total = hashlib.sha256()

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            total.update(name.encode() + item[()].tobytes())

    with zipfile.ZipFile(path) as parts, h5py.File(io.BytesIO(parts.read("model.weights.h5"))) as file:
        file.visititems(add)
    return total.hexdigest()


def images(inputs, out):
    """A batch of images."""
    return segment.main(["--out", f"{out}/images", f"{inputs}/tiles/lung"])


def slide(inputs, out):
    """A slide."""
    return segment.main(["--out", f"{out}/slide", "--microns-per-pixel", "0.25", f"{inputs}/slide.tif"])


def contents(out):
    """Digests of all files but those that tell of the time."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


JOBS = (
    Job("training", training, weights),
    Job("self-training", self_training, weights),
    Job("image batch", images, contents),
    Job("slide", slide, contents),
)


def prepare(folder):
    """Writes the inputs of the jobs: tiles of tissue with nuclei, and a slide of them; returns 0."""
    (folder / "tiles/lung").mkdir(parents=True)
    parts = list(tissue.tiles().values())[:6]
    for number, image in enumerate(parts):
        cv2.imwrite(str(folder / f"tiles/lung/{number}.png"), image[:256, :256, ::-1])
    whole = np.tile(np.concatenate(parts[:3], 1), (3, 1, 1))
    with tifffile.TiffWriter(folder / "slide.tif") as file:
        for level, factor in enumerate((1, 0.5)):
            pixels = cv2.resize(whole, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            file.write(pixels, tile=(256, 256), photometric="rgb", subfiletype=level)
    return 0


def started(function, folder, *arguments):
    """Process id of a fork that calls a function with a folder; what it tells goes to `log` in the folder."""
    child = os.fork()
    if child:
        return child
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        code = function(folder, *arguments)
    except BaseException as error:
        print(f"Traceback: {error!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def ended(child, seconds=None):
    """Exit code of a child; None if it has not ended in time."""
    until = time.monotonic() + (seconds if seconds is not None else float("inf"))
    while time.monotonic() < until:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def whole(job, inputs, out):
    """Runs a job to its end; returns what it wrote.

    Raises:
        SystemExit: if it fails.
    """
    out.mkdir(exist_ok=True)
    code = ended(started(job.start, inputs, out))
    if code != 0:
        sys.exit(f"{job.name}: exit code {code}\n{(inputs / 'log').read_text()[-2000:]}")
    return job.result(out)


def killed(job, inputs, folder, kills, random):
    """Kills a job at random moments until it was killed often enough; returns how many whole ones came of it.

    Raises:
        SystemExit: if one ended with anything else than the undisturbed one.
    """
    begun = time.monotonic()
    expected = whole(job, inputs, folder / "whole")
    duration, finished, count = time.monotonic() - begun, 0, 0
    out = folder / "killed"
    while count < kills:
        out.mkdir(exist_ok=True)
        child = started(job.start, inputs, out)
        if ended(child, random.uniform(0, duration)) is None:
            os.kill(child, signal.SIGKILL)
            ended(child)
            count += 1
        else:
            finished += compared(job, expected, whole(job, inputs, out))
            shutil.rmtree(out)
    finished += compared(job, expected, whole(job, inputs, out))
    return finished


def compared(job, expected, found):
    """1; ends the program if two results differ."""
    if expected != found:
        differing = [name for name in {*expected, *found} if expected.get(name) != found.get(name)]
        sys.exit(f"{job.name}: lost or changed after a kill: {', '.join(sorted(differing))}")
    return 1


@contextlib.contextmanager
def filesystem(folder, size):
    """Context with a function that gives a file system of its own another size in bytes.

    Raises:
        OSError: if this process may not mount one.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    if subprocess.run([*mount, f"size={size}", "tmpfs", str(folder)], capture_output=True).returncode:
        raise OSError("Expected to be allowed to mount a file system. Received: a refusal; run as root.")
    try:
        yield lambda size: subprocess.run([*mount, f"remount,size={size}", "tmpfs", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def filled(job, inputs, folder):
    """Starts a job on a file system that fills up, and makes it larger; returns how often it was full.

    Raises:
        SystemExit: if a full one gave a traceback, or the end differs from the undisturbed job.
        OSError: as `filesystem`.
    """
    expected = whole(job, inputs, folder / "undisturbed")
    size = sum(path.stat().st_size for path in (folder / "undisturbed").rglob("*") if path.is_file())
    full = 0
    with filesystem(folder / "small", 4096) as resize:
        out = folder / "small" / "out"
        for share in FILLED:
            resize(int(share * size) + 4096)
            out.mkdir(exist_ok=True)
            code = ended(started(job.start, inputs, out))
            told = (inputs / "log").read_text()
            if code not in (0, 2) or "Traceback" in told:
                sys.exit(f"{job.name}: exit code {code} on a full file system\n{told[-2000:]}")
            full += code == 2
        resize(8 * size + 2**26)
        compared(job, expected, whole(job, inputs, out))
    return full


def main(argv=None):
    """Prints a row for each job: kills, whole results after them, full file systems; exits with 1 at a difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description=main.__doc__)
    parser.add_argument("--kills", type=int, default=KILLS, help=f"of each job [{KILLS}]")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the moments [{SEED}]")
    parser.add_argument("--jobs", nargs="+", default=[job.name for job in JOBS], help="some jobs alone")
    args = parser.parse_args(argv)
    print(f"{'job':16}{'kills':>8}{'equal ends':>12}{'times full':>12}{'lost':>6}", flush=True)
    for job in (job for job in JOBS if job.name in args.jobs):
        with tempfile.TemporaryDirectory(prefix="kills-") as folder:
            folder = pathlib.Path(folder)
            inputs = folder / "inputs"
            inputs.mkdir()
            ended(started(prepare, inputs))  # threads of this process would not be in its forks
            finished = killed(job, inputs, folder, args.kills, np.random.default_rng(args.seed))
            try:
                full = filled(job, inputs, folder)
            except OSError as error:
                full = "-"
                print(error, file=sys.stderr)
        print(f"{job.name:16}{args.kills:>8}{finished:>12}{full:>12}{0:>6}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
