"""The whole job through its own command, on tiny networks."""

import contextlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from data import synthesize
from hou_synth import config
from hou_synth.io import image_files, locks
from tests.paths import ROOT
from train import universal
from train.pictures import contact_sheet
from train.runs import callbacks, history, universal_training

TINY = (
    "--preset cpu --refiner-blocks 1 --unet-widths 4,8 --unet-down 1,1 --unet-up 1 --patch 64 --batch 2 --pool 8 "
    "--refiner-steps 2 --discriminator-steps 1 --adversarial-rounds 1 --task-steps 2 --joint-rounds 2 "
    "--final-steps 1 --task-updates 2 --self-rounds 1 --self-steps 2 --labelled-batch 2"
).split()


@pytest.fixture(scope="module", autouse=True)
def few_patches_are_scored():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(universal_training, "SCORED", 4)
        yield


@pytest.fixture
def tiles(tmp_path, tissue_image):
    folder = tmp_path / "tiles" / "lung"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), tissue_image[0][..., ::-1])
    return tmp_path / "tiles"


def start(tmp_path, tiles, *more, out="run"):
    argv = [
        "--tiles",
        str(tiles),
        "--out",
        str(tmp_path / out),
        "--models",
        str(tmp_path / "models"),
        *TINY,
        *more,
    ]
    return universal.main(argv)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tissue_image):
    """Folder with a finished run `run` of the tiles `tiles`, and what the command printed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiles/lung").mkdir(parents=True)
    cv2.imwrite(str(folder / "tiles/lung/a.png"), tissue_image[0][..., ::-1])
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        assert start(folder, folder / "tiles") == 0
    return folder, told.getvalue()


def weights(path):
    return {name: keras.saving.load_model(path / f"{name}.keras").get_weights() for name in ("refiner", "task")}


def same(one, other):
    return all(np.array_equal(a, b) for name in one for a, b in zip(one[name], other[name], strict=True))


def test_one_command_makes_a_served_model_and_says_what_is_next(finished):
    folder, told = finished
    run, served = folder / "run", folder / "models" / "run" / "1"
    assert str(served) in told and "python -m hou_synth.segment" in told and "unseen synthetic" in told
    assert config.load(run / "config.json").schedule.patch == 64
    about = json.loads((run / "run.json").read_text())
    assert about["tile_names"] == ["lung/a.png"] and about["versions"]["tensorflow"] == tf.__version__
    sheets = sorted(p.name for p in run.glob("*.png"))
    assert sheets[0].startswith("1_") and len(sheets) == 8
    assert cv2.imread(str(run / sheets[0])).shape[1] == 5 * 128
    assert set(json.loads((run / "scores.json").read_text())) >= {"dice1", "aji", "pq", "minutes"}
    assert list((run / "logs").rglob("events*"))
    names = ["refiner", "history", "discriminator", "adversarial", "task", "joint", "final", "self1"]
    assert list(json.loads((run / "contrast.json").read_text())) == names
    assert sorted(path.name for path in (run / "history").iterdir()) == [f"{i}_{n}.csv" for i, n in enumerate(names, 1)]
    assert len(history.read(run / "history/6_joint.csv")["accuracy"]) == 2
    assert list(json.loads((run / "criterion.json").read_text())) == ["task", "joint", "final", "self1"]
    assert "kept: the task network after phase" in told and len(list((run / "self1").iterdir())) == 1
    assert not list(run.rglob("*.part*")) and not list((folder / "models").rglob(".part*"))
    serve = tf.saved_model.load(str(served)).signatures["serving_default"]
    image = np.random.default_rng(0).integers(0, 256, (1, 70, 45, 3)).astype(np.uint8)
    maps = serve(images=tf.constant(image))
    task = keras.saving.load_model(run / "task.keras")
    padded = np.pad(image, ((0, 0), (0, 0), (0, 1), (0, 0)), mode="edge").astype(np.float32) / 127.5 - 1
    for name, logits in task(padded, training=False).items():
        expected = 1 / (1 + np.exp(-logits.numpy()[:, :70, :45]))
        assert maps[name].shape == (1, 70, 45, 1) and np.allclose(maps[name], expected, atol=1e-5)


def test_what_goes_into_a_file_has_no_control_codes(finished):
    assert "phase 1 of " in finished[1] and "step" in finished[1]  # Keras's line of a phase
    assert all(line.isprintable() for line in finished[1].split("\n"))


def test_a_finished_run_is_told_and_not_repeated(finished, capsys):
    folder, _ = finished
    assert start(folder, folder / "tiles", "--resume") == 0
    assert "finished" in capsys.readouterr().out
    assert [p.name for p in (folder / "models/run").iterdir()] == ["1"]


def test_an_interrupted_run_resumes_to_the_same_weights(finished, tmp_path, tiles, monkeypatch):
    monkeypatch.setattr(universal_training, "CHECKPOINT_MINUTES", 0.0)
    counted, original = [], callbacks.Checkpoint.on_train_batch_end

    def interrupted(self, batch, logs=None):
        original(self, batch, logs)
        counted.append(batch)
        if len(counted) in (5, 8):  # in the middle of phase task and at the end of phase joint
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.Checkpoint, "on_train_batch_end", interrupted)
    codes = [start(tmp_path, tiles, "--resume", out="broken") for _ in range(3)]
    assert codes == [130, 130, 0]
    assert same(weights(finished[0] / "run"), weights(tmp_path / "broken"))


def test_without_a_refiner_initial_patches_train_the_task_network(tmp_path, tiles):
    off = "--refiner-steps 0 --discriminator-steps 0 --adversarial-rounds 0 --joint-rounds 0".split()
    assert start(tmp_path, tiles, *off) == 0
    assert sorted(p.name for p in (tmp_path / "run").glob("*.png")) == ["1_task.png", "2_final.png", "3_self1.png"]


def test_labelled_images_join_the_task_batches(finished, tmp_path, tissue_image, capsys):
    image_files.write(tmp_path / "a", tissue_image[1])
    cv2.imwrite(str(tmp_path / "a.png"), tissue_image[0][..., ::-1])
    tiles = finished[0] / "tiles"
    off = "--refiner-steps 0 --discriminator-steps 0 --adversarial-rounds 0 --joint-rounds 0".split()
    real = ["--labelled", str(tmp_path), *off]
    assert start(tmp_path, tiles, *real) == 0 and start(tmp_path, tiles, *off, out="free") == 0
    assert json.loads((tmp_path / "run/run.json").read_text())["labelled"] == ["a"]
    assert json.loads((tmp_path / "free/run.json").read_text())["labelled"] == []
    assert not same({"task": weights(tmp_path / "run")["task"]}, {"task": weights(tmp_path / "free")["task"]})
    (tmp_path / "free/scores.json").unlink()
    capsys.readouterr()
    assert start(tmp_path, tiles, *real, "--resume", out="free") == 2
    assert "labelled" in error(capsys)


def error(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    "options,word",
    [
        (["--preset", "papr"], "papr"),
        (["--patch", "40"], "patch"),
        (["--patch", "513"], "patch"),
        (["--patch", "300"], "300x300"),
        (["--realism", "hinge"], "realism"),
        (["--batch", "1"], "batch"),
        (["--unet-down", "1,1,1"], "unet_down"),
        (["--microns-per-pixel", "0.5"], "--tiles-microns-per-pixel"),
        (["--images", "images.csv"], "--tiles-images"),
    ],
)
def test_impossible_options_are_one_line_and_exit_code_two(tmp_path, tiles, capsys, options, word):
    assert start(tmp_path, tiles, *options) == 2
    assert word in error(capsys)
    assert not (tmp_path / "run" / "config.json").exists()


def test_missing_and_unusable_folders(tmp_path, tiles, capsys):
    assert universal.main(["--tiles", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run")]) == 2
    assert "nowhere" in error(capsys)
    (tiles / "lung/a.png").write_bytes(b"no image")
    assert start(tmp_path, tiles) == 2
    assert "usable tile" in error(capsys)


def test_an_existing_run_is_never_overwritten(finished, capsys):
    folder, _ = finished
    before = (folder / "run/task.keras").read_bytes()
    assert start(folder, folder / "tiles") == 2
    assert "--resume" in error(capsys)
    assert (folder / "run/task.keras").read_bytes() == before


def test_resuming_with_another_configuration_names_the_field(finished, capsys):
    folder, _ = finished
    assert start(folder, folder / "tiles", "--resume", "--gamma", "0.5") == 2
    assert "gamma: " in error(capsys)


def test_resuming_with_other_tiles_is_refused_and_changes_nothing(finished, tmp_path, capsys):
    shutil.copytree(finished[0] / "run", tmp_path / "run")
    (tmp_path / "run/scores.json").unlink()
    (tmp_path / "tiles/lung").mkdir(parents=True)
    image = cv2.imread(str(finished[0] / "tiles/lung/a.png"))
    cv2.imwrite(str(tmp_path / "tiles/lung/a.png"), image[::-1])
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert start(tmp_path, tmp_path / "tiles", "--resume") == 2
    assert "tiles of other pixels" in error(capsys)
    (tmp_path / "tiles/lung/a.png").rename(tmp_path / "tiles/lung/b.png")
    assert start(tmp_path, tmp_path / "tiles", "--resume") == 2
    assert "with lung/b.png, without lung/a.png" in error(capsys)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_finished_run_of_other_tiles_is_not_taken_for_theirs(finished, tmp_path, capsys):
    (tmp_path / "lung").mkdir()
    image = cv2.imread(str(finished[0] / "tiles/lung/a.png"))
    cv2.imwrite(str(tmp_path / "lung/a.png"), image[::-1])
    before = {path: path.read_bytes() for path in (finished[0] / "run").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert start(finished[0], tmp_path, "--resume") == 2
    assert "tiles of other pixels" in error(capsys)
    assert {path: path.read_bytes() for path in (finished[0] / "run").rglob("*") if path.is_file()} == before


def test_one_training_at_a_time_in_a_folder(tmp_path, tiles, capsys):
    with locks.exclusive(tmp_path / "run"):
        assert start(tmp_path, tiles) == 2
    assert str(tmp_path / "run") in error(capsys) and not (tmp_path / "run/config.json").exists()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path, tiles, capsys, monkeypatch):
    monkeypatch.setattr(universal_training, "CHECKPOINT_MINUTES", 0.0)
    assert start(tmp_path, tiles, "--task-rate", "1e30", "--optimizer", "momentum", "--clip", "1e30") == 2
    told = error(capsys)
    assert "round" in told and "_loss" in told and "phase task" in told
    values = state(tmp_path / "run")
    assert any("task" in name for name in values)
    assert all(np.isfinite(value).all() for value in values.values() if value.dtype.kind == "f")


def test_weights_that_are_not_finite_are_not_kept_though_the_losses_are(tmp_path, tiles, capsys, monkeypatch):
    monkeypatch.setattr(universal_training, "CHECKPOINT_MINUTES", 0.0)
    original, rounds = callbacks.Checkpoint.on_train_batch_end, []

    def spoiled(self, batch, logs=None):
        rounds.append(batch)
        if len(rounds) == 2:
            self.model.task.trainable_weights[-1].assign([np.nan, 0.0])
        original(self, batch, logs)

    monkeypatch.setattr(callbacks.Checkpoint, "on_train_batch_end", spoiled)
    assert start(tmp_path, tiles) == 2
    assert "finite weights" in error(capsys) and len(rounds) == 2
    assert int(state(tmp_path / "run")["done"]) == 1


def state(run):
    """Arrays of the latest checkpoint of a run, by name."""
    latest = max((run / "checkpoints").glob("ckpt-*"), key=lambda path: int(path.name[5:])) / "state"
    names = [name for name, _ in tf.train.list_variables(str(latest)) if name.endswith("VARIABLE_VALUE")]
    return {name.split("/.ATTR")[0]: np.asarray(tf.train.load_variable(str(latest), name)) for name in names}


def test_a_full_disk_does_not_end_the_training_but_the_run(tmp_path, tiles, capsys, monkeypatch):
    """There is no room for checkpoints 2 to 5, the sheet meanwhile, and the last checkpoint."""
    monkeypatch.setattr(universal_training, "CHECKPOINT_MINUTES", 0.0)
    few = "--refiner-steps 0 --discriminator-steps 0 --adversarial-rounds 0 --joint-rounds 0 --task-steps 4".split()
    few += ["--self-rounds", "0"]
    assert start(tmp_path, tiles, *few) == 0
    original, tried = tf.train.Checkpoint.write, []

    def write(self, path, *args, **kwargs):
        tried.append(path)
        if len(tried) not in (1, 6):
            pathlib.Path(path).with_name("torn").write_bytes(b"torn")
            raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")
        return original(self, path, *args, **kwargs)

    def sheet(*args):
        raise OSError(28, "No space left on device", str(args[-1]))

    monkeypatch.setattr(tf.train.Checkpoint, "write", write)
    monkeypatch.setattr(contact_sheet, "contact_sheet", sheet)
    capsys.readouterr()
    assert start(tmp_path, tiles, *few, out="full") == 2
    told = [line for line in capsys.readouterr().err.splitlines() if "No space left" in line]
    assert [line.split(":")[0] for line in told] == ["warning"] * 5 + ["error"]
    assert len(tried) == 7 and "1_task.png" in told[4] and "--resume" in told[5]
    assert sorted(path.name for path in (tmp_path / "full/checkpoints").iterdir()) == ["ckpt-1", "ckpt-2"]
    monkeypatch.undo()
    assert start(tmp_path, tiles, *few, "--resume", out="full") == 0
    assert same(weights(tmp_path / "run"), weights(tmp_path / "full"))


def test_mistakes_leave_no_traceback_in_a_real_process(tmp_path):
    command = [
        sys.executable,
        "-m",
        "train.universal",
        "--tiles",
        str(tmp_path / "nowhere"),
        "--out",
        str(tmp_path / "r"),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    (line,) = done.stderr.splitlines()  # and so no log of TensorFlow
    assert done.returncode == 2 and line.startswith("error: Expected a folder of tiles")


def test_patches_of_a_file_are_learned_from_and_no_others(tmp_path, tiles, capsys):
    short = "--adversarial-rounds 0 --joint-rounds 0 --final-steps 0 --self-rounds 0 --refiner-steps 0".split()
    for seed in ("1", "2"):
        wanted = ["--tiles", str(tiles), "--count", "3", "--size", "64", "--seed", seed, "--workers", "0"]
        assert synthesize.main([*wanted, "--out", str(tmp_path / f"{seed}.h5")]) == 0
    assert start(tmp_path, tiles, *short, "--patches", str(tmp_path / "1.h5")) == 0
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert about["patches"].startswith("3 of 64x64, ")
    capsys.readouterr()
    for more in (["--patches", str(tmp_path / "2.h5")], []):
        assert start(tmp_path, tiles, *short, "--resume", *more) == 2
        told = capsys.readouterr().err
        assert told.startswith("error: Expected the data of the run in") and "patches: " in told
        assert told.count(about["patches"]) == 1
    assert start(tmp_path, tiles, *short, "--resume", "--patches", str(tmp_path / "1.h5")) == 0
    assert "This run is finished" in capsys.readouterr().out
