import csv

import numpy as np
import pytest

from hou_synth import metrics


def boxes(*places, shape=(20, 20)):
    labels = np.zeros(shape, np.int32)
    for label, (y, x, height, width) in enumerate(places, 1):
        labels[y : y + height, x : x + width] = label
    return labels


# True: A and B of 4x4. Predicted: A shifted by one (12 of 16 shared), half of B, one far away of 4.
TRUE = boxes((0, 0, 4, 4), (10, 0, 4, 4))
PREDICTED = boxes((0, 1, 4, 4), (10, 0, 4, 2), (18, 18, 2, 2))


def test_hand_computed_values():
    got = metrics.scores(PREDICTED, TRUE)
    assert got["dice1"] == pytest.approx(2 * (12 + 8) / (28 + 32))
    assert got["dice2"] == pytest.approx(2 * (12 + 8) / ((16 + 16) + (8 + 16)))
    assert got["dice"] == pytest.approx((got["dice1"] + got["dice2"]) / 2)
    assert got["aji"] == pytest.approx((12 + 8) / (20 + 16 + 4))
    assert got["dq"] == pytest.approx(1 / (1 + 0.5 * 2 + 0.5 * 1))  # IoU 12/20 counts, IoU 8/16 does not
    assert got["sq"] == pytest.approx(12 / 20)
    assert got["pq"] == pytest.approx(0.4 * 0.6)
    assert got["f1"] == pytest.approx(2 * 1 / 5)  # exactly half of B covered is not more than half


def test_single_measures_agree_with_scores():
    got = metrics.scores(PREDICTED, TRUE)
    for name in ("dice1", "dice2", "aji", "f1"):
        assert getattr(metrics, name)(PREDICTED, TRUE) == got[name]
    assert metrics.dice_average(PREDICTED, TRUE) == got["dice"]
    assert metrics.panoptic(PREDICTED, TRUE) == (got["pq"], got["dq"], got["sq"])


def test_dice2_counts_every_overlapping_pair():
    merged = boxes((0, 0, 4, 9))  # covers both nuclei, and a column of background
    true = boxes((0, 0, 4, 4), (0, 5, 4, 4))
    assert metrics.dice2(merged, true) == pytest.approx(2 * 32 / (2 * 36 + 16 + 16))


def test_aji_takes_the_best_iou_and_adds_unused_and_missed_areas():
    true = boxes((0, 0, 4, 4), (10, 10, 3, 3))
    predicted = boxes((0, 0, 4, 3), (0, 3, 4, 1))
    assert metrics.aji(predicted, true) == pytest.approx(12 / (16 + 9 + 4))


def test_aji_lets_one_prediction_serve_two_true_nuclei():
    merged = boxes((0, 0, 4, 8))
    true = boxes((0, 0, 4, 4), (0, 4, 4, 4))
    assert metrics.aji(merged, true) == pytest.approx((16 + 16) / (32 + 32))


def test_f1_counts_a_merged_prediction_once():
    merged = boxes((0, 0, 4, 8))
    true = boxes((0, 0, 4, 4), (0, 4, 4, 4))
    assert metrics.f1(merged, true) == pytest.approx(2 * 1 / 3)


def test_equal_maps_are_perfect(circles):
    assert set(metrics.scores(circles, circles).values()) == {1.0}


def test_renumbering_changes_nothing(circles):
    shifted = np.roll(circles, 3, axis=1)
    odd = np.array([0, 901, 7, 65535, 2, 40], np.uint16)
    assert metrics.scores(odd[shifted], odd[::-1].copy()[[5, 0, 1, 2, 3, 4]][circles]) == pytest.approx(
        metrics.scores(shifted, circles)
    )


def blocks(seed):
    """Random label map (40, 50) of overlapping boxes, ids with gaps."""
    random, labels = np.random.default_rng(seed), np.zeros((40, 50), np.int32)
    for label in random.permutation(np.arange(1, 40, 3)):
        (y, x), (height, width) = random.integers(0, 40, 2), random.integers(3, 14, 2)
        labels[y : y + height, x : x + width] = label
    return labels


@pytest.mark.parametrize("seed", range(5))
def test_random_maps_renumbered_score_alike(seed):
    one, other = blocks(seed), blocks(seed + 100)
    ids = np.concatenate([[0], np.random.default_rng(seed).permutation(np.arange(1, 60))])
    assert metrics.scores(ids[one], ids[::-1][:-1][other - 1] * (other > 0)) == metrics.scores(one, other)


@pytest.mark.parametrize("seed", range(5))
def test_all_measures_but_aji_and_f1_are_symmetric(seed):
    one, other = blocks(seed), blocks(seed + 100)
    there, back = metrics.scores(one, other), metrics.scores(other, one)
    for name in metrics.MEASURES.keys() - {"aji", "f1"}:
        assert there[name] == pytest.approx(back[name], rel=1e-12)


