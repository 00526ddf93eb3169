import cv2
import numpy as np
import pytest

from data.labelled import reader
from hou_synth import metrics
from hou_synth.io import files, image_files
from train import evaluate
from train.judging import evaluation
from train.pictures import outlines, worst

WIDTHS = {
    "a": 100,
    "b": 30,
    "c": 200,
    "d": 60,
    "e": 0,
    "f": 150,
    "g": 10,
}  # columns found of 200: the higher, the better


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Seven images measured by a method that finds a part of their only nucleus, and their worst."""
    true = np.zeros((500, 500), np.int32)
    true[100:300, 100:300] = 1
    noted = worst.Worst(tmp_path_factory.mktemp("worst") / "set")
    for number, (name, width) in enumerate(WIDTHS.items()):
        item = reader.Labelled(name, "lung", np.full((500, 500, 3), 30 * number + 20, np.uint8), true, 0.25)
        found = np.where(np.arange(500) < 100 + width, true, 0)
        evaluation.measured(lambda image, _, found=found: found, item, worst=noted)
    noted.write()
    return noted


def test_the_five_worst_are_drawn_in_order(measured):
    assert [row["image"] for row in measured.rows()] == ["e", "g", "b", "d", "a"]
    scores = [row["dice"] for row in measured.rows()]
    assert scores == sorted(scores) and scores[0] == 0
    names = ["1_e.png", "2_g.png", "3_b.png", "4_d.png", "5_a.png"]
    assert sorted(path.name for path in measured.folder.iterdir()) == names


def test_a_picture_is_the_image_and_beside_it_both_outlines(measured):
    drawn = image_files.image(measured.folder / "5_a.png")
    head = drawn.shape[0] - worst.SIDE
    assert 20 < head < 60 and drawn.shape[1] == 2 * worst.SIDE
    assert (drawn[:head].min(axis=2) < 100).sum() > 200  # the text, black on white
    image, outlined = drawn[head:, : worst.SIDE], drawn[head:, worst.SIDE :]
    assert (image == 20).all()
    marked = (outlined != 20).any(axis=2)
    yellow, cyan = ((outlined == colour).all(axis=2) for colour in (outlines.TRUE, worst.PREDICTED))
    assert (marked == (yellow | cyan)).all()
    lines = np.zeros(outlined.shape, np.uint8)  # by hand: of twice the size, a line of one pixel inside each nucleus
    cv2.rectangle(lines, (200, 200), (599, 599), outlines.TRUE)
    cv2.rectangle(lines, (200, 200), (399, 599), worst.PREDICTED)
    np.testing.assert_array_equal(np.where(marked[..., None], outlined, 0), lines)


def test_the_caption_tells_the_image_and_its_scores(monkeypatch):
    texts = []
    monkeypatch.setattr(outlines, "titled", lambda picture, text, scale: texts.append(text) or picture)
    nuclei = np.zeros((8, 8), np.int32)
    item = reader.Labelled("TCGA-1", "lung", np.zeros((8, 8, 3), np.uint8), nuclei, 0.25)
    worst.picture({"dice": 0.1234, "aji": 0.5678}, item, nuclei)
    (text,) = texts
    assert text.split()[:6] == ["TCGA-1", "lung", "DICE", "average", "0.123", "AJI"] and "0.568" in text
    assert "true yellow" in text and "predicted cyan" in text


def test_the_command_draws_and_prints_the_worst_of_each_set(tmp_path, stained, circles, capsys):
    for parent in "xy":
        (tmp_path / parent).mkdir()
        for stem, nuclei in {"a": circles, "b": np.roll(circles, 4, axis=1)}.items():
            files.write_png(tmp_path / parent / f"{stem}.png", stained)
            image_files.write(tmp_path / parent / stem, nuclei)
    folders = [str(tmp_path / parent) for parent in "xy"]
    before = set(tmp_path.rglob("*"))
    assert evaluate.main(["--model", "otsu", "--data", *folders, "--worst", str(tmp_path / "w")]) == 0
    made = {path.relative_to(tmp_path / "w").as_posix() for path in set(tmp_path.rglob("*")) - before if path.is_file()}
    assert made == {"x/1_b.png", "x/2_a.png", "y/1_b.png", "y/2_a.png"}
    printed = capsys.readouterr().out.split("x, worst\n")[1].splitlines()
    assert [line.split()[0] for line in printed[:3]] == ["image", "b", "a"]
    assert printed[0].split()[2:] == list(metrics.MEASURES)
    assert evaluate.main(["--model", "otsu", "--data", *folders, "--worst", str(tmp_path / "w")]) == 2
    assert "does not exist yet" in capsys.readouterr().err
