"""The command that writes data sets, as a user meets it."""

import contextlib
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

import cv2
import h5py
import numpy as np
import pytest

from data import synthesize, workers
from data.sets import cluster
from hou_synth.io import locks
from tests.paths import ROOT

COUNT = 400
PATCHES = f"--count {COUNT} --size 64 --preset release --seed 3".split()


@pytest.fixture(scope="module")
def home(tmp_path_factory, tissue_image):
    """Folder with tiles, their bank, and a finished data set `whole.h5`, made without workers."""
    folder = tmp_path_factory.mktemp("synthesize")
    (folder / "tiles/lung").mkdir(parents=True)
    cv2.imwrite(str(folder / "tiles/lung/a.png"), tissue_image[0][..., ::-1])
    assert start(folder, folder / "whole.h5", "--workers", "0") == 0
    return folder


def options(home, out, *more):
    return ["--tiles", str(home / "tiles"), "--bank", str(home / "bank.h5"), "--out", str(out), *PATCHES, *more]


def start(home, out, *more):
    return synthesize.main(options(home, out, *more))


@contextlib.contextmanager
def process(home, out, *more, **settings):
    """Context with the command in a process of its own."""
    command = [sys.executable, "-m", "data.synthesize", *options(home, out, "--workers", "2", *more)]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)
    with running:
        try:
            yield running
        finally:
            running.kill()


def shards(out):
    return list(pathlib.Path(f"{out}.parts").glob("*.h5"))


def await_shards(out, running):
    deadline = time.monotonic() + 30
    while not shards(out) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert shards(out)


