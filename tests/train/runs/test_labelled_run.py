import csv
import dataclasses
import json
import shutil

import cv2
import keras
import numpy as np
import pytest

from data.labelled.reader import Labelled
from hou_synth import config, released
from hou_synth.io import files, image_files, locks
from train import finetune, supervised
from train.judging import scores as shown
from train.loop.task_trainer import TaskTrainer
from train.runs import epochs, finetuning, labelled_run
from train.runs.labelled_options import Named

TINY = (
    "--preset quick --unet-widths 4,8 --unet-down 1,1 --unet-up 1 --patch 64 --batch 2 --pool 8 --refiner-blocks 1"
).split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tissue_image):
    """Four labelled images, parts of the stained one."""
    folder = tmp_path_factory.mktemp("labelled")
    image, nuclei = tissue_image
    for name, (y, x) in {"a": (0, 0), "b": (0, 128), "c": (128, 0), "d": (128, 128)}.items():
        files.write_png(folder / f"{name}.png", image[y : y + 128, x : x + 128])
        image_files.write(folder / name, nuclei[y : y + 128, x : x + 128])
    return folder


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch):
    monkeypatch.setattr(epochs, "EPOCH", 3)


def start(folder, out, *more, updates=7):
    models = ["--models", str(out.parent / "models"), "--out", str(out)]
    return supervised.main(["--data", str(folder), *models, *TINY, "--updates", str(updates), *map(str, more)])


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    """A finished supervised run of three epochs."""
    patch = pytest.MonkeyPatch()
    patch.setattr(epochs, "EPOCH", 3)
    out = tmp_path_factory.mktemp("runs") / "run"
    assert start(folder, out) == 0
    patch.undo()
    return out


def history(run):
    return list(csv.DictReader((run / "history.csv").read_text().splitlines()))


def weights(path):
    return keras.saving.load_model(path).get_weights()


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_run_keeps_its_best_epoch_by_validation(finished, folder):
    rows = history(finished)
    assert [int(float(row["updates"])) for row in rows] == [0, 3, 6, 7]
    assert rows[0]["task_loss"] == "" and all(float(row["task_loss"]) > 0 for row in rows[1:])
    scores = [float(row["dice"]) for row in rows]
    best = [number for number, row in enumerate(rows) if float(row["best"])][-1]
    assert scores[best] == max(scores)
    trainer = TaskTrainer(config.load(finished / "config.json"))
    trainer.task.set_weights(weights(finished / "task.keras"))
    about = json.loads((finished / "run.json").read_text())
    image = image_files.image(folder / f"{about['validation'][0]}.png")
    item = Labelled(
        "v", "", labelled_run.reinhard(image), image_files.read(folder / f"{about['validation'][0]}_labels.png"), 0.25
    )
    judged = epochs.Judged(trainer, [item], None, 1.0)
    judged.update()
    assert judged.scores()["dice"] == pytest.approx(scores[best], abs=1e-6)
    assert json.loads((finished / "scores.json").read_text())["dice"] == scores[best]
    assert (finished.parent / "models/run/1/saved_model.pb").is_file()
    assert not list(finished.rglob("*.part*"))


def test_validation_is_split_by_image(finished):
    about = json.loads((finished / "run.json").read_text())
    assert len(about["validation"]) == 1 and sorted(about["training"] + about["validation"]) == ["a", "b", "c", "d"]


def test_the_curve_is_a_picture_with_two_panels(finished):
    drawn = image_files.image(finished / "curve.png")
    assert drawn.shape[1] > 2 * drawn.shape[0] and drawn.std() > 10


def test_one_training_at_a_time_in_a_folder(folder, tmp_path, capsys):
    with locks.exclusive(tmp_path / "run"):
        assert start(folder, tmp_path / "run") == 2
    assert "another process" in capsys.readouterr().err and not (tmp_path / "run" / "run.json").exists()


def test_split_takes_whole_images():
    training, validation = labelled_run.split(list("abcdefghij"), 0.2, 0)
    assert len(validation) == 2 and sorted(training + validation) == list("abcdefghij")
    assert labelled_run.split(["a"], 0.2, 0) == (["a"], []) and labelled_run.split(["a", "b"], 0.0, 0) == (
        ["a", "b"],
        [],
    )
    assert len(labelled_run.split(["a", "b"], 0.2, 0)[1]) == 1
    with pytest.raises(ValueError, match="1.0"):
        labelled_run.split(["a"], 1.0, 0)


