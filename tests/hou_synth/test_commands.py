import ast
import importlib
import subprocess
import sys

import pytest

import hou_synth
from hou_synth import commands
from tests.paths import ROOT


@pytest.fixture
def called(monkeypatch):
    """Function that calls the program with words, as a console does, and returns its exit code."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/hou-synth", *words])
        try:
            return commands.main()
        except SystemExit as stopped:
            return stopped.code

    return call


def has_main(path):
    return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in ast.parse(path.read_text()).body)


def test_every_command_has_a_name():
    paths = [path for package in ("hou_synth", "data", "train") for path in (ROOT / package).glob("*.py")]
    modules = {f"{path.parent.name}.{path.stem}" for path in paths if has_main(path)}
    assert {module for module, _ in commands.COMMANDS.values()} == modules - {"hou_synth.commands"}


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_name_is_a_command(name):
    assert callable(importlib.import_module(commands.COMMANDS[name][0]).main)


def test_help_lists_every_command_in_a_line(called, capsys):
    assert called("--help") == 0
    lines = capsys.readouterr().out.splitlines()
    for name, (_, about) in commands.COMMANDS.items():
        assert sum(line.split() == [name, *about.split()] for line in lines) == 1
    assert lines[0] == "usage: hou-synth [-h] [--version] COMMAND ..." and max(map(len, lines)) <= 100


def test_version(called, capsys):
    assert called("--version") == 0
    assert capsys.readouterr().out == f"hou-synth {hou_synth.__version__}\n"


def test_a_command_is_called_as_if_alone(called, tmp_path, capsys):
    assert called("metrics", "--help") == 0
    assert capsys.readouterr().out.startswith("usage: hou-synth metrics [-h]")
    assert called("metrics", str(tmp_path / "none"), str(tmp_path)) == 2
    assert capsys.readouterr().err == f"error: Expected a folder of label maps. Received: {tmp_path / 'none'}.\n"


def test_an_unknown_command_is_one_line(called, capsys):
    assert called("segmnt", "--out", "x") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: Expected a command out of segment, train,") and line.endswith("'segmnt'.")


def test_no_command_is_a_mistake_that_shows_the_help(called, capsys):
    assert called("--help") == 0
    wanted = capsys.readouterr().out
    assert called() == 2
    told = capsys.readouterr()
    assert told.err == wanted and told.out == ""


def test_the_package_runs_by_name():
    run = subprocess.run(
        [sys.executable, "-m", "hou_synth", "metrics", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0 and run.stdout.startswith("usage: python -m hou_synth metrics [-h]")
