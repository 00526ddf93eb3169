"""TensorFlow without its log on stderr: what goes wrong arrives as an exception anyway."""

import importlib.util
import os
import re
import sys
import tempfile

LEVEL = "TF_CPP_MIN_LOG_LEVEL"  # a user who sets it gets the log that was asked for
SILENT = "3"

# What its libraries write while they are loaded, before they read their level: no variable turns that off.
_LOG = re.compile(r"WARNING: All log messages before absl|[IWE]\d{4} \d\d:\d\d:\d\d|\d{4}-\d\d-\d\d \S+: [IWE] ")


def tensorflow():
    """Keeps the log of a TensorFlow that is yet to be imported, and of those in processes begun later, off stderr.

    Its Python warnings, and what any other library writes, come as ever.
    """
    asked = os.environ.setdefault(LEVEL, SILENT) == SILENT
    if asked and "tensorflow" not in sys.modules and not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds TensorFlow once, and has it loaded with the log taken out of stderr."""

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: _without_log(lambda: execute(module))
        return spec


def _without_log(function):
    """Calls a function with stderr, also of C++ code, in a file; then prints what is no log, or all if it fails."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        dropped = None
        try:
            function()
            dropped = _LOG
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            lines = file.read().decode(errors="replace").splitlines(keepends=True)
            sys.stderr.writelines(line for line in lines if not (dropped and dropped.match(line)))
