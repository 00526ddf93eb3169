import dataclasses
import subprocess
import sys

import pytest

from hou_synth.io import documents
from tests.paths import ROOT


@dataclasses.dataclass(frozen=True)
class Tile:
    name: str
    size: tuple[int, ...] = (8, 8)


@dataclasses.dataclass(frozen=True)
class Bank:
    tiles: list[Tile]
    scale: float = 1.0


def test_what_fits_is_of_the_expected_types():
    text = b'\xef\xbb\xbf{"tiles": [{"name": "\xc3\xa4", "size": [3, 4], "more": 0}, {"name": "b"}], "scale": 2}'
    read = documents.parse(text, Bank, "bank.json")
    assert read == Bank([Tile("ä", (3, 4)), Tile("b")], 2.0)
    assert isinstance(read.scale, float)


def test_any_json():
    text = '{"a": [1, null, {"b": "c"}], "d": 1e3, "e": true}'
    assert documents.parse(text, object, "x") == {"a": [1, None, {"b": "c"}], "d": 1000.0, "e": True}
    assert documents.parse('{"a": [1, 2]}', dict[str, list[float]], "x") == {"a": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "input should be an object, not []"),
        ("null", "input should be an object, not None"),
        ("{}", "tiles: field required"),
        ('{"tiles": {}}', "tiles: input should be a valid array, not {}"),
        ('{"tiles": [{"name": 3}]}', "tiles.0.name: input should be a valid string, not 3"),
        ('{"tiles": [{"name": "a", "size": [1, true]}]}', "tiles.0.size.1: input should be a valid integer, not True"),
        ('{"tiles": [], "scale": "1"}', "scale: input should be a valid number, not '1'"),
        ('{"tiles": [], "scale": 1e999}', "scale: input should be a finite number, not inf"),
    ],
)
def test_what_does_not_fit_is_told(text, told):
    with pytest.raises(ValueError) as error:
        documents.parse(text, Bank, "http://host bank")
    assert str(error.value) == f"Expected JSON of the form that is read here. Received: http://host bank ({told})."


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b'{"tiles": []} x', '["\ud800"]', b"[NaN]", b"[-Infinity]", b"[" * 10**6, b"[" + b"9" * 9999],
)
def test_what_is_no_json(content):
    with pytest.raises(ValueError, match=r"^Expected JSON of .* Received: bank\.json \(.{5,80}\)\.$"):
        documents.parse(content, object, "bank.json")


def test_numbers_that_nobody_asked_for_may_be_none():
    text = '{"tiles": [], "more": [NaN, -Infinity]}'
    assert documents.parse(text, Bank, "bank.json", finite=False) == Bank([])
    with pytest.raises(ValueError, match="bank.json"):
        documents.parse(text, Bank, "bank.json")
    with pytest.raises(ValueError, match="finite number"):
        documents.parse('{"tiles": [], "scale": NaN}', Bank, "bank.json", finite=False)


def test_unknown_members_are_ignored_or_refused():
    text = '{"tiles": [{"name": "a", "colour": 3}]}'
    assert documents.parse(text, Bank, "bank.json") == Bank([Tile("a")])
    with pytest.raises(ValueError, match=r"bank\.json \(tiles\.0\.colour: unexpected keyword argument, not 3\)"):
        documents.parse(text, Bank, "bank.json", extra="forbid")


@pytest.mark.parametrize("count", [9, 2000])
def test_many_mistakes_make_one_short_line(count):
    name = "\x1b[31m\n" + "x" * 500
    text = (
        '{"' + name.encode("unicode_escape").decode().replace("\\x1b", "\\u001b") + '": [' + "3," * (count - 1) + "3]}"
    )
    with pytest.raises(ValueError) as error:
        documents.parse(text, dict[str, list[str]], "x.json")
    assert len(str(error.value)) < 450 and str(error.value).isprintable()
    assert str(error.value).endswith("; 6 more)." if count == 9 else "(2000 mistakes).")


def test_a_file_is_named(tmp_path):
    path = tmp_path / "bank.json"
    path.write_text('{"tiles": 1}')
    with pytest.raises(ValueError, match=r"Received: .*bank\.json \(tiles: "):
        documents.read(path, Bank)
    path.write_bytes(b" " * 100 + b"[]")
    assert documents.read(path, object, largest=102) == []
    with pytest.raises(ValueError, match=r"at most 101 bytes. Received: .*bank\.json"):
        documents.read(path, object, largest=101)
    with pytest.raises(FileNotFoundError, match=r"other\.json"):
        documents.read(tmp_path / "other.json", object)


def test_commands_start_without_the_library():
    code = "import sys\nfrom hou_synth import config\nsys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
