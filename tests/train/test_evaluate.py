import csv

import cv2
import numpy as np
import pytest

import hou_synth
from data.labelled import reader
from hou_synth import inference, metrics, results
from hou_synth.io import files, image_files
from hou_synth.model import Model
from train import evaluate
from train.judging import evaluation, scores
from train.pictures import outlines
from train.runs import labelled_sets


@pytest.fixture
def folder(tmp_path, stained, circles):
    """Folder with two labelled images."""
    fill(tmp_path / "data", stained, circles, "ab")
    return tmp_path


def fill(folder, image, nuclei, stems):
    folder.mkdir(parents=True)
    for stem in stems:
        files.write_png(folder / f"{stem}.png", image)
        image_files.write(folder / stem, nuclei)


def run(folder, *more):
    return evaluate.main(["--data", str(folder / "data"), *map(str, more)])


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def row(value, **texts):
    return {**texts, **dict.fromkeys(metrics.MEASURES, value)}


def line(*texts, value):
    return f"| {' | '.join(texts)} |" + f" {value} |" * len(metrics.MEASURES)


def test_measured_row_is_the_scores(stained, circles):
    shifted, seen = np.roll(circles, 3, axis=1), []
    item = reader.Labelled("a", "lung", stained, circles, 0.5)
    found = evaluation.measured(lambda *inputs: seen.append(inputs) or shifted, item)
    assert found == {"type": "lung", "image": "a", **metrics.scores(shifted, circles)}
    ((image, microns_per_pixel),) = seen
    assert image is stained and microns_per_pixel == 0.5


def test_measured_by_hand():
    true = np.zeros((20, 20), np.int32)
    true[5:15, 5:15] = 1
    item = reader.Labelled("box", "", np.zeros((20, 20, 3), np.uint8), true, 0.25)
    found = evaluation.measured(lambda image, _: np.where(np.arange(20) < 10, true, 0), item)
    assert found["dice1"] == pytest.approx(2 * 50 / 150) and found["aji"] == 0.5


def test_otsu_baseline_table_is_the_scores(folder, stained, circles, capsys):
    assert run(folder, "--model", "otsu", "--out", folder / "new" / "scores.csv") == 0
    rows = table(folder / "new" / "scores.csv")
    expected = metrics.scores(inference.otsu_nuclei(stained), circles)
    assert list(rows[0]) == ["set", "type", "image", *metrics.MEASURES]
    assert [(row["set"], row["image"]) for row in rows] == [("data", "a"), ("data", "b")]
    for name, value in expected.items():
        assert [float(row[name]) for row in rows] == [value] * 2
    title, *lines = capsys.readouterr().out.rstrip("\n").splitlines()
    assert title == "data" and len({len(line) for line in lines}) == 1
    assert lines[-1].split() == ["mean", *(f"{value:.4f}" for value in expected.values())]
    text = (folder / "new" / "scores.md").read_text()
    assert text.startswith("## data\n\n| image | type | dice1 |") and text.count("##") == 1
    assert text.endswith(f"| mean |  | {' | '.join(f'{value:.4f}' for value in expected.values())} |\n")


def test_report_of_sets_and_types_by_hand():
    rows = [
        row(0.25, set="s", type="lung", image="a"),
        row(0.5, set="s", type="brain", image="b"),
        row(0.75, set="s", type="lung", image="c"),
        row(1.0, set="t", type="lung", image="a"),
    ]
    rule = "| --- | --- |" + " ---: |" * len(metrics.MEASURES)
    names = " | ".join(metrics.MEASURES)
    expected = [
        "## s",
        "",
        f"| image | type | {names} |",
        rule,
        line("a", "lung", value="0.2500"),
        line("b", "brain", value="0.5000"),
        line("c", "lung", value="0.7500"),
        line("mean", "", value="0.5000"),
        "",
        "## s, tissue types",
        "",
        f"| type | images | {names} |",
        rule,
        line("lung", "2", value="0.5000"),
        line("brain", "1", value="0.5000"),
        "",
        "## t",
        "",
        f"| image | type | {names} |",
        rule,
        line("a", "lung", value="1.0000"),
        line("mean", "", value="1.0000"),
        "",
        "## all sets",
        "",
        f"| set | images | {names} |",
        rule,
        line("s", "3", value="0.5000"),
        line("t", "1", value="1.0000"),
        line("mean of sets", "", value="0.7500"),
    ]
    assert evaluation.report(rows).splitlines() == expected


