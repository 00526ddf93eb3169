"""Adapting a trained network to tiles through the command, on tiny networks."""

import contextlib
import io
import json
import re
import shutil

import cv2
import keras
import numpy as np
import pytest

import hou_synth
from data.tile_options import TileFolder
from hou_synth import config, segment
from hou_synth.io import image_files
from train import adapt, universal
from train.runs import adaptation, callbacks, kept_state, universal_training

FEW = "--patch 64 --batch 2 --labelled-batch 2 --self-rounds 2 --self-steps 2".split()
RISING, FALLING = (0.5, 0.6, 0.7), (0.5, 0.4)  # agreement before any update, and after each round


@contextlib.contextmanager
def judged(values):
    """Context in which the criterion takes these values, one state after the other."""
    rest = iter(values)

    def criterion(network, images, settings):
        return {"criterion": 0.5, "agreement": next(rest), "amount": 1.0, "separation": 1.0}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(universal_training, "SCORED", 2)
        patch.setattr(kept_state, "criterion", criterion)
        yield


@pytest.fixture(scope="module")
def tiles(tmp_path_factory, tissue_image):
    """Folder with a tile of the same name in each of two folders."""
    folder = tmp_path_factory.mktemp("adapt") / "tiles"
    for name, image in {"lung": tissue_image[0], "skin": tissue_image[0][::-1]}.items():
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / "a.png"), image[..., ::-1])
    return folder


def start(folder, tiles, model, *more):
    where = ["--out", str(folder / "run"), "--models", str(folder / "models"), "--bank", str(tiles.parent / "bank.h5")]
    return adapt.main(["--tiles", str(tiles), "--model", str(model), *where, *FEW, *more])


@pytest.fixture(scope="module")
def adapted(tmp_path_factory, tiles, exported):
    """Folder with a finished run `run`, its model in `models/run/1`, its tiles in `segmented`; what was told."""
    folder, told = tmp_path_factory.mktemp("adapted"), io.StringIO()
    with judged(RISING), contextlib.redirect_stdout(told):
        assert start(folder, tiles, exported.version, "--segment", str(folder / "segmented")) == 0
    return folder, told.getvalue()


def weights(path):
    return keras.saving.load_model(path, compile=False).get_weights()


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_a_network_learns_on_and_becomes_a_model_like_any_other(adapted, exported):
    folder, told = adapted
    run, extra = folder / "run", folder / "models/run/1/assets.extra"
    assert list(json.loads((run / "criterion.json").read_text())) == ["start", "self1", "self2"]
    assert "kept: the task network after phase self2" in told and "before any update: on 2 crops" in told
    assert same(extra / "task.keras", run / "best.keras") and not same(
        extra / "task.keras", exported.run / "task.keras"
    )
    own, before = config.load(extra / "config.json"), exported.trainer.config
    assert (own.networks, own.losses, own.instances) == (before.networks, before.losses, before.instances)
    assert own.preset == "adapt" and own.schedule.self_rounds == 2


def test_a_model_says_what_it_was_adapted_from_and_to_which_tiles(adapted, exported):
    extra = adapted[0] / "models/run/1/assets.extra"
    about, card = json.loads((extra / "run.json").read_text()), (extra / "model_card.md").read_text()
    origin = f"{hou_synth.load(exported.version).identity} (label-free)"
    assert about["kind"] == "adapted" and about["adapted_from"] == origin and origin in card
    assert about["tissue_types"] == {"lung": 1, "skin": 1} and len(about["tile_digest"]) == 64
    assert "| agreement x separation on its tiles, without labels | 0.500 before, 0.700 after |" in card
    assert "| updates of the task network | 4, " in card and "labelled 2 times" in card


def test_the_tiles_are_segmented_with_what_came_out(adapted, tiles, tissue_image):
    folder, _ = adapted
    model = hou_synth.load(folder / "models/run/1")
    for name, image in {"lung": tissue_image[0], "skin": tissue_image[0][::-1]}.items():
        written = folder / "segmented" / name / "a"
        assert np.array_equal(image_files.read(f"{written}_labels.png"), model.segment(image))
        assert json.loads(written.with_suffix(".geojson").read_text())["hou_synth"]["model"] == model.identity


def test_each_tile_is_segmented_at_its_own_resolution(adapted, tiles, tmp_path, monkeypatch):
    (tmp_path / "skin.csv").write_text("image,microns_per_pixel\nskin,0.5\n")
    jobs = {}
    monkeypatch.setattr(segment, "every", lambda paths, slides, job: jobs.update(dict.fromkeys(paths, job)) or (0, 0))
    tissue = TileFolder(str(tiles), str(tmp_path / "skin.csv"))
    assert adaptation.segmented(adapted[0] / "run", tissue, tmp_path / "out") == 0
    resolutions = {path.parent.name: (job.microns_per_pixel, job.out.name) for path, job in jobs.items()}
    assert resolutions == {"lung": (None, "lung"), "skin": (0.5, "skin")}


