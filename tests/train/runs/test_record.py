"""What a run says of itself, and what a run that is gone on with is compared with."""

import dataclasses
import json

import numpy as np
import pytest

from data import tiles
from hou_synth import config
from train.runs import record, universal_run, universal_training

SETTINGS = config.preset("quick")
DATA = {"tile_names": ["a/1.png", "b/2.png"], "labelled": []}


def begun(folder, **data):
    record.begin(folder, SETTINGS, {**DATA, "tile_digest": "12ab", **data})
    return json.loads((folder / "run.json").read_text())


def test_a_record_is_written_once(tmp_path):
    first = begun(tmp_path / "run")
    assert first["tile_names"] == DATA["tile_names"] and set(first["versions"]) == {"tensorflow", "keras", "numpy"}
    (tmp_path / "run/run.json").write_text(json.dumps({**first, "command": "kept"}))
    assert begun(tmp_path / "run")["command"] == "kept"
    assert record.settings(tmp_path / "run") == SETTINGS


@pytest.mark.parametrize(
    "called,told",
    [
        (["/place/train/universal.py", "--out", "a b"], "python -m train.universal --out 'a b'"),
        (["hou-synth train", "--seed", "1"], "hou-synth train --seed 1"),
    ],
)
def test_the_command_can_be_given_again(tmp_path, monkeypatch, called, told):
    monkeypatch.setattr("sys.argv", called)
    assert begun(tmp_path)["command"] == told


@pytest.mark.parametrize(
    "data,told",
    [
        ({"tile_names": ["a/1.png", "c.png"]}, "tile_names: with c.png, without b/2.png"),
        ({"tile_names": DATA["tile_names"] + list("vwxyz")}, "with v, w, x and 2 others"),
        ({"tile_names": DATA["tile_names"][::-1]}, "tile_names: in another order"),
        ({"tile_digest": "34cd"}, "tile_digest: tiles of other pixels"),
        ({"labelled": ["d"]}, "labelled: with d"),
        ({"updates": 5}, "updates: 5, not None"),
    ],
)
def test_a_run_does_not_go_on_with_other_data(tmp_path, data, told):
    before = begun(tmp_path)
    with pytest.raises(ValueError, match="Expected the data of the run") as error:
        begun(tmp_path, **data)
    assert told in str(error.value) and str(tmp_path) in str(error.value)
    assert json.loads((tmp_path / "run.json").read_text()) == before


def test_runs_of_version_0_1_which_kept_no_digest_are_known_by_the_names(tmp_path):
    begun(tmp_path)
    old = {"tile_names": DATA["tile_names"], "tiles": "tiles", "bank": "bank.h5"}
    (tmp_path / "run.json").write_text(json.dumps(old))
    assert begun(tmp_path) == old
    with pytest.raises(ValueError, match="without b/2.png"):
        begun(tmp_path, tile_names=["a/1.png"])


def test_a_tile_that_was_changed_changes_the_digest(bank, tmp_path):
    pixels = [np.array(tile.image) for tile in bank.tiles]
    names = [tile.name for tile in bank.tiles]
    synthesis = dataclasses.replace(SETTINGS.synthesis, balance=False)  # which the bank's pixels are already

    def digest(pixels):
        made = [tiles.Source(name, "", lambda image=image: image) for name, image in zip(names, pixels, strict=True)]
        return universal_training.digest(tiles.build(made, tmp_path / "b.h5", synthesis, 1, False, True))

    first = digest(pixels)
    (tmp_path / "b.h5").unlink()
    assert digest(pixels) == first == universal_training.digest(bank)
    (tmp_path / "b.h5").unlink()
    pixels[0][7, 7, 0] ^= 1
    assert digest(pixels) != first


def test_the_end_of_a_run_is_told_again_when_it_is_gone_on_with(tmp_path, capsys):
    assert record.finished(tmp_path) == ""
    record.end(tmp_path, {"dice": 0.5, "minutes": 3}, ["model: m/1", "next: segment"])
    assert capsys.readouterr().out == "model: m/1\nnext: segment\n"
    assert record.scores(tmp_path) == {"dice": 0.5, "minutes": 3.0}
    assert record.finished(tmp_path) == f"This run is finished: {tmp_path}\nmodel: m/1\nnext: segment\n"
    (tmp_path / "next.txt").unlink()
    assert record.finished(tmp_path) == f"This run is finished: {tmp_path}\n"


def test_what_is_half_a_run_is_refused(tmp_path):
    record.check(tmp_path, SETTINGS, False)
    begun(tmp_path)
    record.check(tmp_path, SETTINGS, True)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="Add --resume"):
        record.check(tmp_path, SETTINGS, False)
    with pytest.raises(ValueError, match="no config.json"):
        record.check(tmp_path, SETTINGS, True)


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"tile_names": "a"}', '{"machine": {"cores": "four", "gpus": []}}', "\xff"]
)
def test_a_damaged_record_is_one_line_that_names_the_file(tmp_path, text):
    (tmp_path / "run.json").write_text(text, encoding="latin-1")
    for read in (record.about, universal_run.adversarial, lambda folder: record.begin(folder, SETTINGS, DATA)):
        with pytest.raises(ValueError, match="run.json") as error:
            read(tmp_path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name,read", [("scores.json", record.scores), ("contrast.json", record.contrasts)])
def test_damaged_scores_are_one_line_that_names_the_file(tmp_path, name, read):
    assert read(tmp_path) == {}
    (tmp_path / name).write_text('{"minutes": "many"}')
    with pytest.raises(ValueError, match=f"{name}.*minutes"):
        read(tmp_path)


def test_what_is_no_run_or_one_on_labelled_images_has_no_tiles(tmp_path):
    with pytest.raises(ValueError, match="no config.json"):
        universal_run.bank(tmp_path)
    config.save(SETTINGS, tmp_path / "config.json")
    with pytest.raises(ValueError, match="no run.json"):
        universal_run.bank(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"training": ["a"], "updates": 3}))
    with pytest.raises(ValueError, match="names no tiles"):
        universal_run.bank(tmp_path)
