import pytest

from hou_synth import metrics
from train.judging import scores


def row(value, **texts):
    return {**texts, **dict.fromkeys(metrics.MEASURES, value)}


def test_means_by_hand():
    rows = [row(0.25, set="s", type="a"), row(0.5, set="t", type="b"), row(0.75, set="s", type="b")]
    assert scores.mean(rows) == {"dice1": 0.5, "dice": 0.5, "aji": 0.5, "pq": 0.5}
    assert scores.means(rows, "set") == [row(0.5, set="s", images=2), row(0.5, set="t", images=1)]
    assert [found["type"] for found in scores.means(rows, "type")] == ["a", "b"]
    assert scores.text({**row(0.5), "pq": 0.1236}) == "dice1 0.500, dice 0.500, aji 0.500, pq 0.124"


def test_the_table_of_images_comes_back(tmp_path):
    rows = [row(1 / 3, set="s", type="=1+1", image="-x"), row(0.0, set="t", type="", image="b")]
    scores.write(tmp_path / "t.csv", rows)
    assert scores.read(tmp_path / "t.csv") == rows
    assert "'=1+1,'-x," in (tmp_path / "t.csv").read_text()


@pytest.mark.parametrize("damage", [("0.0", "much"), ("dice1", "dice7"), ("image", "im\xff")])
def test_a_damaged_table_is_named(tmp_path, damage):
    scores.write(tmp_path / "t.csv", [row(0.0, set="t", type="", image="b")])
    text = (tmp_path / "t.csv").read_text().replace(*damage, 1)
    (tmp_path / "t.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="t.csv"):
        scores.read(tmp_path / "t.csv")
