import time

import tensorflow as tf

from train import callbacks


def test_the_clock_adds_up_over_starts(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def started():
        clock = callbacks.Clock()
        state = tf.train.Checkpoint(clock=clock)
        manager = tf.train.CheckpointManager(state, str(tmp_path), max_to_keep=1)
        state.restore(manager.latest_checkpoint)
        return clock, manager

    clock, manager = started()
    now[0] += 120
    callbacks.save(manager, clock)
    now[0] += 600  # lost: no checkpoint follows
    assert clock.minutes() == 12
    clock, manager = started()
    now[0] += 30
    assert clock.minutes() == 2.5
    callbacks.save(manager, clock)
    assert clock.minutes() == 2.5


def test_means_of_a_fit_are_over_its_rounds():
    means = callbacks.Means()
    for values in ((1.0, 3.0), (2.0, 5.0)):
        means.on_train_begin()
        for value in values:
            means.on_train_batch_end(0, {"loss": value})
    assert means.values == {"loss": 3.5}