def offspring(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def same(one, other):
    with h5py.File(one) as a, h5py.File(other) as b:
        arrays = all(np.array_equal(a[name][()], b[name][()]) for name in a)
        return arrays and set(a) == set(b) and dict(a.attrs) == dict(b.attrs)


def error(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


def test_any_number_of_workers_writes_the_same(home, tmp_path, capsys):
    assert start(home, tmp_path / "a.h5", "--workers", "3") == 0
    told = capsys.readouterr().out
    assert f"{COUNT} patches in {tmp_path / 'a.h5'}" in told and "bytes a patch" in told and "a second" in told
    assert same(home / "whole.h5", tmp_path / "a.h5")


def test_the_size_is_foretold(home, capsys):
    size = (home / "whole.h5").stat().st_size
    assert size < COUNT * (synthesize.LAYOUTS["hdf5"].PIXEL * 64**2 + synthesize.LAYOUTS["hdf5"].PATCH) < 1.1 * size


def test_a_finished_data_set_is_told_and_not_touched(home, capsys):
    before = (home / "whole.h5").stat()
    assert start(home, home / "whole.h5") == 0
    assert "finished already" in capsys.readouterr().out
    assert (home / "whole.h5").stat() == before and not (home / "whole.h5.parts").exists()


def test_a_damaged_file_is_told_and_repaired_and_what_a_killed_run_left_is_removed(home, tmp_path, capsys):
    out, whole = tmp_path / "a.h5", (home / "whole.h5").read_bytes()
    out.write_bytes(whole[: len(whole) * 2 // 3])
    assert start(home, out, "--workers", "0") == 0
    assert "damaged; intact: patches 0 to 26" in capsys.readouterr().out
    assert same(home / "whole.h5", out)
    (tmp_path / "a.h5.parts").mkdir()
    assert start(home, out) == 0
    assert os.listdir(tmp_path) == ["a.h5"]


def test_without_tiles_the_embedded_tissue_serves_and_the_bank_lies_beside(tmp_path):
    argv = f"--count 3 --size 64 --workers 0 --out {tmp_path}/sets/a.h5".split()
    assert synthesize.main(argv) == 0
    with h5py.File(tmp_path / "sets/a.h5") as file:
        assert len(file["tiles"]) == 16 and file.attrs["preset"] == "cpu"
    assert len(list((tmp_path / "sets/banks").glob("embedded-*.h5"))) == 1


def test_ctrl_c_ends_all_processes_and_the_same_command_goes_on(home, tmp_path, interruptible, capsys):
    out = tmp_path / "a.h5"
    with process(home, out) as running:
        await_shards(out, running)
        workers = offspring(running.pid)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=10)
    assert running.returncode == 130 and "Traceback" not in told and told.splitlines()[-1] == "interrupted"
    assert len(workers) == 2 and not any(pathlib.Path(f"/proc/{pid}").exists() for pid in workers)
    made = {path: path.stat().st_mtime_ns for path in shards(out)}
    assert 0 < len(made) < 7 and not out.exists()
    assert start(home, out, "--workers", "0") == 0
    assert "patches are there, going on" in capsys.readouterr().out
    assert same(home / "whole.h5", out) and os.listdir(tmp_path) == ["a.h5"]


def test_a_killed_command_goes_on_with_what_it_had(home, tmp_path):
    out = tmp_path / "a.h5"
    for _ in range(2):
        before = len(shards(out))
        with process(home, out) as running:
            while len(shards(out)) == before and running.poll() is None:
                time.sleep(0.005)
            running.send_signal(signal.SIGKILL)
        assert len(shards(out)) > before or out.exists()
    kept = {path.name: path.read_bytes() for path in shards(out)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda folder: None)
        assert start(home, out, "--workers", "0") == 0
    assert all((tmp_path / "a.h5.parts" / name).read_bytes() == content for name, content in kept.items())
    assert same(home / "whole.h5", out)


def test_a_killed_worker_is_one_line_and_its_work_is_done_next_time(home, tmp_path):
    out = tmp_path / "a.h5"
    with process(home, out) as running:
        while len(both := offspring(running.pid)) < 2 and running.poll() is None:
            time.sleep(0.01)
        victim = both[1]
        os.kill(victim, signal.SIGKILL)
        _, told = running.communicate(timeout=10)
    last = told.splitlines()[-1]
    assert running.returncode == 2 and "Traceback" not in told
    assert last.startswith("error: ") and f"worker 1 (process {victim})" in last and "signal 9" in last
    assert f"of {COUNT} patches" in last
    assert start(home, out, "--workers", "0") == 0
    assert same(home / "whole.h5", out)


@pytest.mark.parametrize("limit,name", [(1_000_000, "00000000.h5"), (4_000_000, "a.h5")])
def test_a_full_disk_is_one_line_and_what_is_there_is_kept(home, tmp_path, limit, name):
    out = tmp_path / "a.h5"  # a shard has 1.7 MB, the file 10 MB: files that may not grow stand for a full disk

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with process(home, out, preexec_fn=limited) as running:
        _, told = running.communicate(timeout=30)
    last = told.splitlines()[-1]
    assert running.returncode == 2 and "Traceback" not in told
    assert last.startswith("error: File too large; kept: ") and name in last
    assert f"kept: {0 if limit == 1_000_000 else COUNT} of {COUNT} patches" in last
    assert not out.exists() and not list(tmp_path.glob("*.part"))
    assert start(home, out, "--workers", "0") == 0
    assert same(home / "whole.h5", out) and os.listdir(tmp_path) == ["a.h5"]


def test_too_small_a_disk_is_refused_before_anything_is_made(home, tmp_path, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=15_000_000))
    assert start(home, tmp_path / "a.h5") == 2
    assert "Expected 20" in (told := error(capsys)) and "15.0 MB free" in told
    assert not os.listdir(tmp_path)


def test_a_thousand_million_patches_are_told_and_refused_before_the_tiles_are_prepared(tmp_path, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**12))
    assert synthesize.main(f"--count 1000000000 --size 75 --out {tmp_path}/a.h5".split()) == 2
    out, err = capsys.readouterr()
    assert "1000000000 patches of 75x75: about 35.0 TB" in out and "1.0 TB are free" in out
    assert err.startswith("error: Expected 70.0 TB") and err.count("\n") == 1
    assert not os.listdir(tmp_path)


def test_a_data_set_that_another_process_writes_is_left_to_it(home, tmp_path, capsys):
    with locks.exclusive(tmp_path / "a.h5.parts"):
        assert start(home, tmp_path / "a.h5") == 2
    assert "a.h5.parts, which another process" in error(capsys)
    assert not shards(tmp_path / "a.h5")


@pytest.mark.parametrize(
    "options,word",
    [
        (["--count", "0"], "count"),
        (["--size", "63"], "63"),
        (["--size", "513"], "513"),
        (["--size", "300"], "300x300"),
        (["--seed", "-1"], "seed"),
        (["--workers", "-1"], "workers"),
        (["--preset", "papr"], "papr"),
    ],
)
def test_impossible_options_are_one_line_and_exit_code_two(home, tmp_path, capsys, options, word):
    assert start(home, tmp_path / "a.h5", *options) == 2
    assert word in error(capsys)
    assert not os.listdir(tmp_path)


def test_other_settings_and_outputs_that_cannot_be_written(home, tmp_path, capsys):
    assert start(home, home / "whole.h5", "--seed", "4") == 2
    assert "seed: 3 != 4" in error(capsys)
    assert start(home, home / "whole.h5", "--distractors", "4") == 2
    assert "distractors: 99 != 4" in error(capsys)
    assert start(home, home / "whole.h5" / "a.h5") == 2
    assert "whole.h5/a.h5" in error(capsys)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("p.png", [], "Expected an --out that ends in .h5 or .hdf5, or --layout release."),
        ("folder", [], "Expected an --out that ends in .h5 or .hdf5, or --layout release."),
        ("a.HDF5", ["--layout", "release"], "Expected a folder as --out for --layout release."),
    ],
)
def test_an_output_that_is_named_like_something_else_is_refused(home, tmp_path, capsys, name, options, told):
    assert start(home, tmp_path / name, *options) == 2
    assert error(capsys) == f"error: {told} Received: {tmp_path / name}."
    assert not os.listdir(tmp_path)


