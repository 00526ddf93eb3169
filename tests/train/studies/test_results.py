"""What answers say: numbers computed by hand."""

import pytest

from train.studies import results

KINDS = ("real", "initial", "refined")


def given(reader, said, kinds=None, weights=None):
    """Rows of a reader who gave these answers to items 0, 1, ..."""
    kinds, weights = kinds or [None] * len(said), weights or [None] * len(said)
    return [
        {"reader": reader, "item": i, "tile": "t", "kind": k, "weight": w, "answer": a, "seconds": 1.0, "at": ""}
        for i, (a, k, w) in enumerate(zip(said, kinds, weights, strict=True))
    ]


def test_shares_called_real_stand_beside_the_paper_s():
    said = ["real"] * 8 + ["synthetic"] * 2 + ["synthetic"] * 10
    rows = results.reality(given("anna", said, ["real"] * 10 + ["initial"] * 10), KINDS)
    assert [(row["called real"], row["share"], row["paper"]) for row in rows] == [
        ("8 of 10", "80 %", "83 %"),
        ("0 of 10", "0 %", "46 %"),
        ("0 of 0", "-", "64 %"),
    ]
    # Wilson by hand: (0.8 + 1.9207 / 10 +- 1.96 sqrt(0.8 0.2 / 10 + 0.9604 / 100)) / (1 + 3.8415 / 10)
    assert [row["interval"] for row in rows] == ["49 to 94 %", "0 to 28 %", "-"]


def test_weights_of_patches_called_real_against_called_synthetic():
    said, weights = ["real", "real", "synthetic", "synthetic"], [2.0, 0.5, 1.0, 0.25]
    (row,) = results.weights(given("anna", said, ["refined"] * 4, weights))
    assert (row["called real"], row["called synthetic"]) == ("1.250", "0.625")
    assert row["higher"] == "75 %"  # 2 > 1, 2 > 0.25, 0.5 > 0.25 of four pairs
    assert results.weights(given("anna", ["real"] * 4, ["refined"] * 4, weights)) == []


def test_outlines_and_the_sign_test():
    rows = given("anna", ["a"] * 5 + ["b"] + ["alike"] * 2)
    assert [(row[""], row["fields"], row["paper"]) for row in results.comparison(rows)] == [
        ("A is better", "5 of 8", "83 of 133"),
        ("B is better", "1 of 8", "46 of 133"),
        ("alike", "2 of 8", "4 of 133"),
    ]
    own, paper = results.signs(rows)
    assert own["A better"] == "5 of 6" and own["p"] == "0.22"  # 2 (1 + 6) / 64
    assert paper["A better"] == "83 of 129" and float(paper["p"]) < 0.002
    assert results.signs(given("anna", ["alike"]))[0]["p"] == "-"


def test_kappa_of_each_pair_on_what_both_have_answered():
    one, other = ["a"] * 6 + ["b"] * 4, ["a"] * 5 + ["b"] * 4 + ["a"]
    rows = given("anna", [*one, "alike"]) + given("ben", other)
    (row,) = results.agreement(rows, ["a", "b", "alike"])
    assert (row["readers"], row["same answer"]) == ("anna, ben", "8 of 10")
    assert row["kappa"] == "0.58"  # (0.8 - 0.52) / (1 - 0.52)
    low, high = (float(bound) for bound in row["interval"].split(" to "))
    assert -1 <= low < 0.58 < high <= 1


@pytest.mark.parametrize(
    "one,other,kappa",
    [("aa", "aa", "-"), ("", "", "-"), ("abb", "abb", "1.00"), ("aaa", "bbb", "0.00"), ("abbab", "babba", "-0.67")],
)
def test_kappa_at_its_ends(one, other, kappa):
    apart = {
        "anna": [{"reader": "anna", "item": -1, "answer": "a"}],
        "ben": [{"reader": "ben", "item": -2, "answer": "a"}],
    }
    rows = [*apart["anna"], *given("anna", list(one)), *apart["ben"], *given("ben", list(other))]
    (row,) = results.agreement(rows, ["a", "b", "alike"])
    assert row["kappa"] == kappa
