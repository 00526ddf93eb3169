import contextlib
import os
import resource
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from train.runs import callbacks
from train.runs.checkpoints import Checkpoints, Diverged


class State(tf.Module):
    """A few variables that all hold the same number."""

    def __init__(self, folder):
        super().__init__()
        self.weights = [tf.Variable(tf.zeros((50, 40))) for _ in range(5)]
        self.pool = tf.Variable(tf.zeros((100, 64), tf.uint8))
        self.checkpoints = Checkpoints(folder, state=self)

    def set(self, number):
        for variable in (*self.weights, self.pool):
            variable.assign(tf.fill(variable.shape, tf.cast(number, variable.dtype)))

    def number(self):
        values = {float(v) for variable in (*self.weights, self.pool) for v in variable.numpy().ravel()}
        return values.pop() if len(values) == 1 else values


@pytest.fixture
def folder(tmp_path):
    """Folder with the states 1, 2 and 3, of which the first is no longer kept."""
    state = State(tmp_path / "checkpoints")
    for number in (1, 2, 3):
        state.set(number)
        state.checkpoints.save()
    return tmp_path / "checkpoints"


def content(folder):
    return sorted(path.name for path in folder.iterdir())


def restored(folder):
    state = State(folder)
    state.checkpoints.restore()
    return state


def test_the_last_two_states_are_kept_and_the_newest_is_restored(folder, capsys):
    assert content(folder) == ["ckpt-2", "ckpt-3"]
    state = restored(folder)
    assert state.number() == 3
    assert capsys.readouterr() == (f"restored {folder / 'ckpt-3'}\n", "")
    state.set(4)
    state.checkpoints.save()
    assert content(folder) == ["ckpt-3", "ckpt-4"] and restored(folder).number() == 4


def test_ten_comes_after_nine(tmp_path):
    state = State(tmp_path)
    for number in range(1, 11):
        state.set(number)
        state.checkpoints.save()
    assert content(tmp_path) == ["ckpt-10", "ckpt-9"] and restored(tmp_path).number() == 10


def test_without_a_checkpoint_nothing_happens(tmp_path, capsys):
    assert restored(tmp_path / "none").number() == 0
    assert capsys.readouterr() == ("", "") and not (tmp_path / "none").exists()


def cut(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "missing": os.remove,
    "empty": cut(0.0),
    "halved": cut(0.5),
    "shorter": cut(0.999),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "garbage": lambda path: path.write_bytes(os.urandom(path.stat().st_size)),
    "one bit": flip,
}


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_latest_one_falls_back_to_the_one_before(folder, capsys, damage, suffix):
    DAMAGES[damage](folder / "ckpt-3" / f"state.{suffix}")
    state = restored(folder)
    assert state.number() == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and f"{folder / 'ckpt-3'} is damaged" in told[0]
    assert content(folder) == ["ckpt-2", "ckpt-3"]
    state.set(4)
    state.checkpoints.save()  # neither takes the damaged one's name nor drops the good one for it
    assert content(folder) == ["ckpt-2", "ckpt-4"]
    shutil.rmtree(folder / "ckpt-4")
    assert restored(folder).number() == 2


def test_when_all_are_damaged_one_error_names_them_and_what_to_do(folder):
    for path in folder.iterdir():
        cut(0.5)(path / "state.data-00000-of-00001")
    with pytest.raises(ValueError, match="--resume") as told:
        restored(folder)
    assert all(text in str(told.value) for text in (str(folder), "ckpt-2", "ckpt-3")) and "\n" not in str(told.value)
    assert content(folder) == ["ckpt-2", "ckpt-3"]


def test_what_was_being_written_when_the_process_was_killed_is_no_checkpoint(folder, capsys):
    shutil.copytree(folder / "ckpt-3", folder / ".part")
    state = restored(folder)
    assert state.number() == 3 and capsys.readouterr().err == ""
    state.checkpoints.save()
    assert content(folder) == ["ckpt-3", "ckpt-4"]


def test_a_value_that_is_not_finite_never_becomes_a_checkpoint(folder):
    state = restored(folder)
    for bad in (np.nan, np.inf):
        state.weights[2][7, 7].assign(bad)
        with pytest.raises(Diverged, match="weights/2"):
            state.checkpoints.save()
    assert content(folder) == ["ckpt-2", "ckpt-3"] and restored(folder).number() == 3


def test_other_networks_are_told_in_one_line(folder):
    other = Checkpoints(folder, state=tf.train.Checkpoint(weight=tf.Variable(0.0)))
    with pytest.raises(ValueError, match="Expected the networks .*ckpt-3"):
        other.restore()


def test_checkpoints_of_version_0_1_are_gone_on_from(tmp_path):
    state = State(tmp_path)
    manager = tf.train.CheckpointManager(state.checkpoints.state, str(tmp_path), max_to_keep=2)
    for number in (1, 2, 3):
        state.set(number)
        manager.save()
    flip(tmp_path / "ckpt-3.data-00000-of-00001")
    state = restored(tmp_path)
    assert state.number() == 2
    for kept in (["ckpt-2.data-00000-of-00001", "ckpt-2.index", "ckpt-4"], ["ckpt-4", "ckpt-5"]):
        state.checkpoints.save()
        assert [name for name in content(tmp_path) if name != "checkpoint"] == kept
    assert restored(tmp_path).number() == 2


@contextlib.contextmanager
def limited(size):
    """Context in which no file can grow beyond a size, as if the disk were full."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_full_disk_is_an_error_that_leaves_nothing_behind(folder, size):
    state = restored(folder)
    state.set(4)
    with limited(size), pytest.raises(OSError, match="File too large.*--resume") as told:
        state.checkpoints.save()
    assert str(folder) in str(told.value) and "{{" not in str(told.value) and "\n" not in str(told.value)
    assert content(folder) == ["ckpt-2", "ckpt-3"] and restored(folder).number() == 3
    state.checkpoints.save()
    assert content(folder) == ["ckpt-3", "ckpt-4"] and restored(folder).number() == 4


def test_training_goes_on_where_a_checkpoint_cannot_be_written(folder, capsys):
    state, progress = restored(folder), tf.Variable(0, dtype=tf.int64)
    callback = callbacks.Checkpoint(state.checkpoints, progress, callbacks.Clock(), 0.0)
    with limited(100):
        callback.on_train_batch_end(0)
    told = capsys.readouterr().err.strip()
    assert told.startswith("warning: training goes on.") and str(folder) in told and "\n" not in told
    state.set(5)
    callback.on_train_batch_end(1)
    assert int(progress) == 2 and content(folder) == ["ckpt-3", "ckpt-4"] and restored(folder).number() == 5


def test_curves_end_where_the_disk_is_full(tmp_path, capsys):
    curves = callbacks.Curves(tmp_path / "logs", 0)
    with limited(0):
        curves.on_train_begin()
        for batch in range(41):
            curves.on_train_batch_end(batch, {"loss": 1.0})
    assert capsys.readouterr().err.count("warning: training goes on.") == 1
