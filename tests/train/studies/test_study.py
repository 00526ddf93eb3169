"""Studies without a page: made, answered and told by their folder alone."""

import csv
import json
import re
import shutil
import threading

import cv2
import numpy as np
import pytest

from hou_synth import results as outputs
from hou_synth.io import image_files
from tests.train.test_figures import run_folder
from train import study as command
from train.studies import answers, study

MODELS = {"a": "model a", "b": "model b"}


def made(folder, question=study.OUTLINES, count=12, seed=0):
    kinds = [study.KINDS[number % 3] if question == study.REALITY else None for number in range(count)]
    items = [study.Item(f"tile {number}", kind) for number, kind in enumerate(kinds)]
    study.write(
        folder, question, seed, MODELS, items, lambda stem, place: stem.with_suffix(".png").write_text(str(place))
    )
    return study.read(folder)


def error(capsys):
    line = capsys.readouterr().err.splitlines()[-1]  # TensorFlow may have logged something before
    assert line.startswith("error: Expected ")
    return line


def test_the_order_on_disk_tells_nothing_and_pictures_are_those_of_their_items(tmp_path):
    told = made(tmp_path / "s", study.REALITY, 30)
    places = [int(study.stem(tmp_path / "s", number).with_suffix(".png").read_text()) for number in range(30)]
    assert sorted(places) == list(range(30)) != places
    assert [item.tile for item in told.items] == [f"tile {place}" for place in places]


def test_a_name_sees_the_same_order_and_sides_again_and_another_name_others(tmp_path):
    told = made(tmp_path / "s", count=40)
    one, again, other = (study.Reading(told, name) for name in ("anna", " anna ", "ben"))
    assert one.order == again.order != other.order and one.left == again.left != other.left
    assert sorted(one.order) == list(range(40)) and set(one.left) == {"a", "b"}


@pytest.mark.parametrize("name", ["", "  ", "x" * 41, "a\nb"])
def test_names_that_are_none(name):
    with pytest.raises(ValueError, match="reader's name"):
        study.named(name)


def test_answers_are_kept_replaced_and_taken_back(tmp_path):
    assert answers.every(tmp_path) == []
    answers.take_back(tmp_path, "anna")
    for item, said in [(3, "a"), (1, "b"), (3, "alike")]:
        answers.give(tmp_path, "anna", item, said, 2.5)
    answers.give(tmp_path, "ben", 3, "a", 1.0)
    assert [(a.reader, a.item, a.answer) for a in answers.every(tmp_path)] == [
        ("anna", 1, "b"),
        ("anna", 3, "alike"),
        ("ben", 3, "a"),
    ]
    answers.take_back(tmp_path, "anna")
    assert [(a.reader, a.item) for a in answers.every(tmp_path)] == [("anna", 1), ("ben", 3)]


def test_no_answer_of_readers_who_answer_at_once_is_lost(tmp_path):
    def read(reader):
        for item in range(25):
            answers.give(tmp_path, reader, item, "a", 0.1)

    threads = [threading.Thread(target=read, args=(name,)) for name in ("anna", "ben", "cleo")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers.every(tmp_path)) == 75 and [p.name for p in tmp_path.iterdir()] == [answers.FILE]


def test_a_copied_study_tells_the_same_and_writes_the_same_table(tmp_path, capsys):
    made(tmp_path / "s")
    for item in range(6):
        answers.give(tmp_path / "s", "=anna", item, "ba"[item % 3 == 0], 1.5)
    assert command.main([str(tmp_path / "s")]) == 0
    told = capsys.readouterr().out
    assert "6 of 12" in told and re.search("A is better +2 of 6", told) and "83 of 133" in told and "model b" in told
    shutil.move(tmp_path / "s", tmp_path / "elsewhere")
    assert command.main([str(tmp_path / "elsewhere"), "--csv", str(tmp_path / "a.csv")]) == 0
    assert capsys.readouterr().out == told
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and rows[0]["reader"] == "'=anna" and rows[0]["answer"] == "a"
    assert command.main([str(tmp_path / "elsewhere"), "--csv", str(tmp_path / "a.csv")]) == 2
    assert "does not exist yet" in error(capsys)


def test_a_study_without_answers_is_told(tmp_path, capsys):
    made(tmp_path / "s", study.REALITY)
    assert command.main([str(tmp_path / "s")]) == 0
    assert capsys.readouterr().out.count("no answers yet") == 2


