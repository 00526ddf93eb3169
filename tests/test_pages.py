"""The pages of the repository: links lead somewhere, commands, options and modules are there, README is short."""

import contextlib
import functools
import importlib
import io
import re
import subprocess

import pytest

from tests.paths import ROOT

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"python -m ([\w.]+)([^\n`#]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
DOTTED = re.compile(r"`((?:hou_synth|models|data|train|benchmarks)(?:\.\w+)+)")
FILE = re.compile(r"\b((?:hou_synth|models|data|train|benchmarks|tests)/[\w/]+\.py)\b")
OTHERS = {"pip", "pytest", "venv", "tests.fake_server"}  # commands that are not the repository's, or take no options
README_MAX = 150  # lines


@functools.cache
def pages():
    """Path -> text of every Markdown file that git knows."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "README.md" in names and "docs/method.md" in names
    return {ROOT / name: (ROOT / name).read_text() for name in names if (ROOT / name).is_file()}


def missing(found):
    return [(str(path.relative_to(ROOT)), name) for path, name in found]


def module(name):
    """Whether a dotted name is a package or a module, or something in a module."""
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_links_between_pages_lead_somewhere():
    links = [(path, link) for path, text in pages().items() for link in LINK.findall(text) if "://" not in link]
    assert len(links) > 20
    assert missing((path, link) for path, link in links if not (path.parent / link).exists()) == []


@functools.cache
def explained(command):
    """Options that a command's help tells."""
    told = io.StringIO()
    for option in ("--help", "--help-all"):
        with (
            contextlib.redirect_stdout(told),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.suppress(SystemExit),
        ):
            importlib.import_module(command).main([option])
    return set(OPTION.findall(told.getvalue()))


def test_commands_of_the_pages_are_there_and_take_their_options():
    named = [(path, *found) for path, text in pages().items() for found in COMMAND.findall(text.replace("\\\n", " "))]
    named = [(path, name.rstrip("."), rest) for path, name, rest in named if name not in OTHERS]
    assert len(named) > 20
    assert missing((path, name) for path, name, _ in named if not module(name)) == []
    options = [(path, name, option) for path, name, rest in named for option in OPTION.findall(rest)]
    assert len(options) > 50
    assert missing((path, f"{name} {o}") for path, name, o in options if o not in explained(name)) == []


def test_modules_of_the_pages_are_there():
    named = [(path, name) for path, text in pages().items() for name in DOTTED.findall(text)]
    assert missing((path, name) for path, name in named if not (module(name) or module(name.rpartition(".")[0]))) == []
    files = [(path, name) for path, text in pages().items() for name in FILE.findall(text)]
    assert named and files
    roots = ROOT, ROOT / "tests"  # docs/tests.md names its files from there
    assert missing((path, name) for path, name in files if not any((root / name).is_file() for root in roots)) == []


def test_the_front_page_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_MAX


@pytest.mark.parametrize("folder", ["docs", "docs/results"])
def test_every_file_of_the_documentation_is_linked(folder):
    linked = {(path.parent / link).resolve() for path, text in pages().items() for link in LINK.findall(text)}
    assert sorted(path.name for path in (ROOT / folder).iterdir() if path.is_file() and path not in linked) == []


def test_the_page_of_tests_names_every_file_with_slow_ones():
    slow = [path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.slow" in path.read_text()]
    page = (ROOT / "docs/tests.md").read_text()
    named = [f"`{path.relative_to(ROOT / 'tests')}`" for path in slow if path.name != "test_pages.py"]
    assert named and [name for name in named if name not in page] == []
