import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from data import synthetic, workers
from hou_synth import config
from tests.paths import ROOT

SYNTHESIS = config.preset("paper").synthesis
ARRAYS = ("image", "labels", "centres", "contours", "reference", "real")


def same(one, other):
    arrays = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ARRAYS)
    return arrays and one.provenance == other.provenance


def children():
    """Process ids of this process's children, zombies too."""
    found = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return {int(line.split()[0]) for line in found.stdout.splitlines() if line.split()[1] != "ps"}


@pytest.fixture(autouse=True)
def nothing_left():
    before = children()
    yield
    assert children() <= before


def squared(start):
    return start**2


def refused(start):
    if start == 2:
        raise KeyError("patch two")
    return start


def imported(start):
    import cv2

    return "tensorflow" in sys.modules, cv2.getNumThreads(), signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def loud(start):
    print("what a library prints")
    return start


class Unusual(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def unusual(start):
    raise Unusual("this", "that")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_examples(bank, count):
    expected = [synthetic.example(bank, 3, index, 64, SYNTHESIS) for index in range(5, 30)]
    made = list(workers.examples(bank, 3, 64, SYNTHESIS, 5, 30, count))
    assert len(made) == 25 and all(map(same, made, expected))
    assert all(getattr(made[0], name).flags.writeable for name in ARRAYS)


def test_without_shared_memory_the_pipe_serves(bank, monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    made = workers.examples(bank, 7, 75, SYNTHESIS, 3, 30, 2)
    assert all(same(one, synthetic.example(bank, 7, 3 + k, 75, SYNTHESIS)) for k, one in enumerate(made))


def test_a_result_larger_than_its_place_goes_through_the_pipe():
    made = workers.ordered(np.ones, [10, 5, 100_000, 20], 1)
    assert [len(one) for one in made] == [10, 5, 100_000, 20]


def test_without_workers_this_process_computes_the_same(bank):
    made = workers.examples(bank, 3, 64, SYNTHESIS, 7, 9)
    assert [example.provenance["index"] for example in made] == [7, 8]


def test_without_a_stop_there_is_no_end_and_closing_ends_the_workers(bank):
    before = children()
    made = workers.examples(bank, 0, 64, SYNTHESIS, 0, None, 2)
    indices = [example.provenance["index"] for example in itertools.islice(made, 40)]
    assert indices == list(range(40)) and len(children() - before) == 2
    started = time.monotonic()
    made.close()
    assert children() == before and time.monotonic() - started < 1


def test_results_come_in_the_order_of_their_starts():
    assert list(workers.ordered(squared, range(7), 3)) == [0, 1, 4, 9, 16, 25, 36]
    assert list(workers.ordered(squared, [5, 3], 4)) == [25, 9]
    assert list(workers.ordered(squared, [], 2)) == []


def test_a_worker_has_one_thread_and_neither_tensorflow_nor_ctrl_c():
    assert next(iter(workers.ordered(imported, [0], 1))) == (False, 1, True)


def test_what_a_worker_prints_does_not_harm_the_results(capfd):
    assert list(workers.ordered(loud, range(3), 2)) == [0, 1, 2]


def test_an_exception_in_a_worker_is_passed_on():
    results = workers.ordered(refused, range(4), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError, match="patch two"):
        next(results)
    with pytest.raises(RuntimeError, match="Unusual: this and that"):
        list(workers.ordered(unusual, range(4), 2))


@pytest.mark.parametrize("number", [0, 1])
def test_a_killed_worker_is_named_at_once(bank, number):
    before = children()
    made = workers.examples(bank, 0, 64, SYNTHESIS, 0, None, 2)
    list(itertools.islice(made, 16))
    pid = sorted(children() - before)[number]
    os.kill(pid, signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(workers.WorkerDied, match=rf"worker {number} \(process {pid}\).*signal 9 \(SIGKILL\)"):
        list(itertools.islice(made, 4000))
    assert time.monotonic() - started < 2


def test_workers_end_with_their_killed_parent():
    code = (
        "import time\nfrom data import workers\nresults = workers.ordered(time.sleep, [3600, 3600], 2)\nnext(results)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 20
    while len(pids := of_parent(parent.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    parent.kill()
    parent.wait()
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(pids) == 2 and not any(map(alive, pids))


def of_parent(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def alive(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")