def test_the_mean_of_sets_counts_every_set_once():
    """Three images with 0.2, 0.3 and 0.4, and one of another set with 0.9: 0.6, where the four images have 0.45."""
    rows = [row(value, set="s", type="", image=str(value)) for value in (0.2, 0.3, 0.4)]
    rows.append(row(0.9, set="t", type="", image="x"))
    ((title, columns, sets),) = evaluation.closing(rows)
    assert title == "all sets" and columns == ("set", "images")
    assert [found["set"] for found in sets] == ["s", "t", "mean of sets"]
    assert sets[-1] == pytest.approx(row(0.6, set="mean of sets"))
    assert evaluation.closing(rows[:3]) == []


def test_several_models_end_with_the_mean_of_sets_of_each(folder, stained, circles, capsys, monkeypatch):
    """One model finds the truth, the other nothing: in both sets, of two images and of one that has no nucleus."""
    fill(folder / "more", stained, np.zeros_like(circles), "c")
    methods = {"all": lambda image, _: circles, "none": lambda image, _: np.zeros_like(circles)}
    monkeypatch.setattr(evaluation, "method", lambda path, normalise: methods[path])
    out = folder / "t.csv"
    assert run(folder, folder / "more", "--model", "all", "none", "--out", out) == 0
    printed = capsys.readouterr().out.split("\n\n")
    assert [part.splitlines()[0] for part in printed[:3]] == ["all: all sets", "none: all sets", "models, mean of sets"]
    lines = [line.split()[:4] for line in printed[2].splitlines()[2:]]
    assert lines == [["all", "2", "3", "0.5000"], ["none", "2", "3", "0.5000"]]
    rows = table(out)
    assert [(row["model"], row["set"], row["dice"]) for row in rows] == [
        ("all", "data", "1.0"),
        ("all", "data", "1.0"),
        ("all", "more", "0.0"),
        ("none", "data", "0.0"),
        ("none", "data", "0.0"),
        ("none", "more", "1.0"),
    ]
    text = (folder / "t.md").read_text()
    assert (
        text.count("| mean of sets |") == 2 and "## models, mean of sets" in text and "| none | 2 | 3 | 0.5000" in text
    )
    with pytest.raises(ValueError, match="one model.*t.csv"):
        scores.read(out)


@pytest.mark.parametrize("more", [["otsu", "otsu"], ["otsu", "x", "--overlays", "o"], ["otsu", "x", "--worst", "w"]])
def test_models_that_cannot_be_compared(folder, capsys, more):
    assert run(folder, "--model", *more) == 2
    assert capsys.readouterr().err.startswith("error: Expected")


def test_two_sets_end_with_a_table_of_both(folder, stained, circles, capsys):
    fill(folder / "more", stained, circles, "abc")
    out = folder / "scores.csv"
    assert run(folder, folder / "more", "--model", "otsu", "--limit", 2, "--out", out, "--overlays", folder / "o") == 0
    assert [row["set"] + row["image"] for row in table(out)] == ["dataa", "datab", "morea", "moreb"]
    printed = capsys.readouterr().out
    titles = [part.splitlines()[0] for part in printed.split("\n\n") if part]
    assert titles == ["data", "more", "all sets"]
    assert [line.split()[:2] for line in printed.split("all sets\n")[1].splitlines()[1:3]] == [
        ["data", "2"],
        ["more", "2"],
    ]
    assert sorted(path.name for path in (folder / "o" / "more").iterdir()) == [
        "a_overlay.png",
        "b_overlay.png",
        "best.png",
        "worst.png",
    ]


def test_tissue_types_of_the_table_get_their_means(folder, capsys):
    (folder / "images.csv").write_text("image,type,microns_per_pixel\na.png,lung,\nb.png,brain,\n")
    out = folder / "scores.csv"
    assert run(folder, "--model", "otsu", "--images", folder / "images.csv", "--out", out) == 0
    assert [row["type"] for row in table(out)] == ["lung", "brain"]
    types = capsys.readouterr().out.split("data, tissue types\n")[1].splitlines()
    assert [line.split()[:2] for line in types[:3]] == [["type", "images"], ["lung", "1"], ["brain", "1"]]


def test_model_and_overlays_side_by_side(folder, stained, monkeypatch):
    monkeypatch.setattr(
        hou_synth,
        "load",
        lambda path: Model(lambda images: dict.fromkeys(inference.OUTPUTS, images[..., :1] * np.float32(0))),
    )
    assert run(folder, "--model", "m", "--overlays", folder / "o", "--limit", 1, "--out", folder / "t.csv") == 0
    assert sorted(path.name for path in (folder / "o").iterdir()) == ["a_overlay.png", "best.png", "worst.png"]
    drawn = image_files.image(folder / "o" / "a_overlay.png")
    assert drawn.shape == (96, 256, 3)
    np.testing.assert_array_equal(drawn[:, 128:], stained)  # the network finds nothing
    assert ((drawn[:, :128] == outlines.TRUE).all(axis=2).sum()) > 100
    assert float(table(folder / "t.csv")[0]["dice1"]) == 0.0