def test_supervision_learns_the_nuclei(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(epochs, "EPOCH", 60)
    assert start(folder, tmp_path / "run", "--batch", 4, updates=120) == 0
    assert max(float(row["dice1"]) for row in history(tmp_path / "run")[1:]) > 0.8


def test_an_interrupted_run_resumes_to_the_same_weights(finished, folder, tmp_path, monkeypatch):
    calls, original = [], epochs.save

    def interrupted(*state):
        original(*state)
        calls.append(state)
        if len(calls) in (1, 2):
            raise KeyboardInterrupt

    monkeypatch.setattr(epochs, "save", interrupted)
    codes = [start(folder, tmp_path / "run", "--resume") for _ in range(3)]
    assert codes == [130, 130, 0]
    assert same(weights(finished / "task.keras"), weights(tmp_path / "run/task.keras"))
    assert history(finished) == history(tmp_path / "run")


def test_a_finished_run_is_told_and_an_existing_one_never_overwritten(finished, folder, capsys):
    assert start(folder, finished, "--resume") == 0
    assert "finished" in capsys.readouterr().out
    assert start(folder, finished) == 2 and "--resume" in capsys.readouterr().err
    assert start(folder, finished, "--resume", "--only", "a", "b") == 2
    assert "training" in capsys.readouterr().err
    assert start(folder, finished, "--resume", "--seed", 3) == 2 and "seed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more,word",
    [
        (["--only", "a", "e"], "images e"),
        (["--validation", "1"], "1.0"),
        (["--updates", "0"], "--updates"),
        (["--patch", "20"], "20"),
        (["--network", "vit"], "vit"),
        (["--images", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_mistakes_are_one_line(folder, tmp_path, capsys, more, word):
    assert start(folder, tmp_path / "run", *more) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and word in lines[0]
    assert not (tmp_path / "run").exists()


def test_images_that_do_not_fit_are_fatal_or_named_and_skipped(folder, tmp_path, capsys):
    image = image_files.image(folder / "a.png")
    for name in ("a", "b"):
        files.write_png(tmp_path / f"{name}.png", image)
        image_files.write(tmp_path / name, np.ones((128, 128 if name == "a" else 64), np.int32))
    assert start(tmp_path, tmp_path / "run") == 2
    assert "b.png" in capsys.readouterr().err
    assert start(tmp_path, tmp_path / "run", "--skip") == 0
    assert "b.png" in capsys.readouterr().err
    assert json.loads((tmp_path / "run/run.json").read_text())["training"] == ["a"]


def test_20x_images_are_learned_at_40x(folder, tmp_path):
    image, nuclei = image_files.image(folder / "a.png"), image_files.read(folder / "a_labels.png")
    files.write_png(tmp_path / "a.png", cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA))
    image_files.write(tmp_path / "a", nuclei[::2, ::2])
    (tmp_path / "images.csv").write_text("image,microns_per_pixel\na,0.5\n")
    (read,) = labelled_run.images(Named([tmp_path]))
    assert read.image.shape == (128, 128, 3) and read.labels.shape == (128, 128)


def tune(model, folder, out, *more):
    where = ["--out", str(out), "--models", str(out.parent / "models")]
    return finetune.main(["--model", str(model), "--data", str(folder), *where, *map(str, more)])


def test_finetuning_averages_the_weights_by_the_number_of_images(finished, folder, tmp_path, monkeypatch):
    seen = []
    original = epochs.averaged

    def averaged(start, trained, share):
        seen.append((share, trained))
        return original(start, trained, share)

    monkeypatch.setattr(epochs, "averaged", averaged)
    assert tune(finished, folder, tmp_path / "run", "--only", "a", "--updates", 5) == 0
    share, trained = seen[-1]
    assert share == 0.5
    before, after = weights(finished / "task.keras"), weights(tmp_path / "run/task.keras")
    for one, other, found in zip(before, trained, after, strict=True):
        np.testing.assert_allclose(found, (one + other) / 2, rtol=1e-5, atol=1e-6)
    assert not same(before, after)


def test_finetuning_starts_from_the_model(finished, folder, tmp_path):
    assert tune(finished, folder, tmp_path / "run", "--updates", 1, "--rate", 0, "--validation", 0.25) == 0
    before, after = (keras.saving.load_model(run / "task.keras") for run in (finished, tmp_path / "run"))
    for one, other in zip(before.trainable_variables, after.trainable_variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-6)


def test_finetuning_never_keeps_what_validates_worse_than_the_model(finished, folder, tmp_path, monkeypatch):
    falling = iter([0.9, 0.8, 0.7, 0.6])
    monkeypatch.setattr(epochs.Judged, "scores", lambda self: dict.fromkeys(shown.SHOWN, next(falling)))
    assert tune(finished, folder, tmp_path / "run", "--updates", 4, "--validation", 0.25) == 0
    assert same(weights(finished / "task.keras"), weights(tmp_path / "run/task.keras"))


def test_finetuning_goes_on_from_a_served_model_and_by_default_from_the_released_one(
    finished, folder, tmp_path, monkeypatch
):
    served = finished.parent / "models/run"
    for name in ("config.json", "task.keras"):
        assert (finetuning.beginning(served) / name).is_file() and (finetuning.beginning(served / "1") / name).is_file()
    assert same(weights(finetuning.beginning(served) / "task.keras"), weights(finished / "task.keras"))
    monkeypatch.setattr(released, "FOLDER", served / "1")
    where = ["--data", str(folder), "--models", str(tmp_path / "models"), "--out", str(tmp_path / "run")]
    assert finetune.main([*where, "--updates", "1", "--rate", "0"]) == 0
    before, after = (keras.saving.load_model(run / "task.keras") for run in (finished, tmp_path / "run"))
    for one, other in zip(before.trainable_variables, after.trainable_variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-6)
    assert json.loads((tmp_path / "run/run.json").read_text())["model"] == str(served / "1/assets.extra")


def test_finetuned_networks_may_be_less_sure(finished, folder, tmp_path):
    sure = tmp_path / "sure"
    shutil.copytree(finished, sure, ignore=shutil.ignore_patterns("checkpoints"))
    settings = config.load(sure / "config.json")
    instances = dataclasses.replace(settings.instances, mean_min=0.75, seed_height=0.5)
    config.save(dataclasses.replace(settings, instances=instances), sure / "config.json")
    assert tune(sure, folder, tmp_path / "run", "--updates", 1) == 0
    assert config.load(tmp_path / "run/config.json").instances == dataclasses.replace(instances, mean_min=0.65)


@pytest.mark.parametrize("name", ["config.json", "task.keras"])
def test_finetuning_wants_a_network_and_its_configuration(folder, tmp_path, finished, capsys, name):
    shutil.copytree(finished.parent / "models/run/1", tmp_path / "model/1")
    (tmp_path / "model/1/assets.extra" / name).unlink()
    for model in (tmp_path / "model", tmp_path):
        assert tune(model, folder, tmp_path / "run") == 2
        err = capsys.readouterr().err
        assert "run folder or a SavedModel" in err and str(model) in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()
