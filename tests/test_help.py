"""The help of every command: short, soon there, and alone on the screen."""

import argparse
import importlib
import os
import subprocess
import sys

import pytest

from hou_synth import commands
from tests.paths import ROOT

SCREENS = 60  # lines of two screens
COLUMNS = 100
HEAVY = {"tensorflow", "keras", "matplotlib"}
BENCHMARKS = [
    f"benchmarks.{path.stem}" for path in (ROOT / "benchmarks").glob("*.py") if "def main(" in path.read_text()
]
MODULES = ["hou_synth", *(module for module, _ in commands.COMMANDS.values()), *BENCHMARKS]


@pytest.mark.parametrize("module", MODULES)
def test_help_is_short_and_imports_nothing_heavy(module):
    environment = {**os.environ, "COLUMNS": str(COLUMNS)}
    asked = [sys.executable, "-X", "importtime", "-m", module, "--help"]
    told = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert told.returncode == 0
    timed = [line for line in told.stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in timed}
    assert "argparse" in imported and not imported & HEAVY
    assert len(timed) == len(told.stderr.splitlines())
    lines = told.stdout.splitlines()
    assert lines[0].startswith(f"usage: python -m {module} ") and len(lines) <= SCREENS


class Parsed(Exception):
    """Carries the parser of a command."""


@pytest.mark.parametrize("module", MODULES)
def test_no_option_takes_what_is_no_finite_number(module, monkeypatch):
    def stop(parser, argv=None):
        raise Parsed(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    name = module if module != "hou_synth" else "hou_synth.commands"
    with pytest.raises(Parsed) as stopped:
        importlib.import_module(name).main([])
    assert float not in [option.type for option in stopped.value.args[0]._actions]  # but `options.finite`