def test_aji_and_f1_depend_on_which_map_is_true():
    whole, halves = boxes((0, 0, 4, 4)), boxes((0, 0, 4, 2), (0, 2, 4, 2))
    assert metrics.aji(halves, whole) == pytest.approx(8 / (16 + 8))
    assert metrics.aji(whole, halves) == pytest.approx((8 + 8) / (16 + 16))
    large = boxes((0, 0, 8, 8))
    assert metrics.f1(large, whole) == 1.0  # all of the true nucleus is covered
    assert metrics.f1(whole, large) == 0.0  # a quarter of it


def test_large_ids_do_not_overflow():
    large = TRUE.astype(np.int64) * (2**31 - 1) // 2
    assert metrics.scores(large, large)["aji"] == 1.0


def test_empty_maps(circles):
    empty = np.zeros_like(circles)
    assert set(metrics.scores(empty, empty).values()) == {1.0}
    assert set(metrics.scores(empty, circles).values()) == {0.0}
    assert set(metrics.scores(circles, empty).values()) == {0.0}


def test_disjoint_maps_score_zero():
    assert set(metrics.scores(boxes((0, 0, 4, 4)), boxes((10, 10, 4, 4))).values()) == {0.0}


def test_full_maps_without_background():
    assert set(metrics.scores(np.ones((5, 5), int), np.ones((5, 5), int)).values()) == {1.0}


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (np.zeros((20, 19), int), r"\(20, 19\) and \(20, 20\)"),
        (np.zeros((20, 20)), "float64"),
        (np.zeros((20, 20, 3), int), r"\(20, 20, 3\)"),
        (np.full((20, 20), -1), "ids >= 0"),
    ],
)
def test_maps_that_do_not_fit(predicted, message):
    with pytest.raises(ValueError, match=message):
        metrics.scores(predicted, TRUE)


@pytest.fixture
def folders(tmp_path):
    for name in ("predicted", "true"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "predicted" / "a_labels.npy", PREDICTED)
    np.save(tmp_path / "true" / "a.npy", TRUE)
    return tmp_path


def test_command_prints_and_writes_the_table(folders, capsys):
    out = folders / "table.csv"
    assert metrics.main([str(folders / "predicted"), str(folders / "true"), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["image", *metrics.MEASURES]
    assert [line.split()[0] for line in lines[1:]] == ["a", "mean"]
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert float(rows[0]["aji"]) == pytest.approx(0.5)
    assert [p.name for p in folders.iterdir() if p.is_file()] == ["table.csv"]


def test_command_names_what_fails_and_does_the_others(folders, capsys):
    np.save(folders / "true" / "alone.npy", TRUE)
    np.save(folders / "predicted" / "small_labels.npy", PREDICTED[:5])
    np.save(folders / "true" / "small.npy", TRUE)
    assert metrics.main([str(folders / "predicted"), str(folders / "true")]) == 2
    captured = capsys.readouterr()
    errors = captured.err.splitlines()
    assert len(errors) == 2 and all(line.startswith("error: ") for line in errors)
    assert "alone" in errors[0] and "(5, 20) and (20, 20)" in errors[1]
    assert "mean" in captured.out


def test_command_without_a_folder(tmp_path, capsys):
    assert metrics.main([str(tmp_path / "nowhere"), str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_command_with_an_empty_folder_is_one_line(folders, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/notes.txt").write_text("no label map")
    for pair in (("empty", "true"), ("predicted", "empty"), ("empty", "empty")):
        assert metrics.main([str(tmp_path / name) for name in pair]) == 2
        told = capsys.readouterr()
        assert told.out == "" and told.err.count("\n") == 1
        assert told.err.startswith("error: Expected label maps (.png, ") and told.err.endswith(
            "none in " + str(tmp_path / "empty") + ".\n"
        )


def test_command_leaves_no_table_without_rows(folders, capsys):
    (folders / "true" / "a.npy").write_bytes(b"torn")
    out = folders / "table.csv"
    assert metrics.main([str(folders / "predicted"), str(folders / "true"), "--out", str(out)]) == 2
    told = capsys.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == 2 and not out.exists()


def row(value, **texts):
    return {**texts, **dict.fromkeys(metrics.MEASURES, value)}


def test_mean_of_rows_by_hand():
    rows = [row(0.25, set="a"), row(1.0, set="b")]
    assert metrics.with_mean(rows, "set") == [*rows, row(0.625, set="mean")]
    assert metrics.with_mean([]) == []


def test_tables_of_two_columns():
    rows = metrics.with_mean([row(0.5, image="a|b", type="lung"), row(1.0, image="c", type="")])
    lines = metrics.aligned(rows, ("image", "type")).splitlines()
    assert lines[0].split() == ["image", "type", *metrics.MEASURES]
    assert [line[:11] for line in lines[1:]] == ["a|b    lung", "c          ", "mean       "]
    assert lines[3].split()[1:] == ["0.7500"] * len(metrics.MEASURES)
    header, rule, first, second, mean = metrics.markdown(rows, ("image", "type")).splitlines()
    assert header == f"| image | type | {' | '.join(metrics.MEASURES)} |"
    assert rule.replace("-", "").split() == ["|"] * 3 + [":", "|"] * len(metrics.MEASURES)
    assert first == r"| a\|b | lung |" + " 0.5000 |" * len(metrics.MEASURES)
    assert second.startswith("| c |  | 1.0000") and mean.startswith("| mean |  | 0.7500")
