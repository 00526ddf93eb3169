import numpy as np
import pytest

from train.runs import history


def wrote(path, first, values):
    callback = history.Rounds(path, first)
    callback.on_train_begin()
    for batch, value in enumerate(values):
        callback.on_train_batch_end(batch, {"loss": value, "dice": np.float32(value / 2)})
    return callback


def test_a_row_a_round(tmp_path):
    path = tmp_path / "history" / "1_refiner.csv"
    wrote(path, 0, [1.0, 0.25])
    assert path.read_text() == "round,loss,dice\n1,1,0.5\n2,0.25,0.125\n"
    columns = history.read(path)
    assert list(columns) == ["round", "loss", "dice"] and columns["dice"].tolist() == [0.5, 0.125]


@pytest.mark.parametrize("end", ["", "6,0.1", "6,0.1,0.05", "6,0.1,0.05\n7,0"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, end):
    """Five rounds are written, the checkpoint knows three, and the sixth row may be there in part."""
    whole, killed = tmp_path / "whole.csv", tmp_path / "killed.csv"
    wrote(whole, 0, [6, 5, 4, 3, 2, 1])
    wrote(killed, 0, [6, 5, 4, 9, 9])
    killed.write_text(killed.read_text() + end)
    assert len(history.read(killed)["round"]) == 5 + end.count("\n")
    wrote(killed, 3, [3, 2, 1])
    assert killed.read_text() == whole.read_text()


def test_a_phase_that_begins_anew_forgets_an_earlier_attempt(tmp_path):
    wrote(tmp_path / "a.csv", 0, [9, 9])
    wrote(tmp_path / "a.csv", 0, [1])
    assert (tmp_path / "a.csv").read_text() == "round,loss,dice\n1,1,0.5\n"


@pytest.mark.parametrize("text", ["round,loss\n1,x\n", "round,loss\n1\n", "loss\n0.1\n", "\n", "round,loss\n1,2\xff\n"])
def test_a_damaged_file_is_one_line_that_names_it(tmp_path, text):
    path = tmp_path / "1_task.csv"
    path.write_text(text, encoding="latin-1")
    for use in (history.read, lambda path: history.Rounds(path, 1).on_train_begin()):
        with pytest.raises(ValueError, match="1_task.csv") as error:
            use(path)
        assert "\n" not in str(error.value)
    assert path.read_text(encoding="latin-1") == text


def test_no_file_is_no_history(tmp_path):
    assert history.read(tmp_path / "none.csv") == {}


def test_a_file_that_cannot_be_written_does_not_end_the_training(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    wrote(tmp_path / "file" / "a.csv", 0, [1.0, 2.0])
    assert capsys.readouterr().err.count("training goes on") == 1
    callback = wrote(tmp_path / "b.csv", 0, [1.0])
    callback.path = tmp_path / "gone" / "b.csv"
    callback.on_train_batch_end(1, {"loss": 2.0, "dice": 1.0})
    callback.path = tmp_path / "b.csv"
    callback.on_train_batch_end(2, {"loss": 3.0, "dice": 1.5})
    assert history.read(tmp_path / "b.csv")["round"].tolist() == [1.0]
    assert capsys.readouterr().err.count("training goes on") == 1