def test_the_resolution_reaches_the_network_and_scores_are_on_the_images_pixels(folder, stained, monkeypatch):
    seen = []

    def network(images):
        seen.append(images.shape)
        return dict.fromkeys(inference.OUTPUTS, np.ones((*images.shape[:3], 1), np.float32))

    monkeypatch.setattr(hou_synth, "load", lambda path: Model(network))
    segmented = evaluation.method("m", normalise=False)
    assert segmented(stained, 0.25).shape == segmented(stained, 0.5).shape == stained.shape[:2]
    assert seen[1][1] > 1.5 * seen[0][1]


def test_sheets_show_the_extremes_in_order(tmp_path):
    true = np.zeros((512, 512), np.int32)
    true[100:300, 100:300] = 1
    rows = []
    for number, width in enumerate([30, 10, 200, 60, 0, 100, 150]):  # of 200 columns found: the higher, the better
        image = np.full((512, 512, 3), 30 * number + 20, np.uint8)
        item = reader.Labelled(f"i{number}", "", image, true, 0.25)
        found = np.where(np.arange(512) < 100 + width, true, 0)
        rows.append(evaluation.measured(lambda image, _, found=found: found, item, tmp_path))
    outlines.write_sheets(tmp_path, rows)
    for title, order in {"worst": [4, 1, 0, 3, 5], "best": [2, 6, 5, 3, 0]}.items():
        drawn = image_files.image(tmp_path / f"{title}.png")
        head = (drawn.shape[0] // 5 - 512) * 5 // 6 + 1
        assert drawn.shape[1] == 2 * 512 and 5 * 512 < drawn.shape[0] < 5 * 512 + 200
        greys = drawn[head + 30 :: 512 + 18][:5]
        assert [(line[5, 0] - 20) // 30 for line in greys] == order
        assert [(line[-5, 0] - 20) // 30 for line in greys] == order
        left, right = drawn[:, :512], drawn[:, 512:]
        assert (left == outlines.TRUE).all(axis=2).sum() == 5 * (4 * 200 - 4)
        assert (right == results.OUTLINE).all(axis=2).any() and not (left == results.OUTLINE).all(axis=2).any()


def test_reduced_panels_keep_their_outlines(circles, stained):
    large = cv2.resize(stained, (1280, 960))
    nuclei = np.repeat(np.repeat(circles, 10, 0), 10, 1)
    small = outlines.reduced(results.overlay(large, nuclei), results.OUTLINE)
    assert small.shape == (384, 512, 3)
    outline = (small == results.OUTLINE).all(axis=2)
    regions, _ = cv2.connectedComponents((~outline).astype(np.uint8), connectivity=4)
    assert regions - 1 == 1 + len(np.unique(circles)) - 1  # every outline is closed: the tissue and five nuclei
    assert outlines.reduced(stained, results.OUTLINE).shape == (384, 512, 3)


def test_mismatch_and_missing_labels_are_named(folder, circles, capsys):
    image_files.write(folder / "data" / "a", circles[:50])
    files.write_png(folder / "data" / "c.png", np.zeros((9, 9, 3), np.uint8))
    assert run(folder, "--model", "otsu") == 2
    captured = capsys.readouterr()
    missing, mismatch = (line for line in captured.err.splitlines() if line.startswith("error"))
    assert "a.png" in mismatch and "96" in mismatch and "50" in mismatch
    assert "c.png" in missing
    assert [line.split()[0] for line in captured.out.splitlines() if line] == ["data", "image", "b", "mean"]


def test_strict_stops_at_the_first(folder, capsys):
    for stem in "ab":
        (folder / "data" / f"{stem}.png").write_bytes(b"damaged")
    assert run(folder, "--model", "otsu", "--strict", "--out", folder / "t.csv") == 2
    captured = capsys.readouterr()
    (error,) = (line for line in captured.err.splitlines() if line.startswith("error"))
    assert "a.png" in error and captured.out == ""
    assert [path.name for path in folder.iterdir()] == ["data"]


def test_image_that_cannot_be_segmented_is_named(folder):
    entries, failures = reader.find(folder / "data"), []

    def segmented(image, microns_per_pixel):
        raise ValueError("too dark")

    assert evaluation.measured_set(segmented, "s", entries, on_error=failures.append) == []
    assert [str(failure) for failure in failures] == ["s/a: too dark", "s/b: too dark"]
    with pytest.raises(ValueError, match="s/a: too dark"):
        evaluation.measured_set(segmented, "s", entries)


def test_every_set_has_a_table_of_its_own(folder, stained, circles, capsys):
    fill(folder / "more", stained, circles, "c")
    for name, text in {"data": "image,type\na,lung\nb,lung\n", "more": "image,type\nc,brain\n"}.items():
        (folder / f"{name}.csv").write_text(text)
    out, tables = folder / "t.csv", [folder / "data.csv", folder / "more.csv"]
    assert run(folder, folder / "more", "--model", "otsu", "--images", *tables, "--out", out) == 0
    assert [row["type"] for row in table(out)] == ["lung", "lung", "brain"]
    assert run(folder, folder / "more", "--model", "otsu", "--images", tables[0]) == 2
    assert "1 of 2" in capsys.readouterr().err


@pytest.mark.parametrize("damaged", ["{}.png", "{}_labels.png"])
def test_without_a_single_success_there_are_no_tables(folder, capsys, damaged):
    for stem in "ab":
        assert (folder / "data" / damaged.format(stem)).write_bytes(b"damaged")
    assert run(folder, "--model", "otsu", "--out", folder / "t.csv", "--overlays", folder / "o") == 2
    captured = capsys.readouterr()
    assert captured.err.count("error: ") == 3 and captured.out == ""
    assert captured.err.endswith("error: Expected an image that can be measured. Received: none, see above.\n")
    assert not any((folder / name).exists() for name in ("t.csv", "t.md", "o"))


def test_names_of_sets_are_the_shortest_that_differ():
    assert labelled_sets.names(["/x/kumar16", "lgg28/"]) == ["kumar16", "lgg28"]
    assert labelled_sets.names(["/x/a/test", "/x/b/../b/test", "/c"]) == ["a/test", "b/test", "c"]
    assert labelled_sets.names(["/a/b/test", "/c/b/test", "/d/test"]) == ["a/b/test", "c/b/test", "d/test"]
    assert labelled_sets.names(["/test", "/a/test"]) == ["test", "a/test"]
    with pytest.raises(ValueError, match="/x/a more than once"):
        labelled_sets.names(["/x/a", "/x/b", "/x/a/"])


def test_sets_of_one_name_get_folders_of_their_own(tmp_path, stained, circles):
    for parent in "ab":
        fill(tmp_path / parent / "test", stained, circles, "i")
    folders = [str(tmp_path / parent / "test") for parent in "ab"]
    options = ["--model", "otsu", "--out", tmp_path / "s.csv", "--overlays", tmp_path / "o"]
    assert evaluate.main(["--data", *folders, *map(str, options)]) == 0
    assert [row["set"] for row in table(tmp_path / "s.csv")] == ["a/test", "b/test"]
    assert all((tmp_path / "o" / parent / "test" / "i_overlay.png").is_file() for parent in "ab")


def test_format_chooses_the_truth(folder, circles):
    (folder / "data" / "b_labels.png").unlink()
    for stem, nuclei in {"a": np.zeros_like(circles), "b": circles}.items():
        text = "\n".join(["128 96", *map(str, nuclei.ravel())])
        (folder / "data" / f"{stem}_mask.txt").write_text(text)
    assert run(folder, "--model", "otsu", "--format", "miccai", "--out", folder / "t.csv") == 0
    a, b = table(folder / "t.csv")
    assert float(a["dice"]) == 0.0 and float(b["dice"]) > 0.9
    assert run(folder, "--model", "otsu", "--format", "matlab") == 2


@pytest.mark.parametrize("more", [["--model", "nowhere"], ["--model", "otsu", "--limit", "0"]])
def test_mistakes_are_one_line(folder, capsys, more):
    assert run(folder, *more) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_folder_without_images(tmp_path, capsys):
    (tmp_path / "data").mkdir()
    assert run(tmp_path, "--model", "otsu") == 2
    assert capsys.readouterr().err.startswith("error: Expected")


def test_otsu_on_real_tissue(real_data, tmp_path):
    data = [str(real_data / "labelled" / "kumar16"), str(real_data / "originals" / "monuseg")]
    assert evaluate.main(["--model", "otsu", "--data", *data, "--limit", "1", "--out", str(tmp_path / "t")]) == 0
    rows = table(tmp_path / "t")
    assert [row["set"] for row in rows] == ["kumar16", "monuseg"]
    assert all(0.5 < float(row["dice"]) < 0.8 for row in rows)


@pytest.mark.parametrize("older", ["t.csv", "t.md", "o/a_overlay.png"])
def test_older_results_are_not_overwritten(folder, capsys, older):
    (folder / "o").mkdir()
    (folder / older).write_text("precious")
    assert run(folder, "--model", "otsu", "--out", folder / "t.csv", "--overlays", folder / "o") == 2
    assert older.split("/")[0] in capsys.readouterr().err and (folder / older).read_text() == "precious"


@pytest.mark.parametrize("out", ["t.md", "data"])
def test_out_is_the_csv_file(folder, capsys, out):
    assert run(folder, "--model", "otsu", "--out", folder / out) == 2
    assert "CSV" in capsys.readouterr().err
