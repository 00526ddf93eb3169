import os
import subprocess
import sys

import pytest

from hou_synth.io import command
from tests.paths import ROOT


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Expected a\n  file.", "error: Expected a file."),
        ("\x1b[31mred\x1b[0m\x07", r"error: \x1b[31mred\x1b[0m\x07"),
        ("a\rb\x85c\x9b2J", r"error: a b c\x9b2J"),
        ("Zellkern\u202egnp.exe \ud800 Größe", r"error: Zellkern\u202egnp.exe \ud800 Größe"),
    ],
)
def test_an_error_is_one_line_without_control_characters(text, line, capsys):
    command.complain(ValueError(text))
    assert capsys.readouterr().err == line + "\n"


def test_an_error_of_the_system_is_told_without_its_number(tmp_path, capsys):
    with pytest.raises(FileExistsError) as raised:
        tmp_path.mkdir()
    command.complain(raised.value)
    assert capsys.readouterr().err == f"error: File exists: '{tmp_path}'\n"


def test_an_error_without_words_is_named(capsys):
    command.complain(OSError())
    assert capsys.readouterr().err == "error: OSError\n"


def test_empty_arguments_are_refused_before_anything_is_done(monkeypatch, capsys):
    main = command.command(lambda argv: pytest.fail("was called"))
    monkeypatch.setattr(sys, "argv", ["hou-synth train", "--tiles", ""])
    for argv in (None, ["--tiles", "", "--out", "x"]):
        assert main(argv) == 2
        assert capsys.readouterr().err == "error: Expected arguments that are not empty. Received: an empty name.\n"
    assert command.command(len)(["x", "y", "z"]) == 3


@pytest.mark.parametrize("own", [None, "false"])
def test_memory_of_a_gpu_is_asked_for_as_it_is_needed_before_tensorflow_is_there(own):
    code = (
        "import os, sys; from hou_synth.io import command; "
        "command.run(lambda argv: print(os.environ[command.GROWTH], 'tensorflow' in sys.modules), [])"
    )
    environment = {name: value for name, value in os.environ.items() if name != command.GROWTH}
    environment |= {command.GROWTH: own} if own else {}
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert told.stdout.split() == [own or "true", "False"], told.stderr


def test_usage_tells_how_a_command_was_called(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/folder/hou-synth tools/segment.py", "x.png"])
    assert command.program("hou_synth.segment") == "python -m hou_synth.segment"
    monkeypatch.setattr(sys, "argv", ["hou-synth segment", "x.png"])
    assert command.program("hou_synth.segment") == "hou-synth segment"


def test_a_bar_is_for_terminals(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert command.verbosity() == 1
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert command.verbosity() == 2
