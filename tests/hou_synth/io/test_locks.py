import os
import signal
import subprocess
import sys

import pytest

from hou_synth.io import locks
from tests.paths import ROOT

HOLDER = """
import sys, time
from hou_synth.io import locks
with locks.exclusive(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "out")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_held_folder_is_refused_by_name(tmp_path, holder):
    with pytest.raises(ValueError, match=f"Received: {tmp_path / 'out'}, which another process"):
        with locks.exclusive(tmp_path / "out"):
            pass


def test_a_killed_process_leaves_no_lock(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with locks.exclusive(tmp_path / "out"):
        pass


def test_the_lock_ends_with_the_context_and_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError), locks.exclusive(tmp_path / "new" / "out"):
        with pytest.raises(ValueError, match="another process"), locks.exclusive(tmp_path / "new" / "out"):
            pass
        raise RuntimeError
    assert list((tmp_path / "new" / "out").iterdir()) == []
    with locks.exclusive(tmp_path / "new" / "out"), locks.exclusive(tmp_path / "other"):
        pass


def test_a_folder_that_was_removed_meanwhile(tmp_path):
    with locks.exclusive(tmp_path / "out"):
        (tmp_path / "out" / locks.NAME).unlink()
        (tmp_path / "out").rmdir()


def test_a_file_system_without_locks_says_so(tmp_path, monkeypatch, capsys):
    def unsupported(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(locks.fcntl, "flock", unsupported)
    with locks.exclusive(tmp_path):
        assert f"no locks on the file system of {tmp_path}" in capsys.readouterr().err
