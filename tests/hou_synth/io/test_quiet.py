import os
import subprocess
import sys

import pytest

from hou_synth.io import quiet
from tests.paths import ROOT

LOG = r"""
import os
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n")
os.write(2, b"I0000 00:00:1795457534.170266    2538 port.cc:153] oneDNN custom operations are on.\n")
os.write(2, b"a warning of another kind\n")
"""
IMPORT = "from hou_synth.io import quiet; quiet.tensorflow(); quiet.tensorflow(); import tensorflow"


def stderr_of(code, tensorflow=None, level=None):
    """What a fresh process writes to stderr; with a stand-in for TensorFlow if a folder of one is given."""
    environment = {key: value for key, value in os.environ.items() if key != quiet.LEVEL}
    environment["PYTHONPATH"] = os.pathsep.join([*([str(tensorflow)] if tensorflow else []), str(ROOT)])
    if level is not None:
        environment[quiet.LEVEL] = level
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stderr


@pytest.fixture
def stand_in(tmp_path):
    """Folder of a module `tensorflow` that writes a log when it is loaded."""
    (tmp_path / "tensorflow.py").write_text(LOG)
    return tmp_path


def test_the_log_of_loading_is_left_out_and_all_else_stays(stand_in):
    assert stderr_of(IMPORT, stand_in) == "a warning of another kind\n"
    after = IMPORT + "; import sys, os; sys.stderr.write('later'); os.write(2, b'I0000 00:00:17 x')"
    assert stderr_of(after, stand_in).endswith("laterI0000 00:00:17 x")


def test_a_user_who_asks_for_the_log_gets_it(stand_in):
    assert "port.cc:153" in stderr_of(IMPORT, stand_in, level="0")


def test_a_tensorflow_that_cannot_be_loaded_tells_all(stand_in):
    (stand_in / "tensorflow.py").write_text(LOG + "raise ImportError('libcudart.so')")
    said = stderr_of(IMPORT, stand_in)
    assert "port.cc:153" in said and "ImportError: libcudart.so" in said


def test_tensorflow_itself_writes_nothing_and_its_errors_arrive():
    wrong = "tensorflow.nn.conv2d(tensorflow.zeros((1, 2, 2, 3)), tensorflow.zeros((3, 3, 2, 1)), 1, 'VALID')"
    code = f"""{IMPORT}
tensorflow.config.list_physical_devices("GPU")
try:
    {wrong}
except tensorflow.errors.InvalidArgumentError as error:
    assert "must be" in str(error)
else:
    raise SystemExit("no error")
"""
    assert stderr_of(code) == ""


def test_the_level_is_set_in_one_place():
    sources = [path for package in ("hou_synth", "models", "data", "train") for path in (ROOT / package).rglob("*.py")]
    assert [path.name for path in sources if quiet.LEVEL in path.read_text()] == ["quiet.py"]
