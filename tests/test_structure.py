import ast
import subprocess
import sys

import setuptools

from tests.paths import ROOT

ALLOWED = {
    "hou_synth": {"hou_synth"},
    "models": {"hou_synth", "models"},
    "data": {"hou_synth", "data"},
    "train": {"hou_synth", "models", "data", "train"},
    "benchmarks": {"hou_synth", "models", "data", "train", "benchmarks"},
}


def modules(package):
    """Files of a package and of its rooms; a package without any has moved, and this test would be blind."""
    found = sorted((ROOT / package).rglob("*.py"))
    assert len(found) > 2, package
    return found


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def test_dependencies_point_one_way():
    wrong = [
        (str(path.relative_to(ROOT)), name)
        for package, allowed in ALLOWED.items()
        for path in modules(package)
        for name in imported(path)
        if name in ALLOWED and name not in allowed
    ]
    assert wrong == []


def test_builders_use_keras_layers_only():
    banned = [path.name for package in ALLOWED for path in modules(package) if "keras.ops" in path.read_text()]
    assert banned == []


def test_the_library_imports_without_tensorflow():
    code = "import sys, hou_synth.segment; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_every_folder_of_modules_is_a_package_that_is_installed():
    known = set(setuptools.find_packages(str(ROOT)))
    folders = {path.parent.relative_to(ROOT) for package in ALLOWED for path in modules(package)}
    assert {".".join(folder.parts) for folder in folders} <= known


def test_what_is_not_for_git_is_no_module():
    paths = [str(path.relative_to(ROOT)) for package in ALLOWED for path in modules(package)]
    found = subprocess.run(["git", "check-ignore", "--no-index", *paths], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout.split() == []
