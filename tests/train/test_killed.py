"""A run that is killed again and again, at random moments, ends as if nothing had happened.

TensorFlow takes seconds to import. So this file is also a program, which imports it, starts nothing of it, and forks:
each child is a start of the run, that trains until it is killed with SIGKILL.
"""

import os
import pathlib
import select
import signal
import subprocess
import sys
import time

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from train import universal
from train.runs import universal_training
from train.runs.checkpoints import Checkpoints

ROOT = pathlib.Path(__file__).parents[2]  # this file is also run as a program
TINY = (
    "--preset cpu --refiner-blocks 1 --unet-widths 4,8 --unet-down 1,1 --unet-up 1 --patch 64 --batch 2 --pool 8 "
    "--discriminator-steps 0 --adversarial-rounds 0 --final-steps 0 --refiner-updates 1 --task-updates 1 "
    "--workers 0 --resume"
).split()


KILLS = 20
ROUNDS = (10, 12, 10)  # of the first phases, of the task phase and of the joint one


@pytest.mark.slow
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(tmp_path, tissue_image):
    (tmp_path / "tiles/lung").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "tiles/lung/a.png"), tissue_image[0][..., ::-1])
    command = [sys.executable, __file__, str(tmp_path)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0  # of the kills hit a half written checkpoint
    whole, killed = tmp_path / "whole/run", tmp_path / "killed/run"
    for name in ("refiner", "discriminator", "task"):
        pairs = zip(
            *(keras.saving.load_model(run / f"{name}.keras").get_weights() for run in (whole, killed)), strict=True
        )
        assert all(np.array_equal(one, other) for one, other in pairs)
    one, other = state(whole), state(killed)
    assert one.keys() == other.keys() and {name.split("/")[0] for name in one} == {"trainer", "done", "progress"}
    assert [name for name in one if not np.array_equal(one[name], other[name])] == []
    assert sum("optimizer" in name for name in one) > 30 and one["trainer/pool/layers/image"].any()
    told = (tmp_path / "killed/log").read_text()
    assert told.count("restored ") >= KILLS // 2 and "damaged" not in told


def state(run):
    """Arrays of the latest checkpoint of a run, by name, without the clock's."""
    latest = max((run / "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1])) / "state"
    reader = tf.train.load_checkpoint(str(latest))
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("/.ATTRIBUTES/VARIABLE_VALUE")]
    return {
        name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): reader.get_tensor(name)
        for name in names
        if "clock" not in name
    }


def main(folder):
    """Makes the run `whole` and the run `killed`; prints how many kills left a half written checkpoint."""
    universal_training.CHECKPOINT_MINUTES, universal_training.SCORED = 0.0, 2
    ended(started(folder, "whole"))
    random, torn = np.random.default_rng(1), 0
    for number in range(KILLS):
        torn += kill(started(folder, "killed"), number % 4, random, folder / "killed/run/checkpoints/.part")
    ended(started(folder, "killed"))
    print(torn)


def started(folder, name):
    """Process id of a start of a run, and a pipe that gets a byte whenever it begins with a checkpoint."""
    (folder / name).mkdir(exist_ok=True)
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    log = os.open(folder / name / "log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        code = train(folder, folder / name, writer)
    finally:
        os._exit(code)


def train(folder, out, writer):
    """Trains until it is killed, or done."""
    original = Checkpoints.save

    def save(self):
        os.write(writer, b".")
        original(self)

    Checkpoints.save = save
    argv = ["--tiles", f"{folder}/tiles", "--out", f"{out}/run", "--models", f"{out}/models", *TINY]
    phases = zip(("--refiner-steps", "--task-steps", "--joint-rounds"), ROUNDS, strict=True)
    return universal.main([*argv, *(f"{name}={number}" for name, number in phases)])


def kill(run, kind, random, partial):
    """Kills a run: at any moment (kind 0), while it writes (2), or around that time; whether it was writing."""
    child, reader = run
    if kind == 0:
        select.select([reader], [], [], random.uniform(0, 6))
    else:
        for _ in range(1 if kind == 2 else random.integers(2, 5)):
            assert os.read(reader, 1), "the run ended before it was killed"
    while kind == 2 and not partial.exists():
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.04 if kind == 2 else 0.3))
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    os.close(reader)
    return partial.exists()


def ended(run):
    """Waits until a run has ended well."""
    child, reader = run
    assert os.waitpid(child, 0)[1] == 0
    os.close(reader)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
