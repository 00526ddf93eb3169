import ast
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
ALLOWED = {
    "hou_synth": {"hou_synth"},
    "models": {"hou_synth", "models"},
    "data": {"hou_synth", "data"},
    "train": {"hou_synth", "models", "data", "train"},
    "benchmarks": {"hou_synth", "models", "data", "train", "benchmarks"},
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def test_dependencies_point_one_way():
    wrong = [
        (path.name, name)
        for package, allowed in ALLOWED.items()
        for path in (ROOT / package).glob("*.py")
        for name in imported(path)
        if name in ALLOWED and name not in allowed
    ]
    assert wrong == []


def test_builders_use_keras_layers_only():
    banned = [
        path.name for path in ROOT.glob("*/*.py") if "keras.ops" in path.read_text() and path.parent.name != "tests"
    ]
    assert banned == []


def test_the_library_imports_without_tensorflow():
    code = "import sys, hou_synth.segment; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
