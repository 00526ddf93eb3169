import time

import numpy as np
import pytest
import tensorflow as tf

from train.runs import callbacks
from train.runs.checkpoints import Checkpoints, Diverged


def test_the_clock_adds_up_over_starts(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def started():
        clock = callbacks.Clock()
        checkpoints = Checkpoints(tmp_path, clock=clock)
        checkpoints.restore()
        return clock, checkpoints

    clock, checkpoints = started()
    now[0] += 120
    callbacks.save(checkpoints, clock)
    now[0] += 600  # lost: no checkpoint follows
    assert clock.minutes() == 12
    clock, checkpoints = started()
    now[0] += 30
    assert clock.minutes() == 2.5
    callbacks.save(checkpoints, clock)
    assert clock.minutes() == 2.5


def test_means_of_a_fit_are_over_its_rounds():
    means = callbacks.Means()
    for values in ((1.0, 3.0), (2.0, 5.0)):
        means.on_train_begin()
        for value in values:
            means.on_train_batch_end(0, {"loss": value})
    assert means.values == {"loss": 3.5}


def test_curves_are_every_twentieth_round_of_the_phase(tmp_path):
    curves = callbacks.Curves(tmp_path, 35)
    curves.on_train_begin()
    for batch in range(30):
        curves.on_train_batch_end(batch, {"loss": float(batch)})
    (path,) = tmp_path.glob("events*")
    events = [event for event in tf.compat.v1.train.summary_iterator(str(path)) if event.HasField("summary")]
    written = {event.step: float(tf.make_ndarray(event.summary.value[0].tensor)) for event in events}
    assert written == {40: 5.0, 60: 25.0}


def test_what_cannot_be_written_is_one_line_and_other_errors_pass(capsys):
    with callbacks.spared():
        raise OSError(28, "No space left on device", "a.png")
    assert capsys.readouterr().err == "\nwarning: training goes on. [Errno 28] No space left on device: 'a.png'.\n"
    with pytest.raises(ValueError, match="mistake"), callbacks.spared():
        raise ValueError("mistake")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_named_with_its_round(value):
    finite = callbacks.Finite("task", 7)
    finite.on_train_batch_end(0, {"task_loss": 1.0})
    with pytest.raises(Diverged, match="task_loss = (nan|inf) in round 9 of phase task"):
        finite.on_train_batch_end(1, {"dice": 0.5, "task_loss": value})