@pytest.mark.parametrize(
    "damage,word",
    [
        (lambda told: told | {"version": 2}, "version 2"),
        (lambda told: told | {"question": "which"}, "'which'"),
        (lambda told: told | {"items": [{"tile": "t", "kind": "fake"}]}, "real or synthetic"),
        (lambda told: {"version": 1}, "question"),
    ],
)
def test_a_damaged_study_is_one_line(tmp_path, capsys, damage, word):
    made(tmp_path / "s", study.REALITY)
    path = tmp_path / "s" / study.FILE
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    assert command.main([str(tmp_path / "s")]) == 2
    assert word in error(capsys)


def test_damaged_and_foreign_answers_are_one_line(tmp_path, capsys):
    made(tmp_path / "s")
    answers.give(tmp_path / "s", "anna", 99, "a", 1.0)
    assert command.main([str(tmp_path / "s")]) == 2
    assert "item 99" in error(capsys)
    (tmp_path / "s" / answers.FILE).write_bytes(b"no database" * 100)
    assert command.main([str(tmp_path / "s")]) == 2
    assert answers.FILE in error(capsys)
    assert command.main([str(tmp_path)]) == 2
    assert study.FILE in error(capsys)


@pytest.mark.parametrize(
    "options,word",
    [
        (["--run", "r", "--count", "0"], "count"),
        (["--run", "r", "--seed", "-1"], "seed"),
        (["--run", "r", "--csv", "x"], "--csv"),
        (["--model", "a", "b"], "--tiles"),
        (["--run", "nowhere"], "nowhere"),
    ],
)
def test_a_study_that_cannot_be_made(tmp_path, capsys, options, word):
    assert command.main([str(tmp_path / "s"), *options]) == 2
    assert word in error(capsys) and not (tmp_path / "s").exists()


def test_patches_of_a_run(tmp_path, bank, capsys):
    (tmp_path / "run").mkdir()
    settings = run_folder(tmp_path / "run", bank)
    call = [str(tmp_path / "s"), "--run", str(tmp_path / "run"), "--tiles", str(bank.path.parent), "--count", "4"]
    assert command.main(call) == 0
    told = study.read(tmp_path / "s")
    assert sorted(item.kind for item in told.items) == sorted(study.KINDS * 4)
    assert all((item.weight is None) == (item.kind != "refined") for item in told.items)
    pictures = [image_files.image(study.stem(tmp_path / "s", n).with_suffix(".png")) for n in range(12)]
    assert {p.shape for p in pictures} == {(settings.schedule.patch,) * 2 + (3,)}
    assert len({p.tobytes() for p in pictures}) == 12
    assert command.main(call) == 2 and "does not exist yet" in error(capsys)


def test_outlines_of_two_models(tmp_path, exported, tissue_image, monkeypatch):
    for name in ("lung", "skin"):
        (tmp_path / "tiles" / name).mkdir(parents=True)
    for name, image in {
        "lung/a": tissue_image[0],
        "lung/b": tissue_image[0][::-1],
        "skin/a": tissue_image[0][:90],
    }.items():
        cv2.imwrite(str(tmp_path / f"tiles/{name}.png"), image[..., ::-1])
    model = str(exported.version)
    options = ["--model", model, model, "--tiles", str(tmp_path / "tiles"), "--count", "4", "--side", "100"]
    assert command.main([str(tmp_path / "s"), *options]) == 0
    told = study.read(tmp_path / "s")
    assert told.question == study.OUTLINES and re.fullmatch(r"1 sha256:\w+|tiny/1 sha256:\w+", told.about["a"])
    tiles = [item.tile for item in told.items]
    assert set(tiles) == {"lung/a.png", "lung/b.png", "skin/a.png"} and len(tiles) == 4
    for number, tile in enumerate(tiles):
        stem = study.stem(tmp_path / "s", number)
        field = image_files.image(stem.with_suffix(".png"))
        assert field.shape == ((90, 100, 3) if tile.startswith("skin") else (100, 100, 3))
        both = [image_files.read(image_files.partner(stem.with_name(f"{stem.name}_{m}.png"))) for m in study.MODELS]
        assert np.array_equal(*both) and both[0].shape == field.shape[:2]
        assert outputs.overlay(field, both[0]).shape == field.shape