def test_a_finished_run_is_told_and_its_model_segments_what_is_left(adapted, tiles, exported, capsys):
    folder, _ = adapted
    label_map = folder / "segmented/skin/a_labels.png"
    before = label_map.read_bytes()
    label_map.unlink()
    assert start(folder, tiles, exported.version, "--resume", "--segment", str(folder / "segmented")) == 0
    assert "This run is finished" in capsys.readouterr().out
    assert label_map.read_bytes() == before and len(list((folder / "models/run").iterdir())) == 1


def test_the_old_weights_are_kept_when_the_criterion_falls(tmp_path, tiles, exported, capsys):
    with judged(FALLING):
        assert start(tmp_path, tiles, exported.version) == 0
    told, extra = capsys.readouterr().out, tmp_path / "models/run/1/assets.extra"
    assert same(extra / "task.keras", exported.run / "task.keras")
    assert "kept: the task network before any update" in told and "phase 2 of 2" not in told
    assert not (tmp_path / "run/self2").exists()
    card = (extra / "model_card.md").read_text()
    assert "| rounds of self-training kept | none: none was better |" in card
    assert "| updates of the task network | 0, " in card and "| self-training |" not in card


def test_an_interrupted_run_ends_with_the_weights_of_one_that_was_not(adapted, tmp_path, tiles, exported, monkeypatch):
    monkeypatch.setattr(universal_training, "CHECKPOINT_MINUTES", 0.0)
    counted, original = [], callbacks.Checkpoint.on_train_batch_end

    def interrupted(self, batch, logs=None):
        original(self, batch, logs)
        counted.append(batch)
        if len(counted) in (1, 2):  # in the middle of the first round, and at its end
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.Checkpoint, "on_train_batch_end", interrupted)
    with judged(RISING):
        assert [start(tmp_path, tiles, exported.version, "--resume") for _ in range(3)] == [130, 130, 0]
    assert same(tmp_path / "run/task.keras", adapted[0] / "run/task.keras")


def test_a_run_is_adapted_further_and_gone_on_with_from_the_same_network_alone(adapted, tmp_path, tiles, capsys):
    folder, _ = adapted
    with judged(FALLING):
        assert start(tmp_path, tiles, folder / "run") == 0
    earlier, origin = (json.loads((of / "run/run.json").read_text())["adapted_from"] for of in (folder, tmp_path))
    assert re.fullmatch(rf"run run sha256:[0-9a-f]{{16}} \(adapted from {re.escape(earlier)}\)", origin)
    assert start(tmp_path, tiles, folder / "models/run", "--resume") == 2
    assert "adapted_from" in error(capsys)


def error(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("kind,word", [("nowhere", "nowhere"), ("empty", "none"), ("small", "128x128")])
def test_tiles_that_cannot_be_learned_from(tmp_path, exported, tissue_image, capsys, kind, word):
    tiles = tmp_path / kind
    if kind != "nowhere":
        tiles.mkdir()
    if kind == "small":
        cv2.imwrite(str(tiles / "a.png"), tissue_image[0][:100, :200, ::-1])
    assert start(tmp_path, tiles, exported.version) == 2
    assert word in error(capsys) and not (tmp_path / "run/config.json").exists()


@pytest.mark.parametrize("kind,word", [("none", "nothing"), ("bare", "task.keras"), ("damaged", "task.keras")])
def test_models_that_cannot_be_adapted(tmp_path, tiles, exported, capsys, kind, word):
    model = tmp_path / ("nothing" if kind == "none" else "copy")
    if kind != "none":
        shutil.copytree(exported.version, model)
        (model / "assets.extra/task.keras").unlink()
    if kind == "damaged":
        (model / "assets.extra/task.keras").write_bytes(b"no network")
    assert start(tmp_path, tiles, model) == 2
    assert word in error(capsys) and not (tmp_path / "run/config.json").exists()


@pytest.mark.parametrize(
    "options,word", [(["--preset", "cpu"], "task"), (["--self-rounds", "0"], "none"), (["--patch", "40"], "patch")]
)
def test_schedules_that_do_not_adapt(tmp_path, tiles, exported, capsys, options, word):
    assert start(tmp_path, tiles, exported.version, *options) == 2
    assert word in error(capsys) and not (tmp_path / "run").exists()


def test_a_new_network_does_not_teach_itself(tmp_path, tiles, capsys):
    assert universal.main(["--tiles", str(tiles), "--out", str(tmp_path / "run"), "--preset", "adapt"]) == 2
    assert "train.adapt" in error(capsys) and not (tmp_path / "run").exists()


def test_a_folder_that_holds_something_is_refused_before_anything_is_trained(tmp_path, tiles, exported, capsys):
    (tmp_path / "segmented").mkdir()
    (tmp_path / "segmented/a_labels.png").touch()
    assert start(tmp_path, tiles, exported.version, "--segment", str(tmp_path / "segmented")) == 2
    assert "segmented" in error(capsys) and not (tmp_path / "run/config.json").exists()