def test_the_release_layout_through_the_command(home, tmp_path, capsys):
    out = tmp_path / "folder"
    assert start(home, out, "--layout", "release", "--count", "70", "--workers", "2") == 0
    assert len(os.listdir(out / "mask")) == 70
    with h5py.File(home / "whole.h5") as file:
        mask = cv2.imread(str(out / "mask/000069.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(mask, file["mask"][69])
    assert start(home, out, "--layout", "release", "--count", "70") == 0
    assert "finished already" in capsys.readouterr().out


def test_the_command_and_its_workers_never_import_tensorflow():
    code = "import sys, data.synthesize; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_dask_cluster_writes_the_same(home, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        processes=True, n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as scheduler:
        assert start(home, tmp_path / "a.h5", "--scheduler", scheduler.scheduler_address) == 0
        results = cluster.unordered(str, ["a"], scheduler.scheduler_address)
        assert list(results) == ["a"]
        with pytest.raises(ZeroDivisionError):
            list(cluster.unordered((1).__truediv__, [0], scheduler.scheduler_address))
    assert same(home / "whole.h5", tmp_path / "a.h5")


def test_a_scheduler_that_does_not_answer_is_one_line(home, tmp_path, capsys, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "SECONDS", 1)
    with socket.socket() as silent:  # bound and not listening: nobody answers
        silent.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        assert start(home, tmp_path / "a.h5", "--scheduler", address) == 2
    assert address in error(capsys)


def test_without_dask_the_extra_is_named(home, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert start(home, tmp_path / "a.h5", "--scheduler", "tcp://127.0.0.1:1") == 2
    assert "[dask]" in error(capsys)


def test_an_error_in_the_work_is_not_taken_for_a_users_mistake(home, tmp_path, monkeypatch):
    def broken(function, starts, count):
        raise ZeroDivisionError
        yield

    monkeypatch.setattr(workers, "ordered", broken)
    with pytest.raises(ZeroDivisionError):
        start(home, tmp_path / "a.h5")
