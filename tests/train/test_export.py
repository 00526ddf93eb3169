import csv
import fcntl
import json
import os
import resource
import shutil
import sys
import threading
import types

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from hou_synth import config, inference, metrics, model, normalise
from train import export
from train.runs import universal_run
from train.serving import assets, labels_json, run_export, saved_model, warmup


def start(run, out, *more):
    return export.main(["--model", str(run), "--out", str(out), *map(str, more)])


def error(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def run(exported):
    return exported.run


@pytest.fixture
def quick(monkeypatch):
    """Exports of a file instead of networks; a list, whose functions are called while each is being written."""
    during = []

    def save(self, folder):
        (folder / "saved_model.pb").write_bytes(b"model")
        for function in during:
            function(folder)

    monkeypatch.setattr(run_export, "networks", lambda run: (NoNetwork(), None))
    monkeypatch.setattr(saved_model, "folded", lambda network, networks: network)
    monkeypatch.setattr(saved_model.Served, "save", save)
    monkeypatch.setattr(saved_model.Served, "__init__", lambda *args: None)
    monkeypatch.setattr(warmup, "write", lambda path, *about: path.write_bytes(b"requests"))
    return during


class NoNetwork:
    name = "unet"

    def count_params(self):
        return 1234567

    def save(self, path):
        path.write_bytes(b"network")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_versions_go_up_and_are_complete(run, quick, tmp_path, capsys):
    out = tmp_path / "models/unet"
    assert start(run, out) == 0 and start(run, out) == 0
    assert str(out / "2") in capsys.readouterr().out
    assert start(run, out, "--version", 9) == 0 and start(run, out) == 0
    (out / "notes").mkdir()
    assert start(run, out, "--version", 4) == 0 and start(run, out) == 0
    assert names(out) == ["1", "10", "11", "2", "4", "9", "notes"]
    extra = ["config.json", "labels.json", "model_card.md", "run.json", "task.keras", "tf_serving_warmup_requests"]
    for version in out.glob("[0-9]*"):
        assert names(version) == ["assets.extra", "saved_model.pb"] and names(version / "assets.extra") == extra
        assert version.stat().st_mode & 0o777 == 0o755


def test_an_existing_version_is_never_replaced(run, quick, tmp_path, capsys):
    assert start(run, tmp_path / "unet", "--version", 3) == 0
    (tmp_path / "unet/3/saved_model.pb").write_bytes(b"precious")
    (tmp_path / "unet/5").mkdir()
    for version in (3, 5):
        assert start(run, tmp_path / "unet", "--version", version) == 2
        assert f"unet/{version}" in error(capsys)
    assert (tmp_path / "unet/3/saved_model.pb").read_bytes() == b"precious" and names(tmp_path / "unet") == ["3", "5"]


def test_a_version_that_appears_meanwhile_is_not_replaced(run, quick, tmp_path, capsys):
    out = tmp_path / "unet"

    def appear(folder):
        (out / "1").mkdir()
        (out / "1/precious").write_bytes(b"")

    quick.append(appear)
    assert start(run, out, "--version", 1) == 2
    assert "does not exist yet" in error(capsys) and names(out) == ["1"] and names(out / "1") == ["precious"]
    quick.clear()
    assert start(run, out) == 0 and names(out) == ["1", "2"]


def test_exports_at_once_get_a_version_each(run, quick, tmp_path, monkeypatch):
    together, count = threading.Barrier(6), saved_model.next_version
    monkeypatch.setattr(saved_model, "next_version", lambda folder: (count(folder), together_once())[0])
    waited = threading.local()

    def together_once():  # all have seen the same versions before the first is renamed
        if not getattr(waited, "done", False):
            waited.done = True
            together.wait(30)

    codes = []
    threads = [threading.Thread(target=lambda: codes.append(start(run, tmp_path / "unet"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 6 and names(tmp_path / "unet") == list("123456")
    assert all((tmp_path / "unet" / name / "assets.extra/run.json").exists() for name in "123456")


@pytest.mark.parametrize("raised,code", [(KeyboardInterrupt, 130), (OSError(28, "No space left on device"), 2)])
def test_an_export_that_stops_leaves_nothing(run, quick, tmp_path, capsys, raised, code):
    def stop(folder):
        raise raised

    quick.append(stop)
    assert start(run, tmp_path / "unet") == code
    assert names(tmp_path / "unet") == []
    if code == 2:
        assert "No space left on device" in error(capsys)


def test_what_a_killed_export_left_is_removed_but_nothing_of_one_at_work(run, quick, tmp_path):
    out = tmp_path / "unet"
    (out / ".part-killed/variables").mkdir(parents=True)
    seen = []

    def meanwhile(folder):
        quick.clear()
        (out / ".part-other").mkdir()
        assert start(run, out) == 0
        seen.append(names(out))
        assert (folder / "saved_model.pb").exists()

    quick.append(meanwhile)
    assert start(run, out) == 0
    assert [name for name in seen[0] if not name.startswith(".part-")] == ["1"] and ".part-killed" not in seen[0]
    assert len(seen[0]) == 3  # and what the other left, which might still be at work
    assert names(out) == [".part-other", "1", "2"]
    assert start(run, out) == 0 and names(out) == ["1", "2", "3"]


def test_without_locks_exports_go_on(run, quick, tmp_path, monkeypatch):
    def flock(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert start(run, tmp_path / "unet") == 0 and names(tmp_path / "unet") == ["1"]


@pytest.fixture
def room():
    """Function that bounds the size of a file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_without_room_for_the_network(exported, tmp_path, capsys, monkeypatch, room):
    monkeypatch.setattr(run_export, "networks", lambda run: (exported.trainer.task, None))
    room(100_000)
    assert start(exported.run, tmp_path / "unet") == 2
    assert "Expected room for a SavedModel in" in error(capsys) and names(tmp_path / "unet") == []


def test_a_disk_without_room_for_the_requests(run, tmp_path, capsys, monkeypatch, room):
    monkeypatch.setattr(run_export, "networks", lambda run: (NoNetwork(), None))
    monkeypatch.setattr(saved_model, "folded", lambda network, networks: network)
    monkeypatch.setattr(saved_model.Served, "save", lambda self, folder: None)
    monkeypatch.setattr(saved_model.Served, "__init__", lambda *args: None)
    room(100_000)
    assert start(run, tmp_path / "unet") == 2
    assert "Expected room for a SavedModel in" in error(capsys) and names(tmp_path / "unet") == []


@pytest.mark.parametrize(
    "more,word",
    [
        (["--version", 0], "at least 1"),
        (["--scores", "nowhere.csv"], "nowhere.csv"),
        (["--scores", __file__], "test_export.py"),
        (["--format", "onnx", "--version", 2], "onnx"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, capsys, more, word):
    assert start(run, tmp_path / "unet", *more) == 2
    assert word in error(capsys) and not (tmp_path / "unet").exists()


def test_places_that_are_none_are_refused(run, exported, tmp_path, capsys):
    assert start(tmp_path, tmp_path / "unet") == 2 and "config.json" in error(capsys)
    assert start(run, tmp_path / "unet/3") == 2 and "unet/3" in error(capsys)
    (exported.version / "version").mkdir()
    renamed = tmp_path / "model"
    renamed.mkdir()
    (renamed / "saved_model.pb").write_bytes(b"")
    assert start(run, renamed) == 2 and "which is one" in error(capsys)
    (exported.version / "version").rmdir()


def test_onnx_goes_beside_the_versions_and_never_over_a_file(run, quick, tmp_path, monkeypatch, capsys):
    written = types.SimpleNamespace(write=lambda task, path: path.write_text(task.name))
    monkeypatch.setitem(sys.modules, "train.serving.onnx", written)
    monkeypatch.setattr("train.serving.onnx", written, raising=False)
    assert start(run, tmp_path / "models/unet", "--format", "onnx") == 0
    assert (tmp_path / "models/unet.onnx").read_text() == "unet" and names(tmp_path / "models") == ["unet.onnx"]
    capsys.readouterr()
    (tmp_path / "models/unet.onnx").write_text("precious")
    assert start(run, tmp_path / "models/unet", "--format", "onnx") == 2
    assert "unet.onnx" in error(capsys) and (tmp_path / "models/unet.onnx").read_text() == "precious"


def test_a_run_without_checkpoints_keeps_its_weights_unless_it_is_an_old_one(exported, tmp_path, capsys):
    old, trainer = shutil.copytree(exported.run, tmp_path / "run"), exported.trainer
    (old / "weighting.json").unlink()
    loaded = universal_run.trainer(old)
    assert "weighting.json: its importance weights are not known" in capsys.readouterr().err
    assert universal_run.refinement(loaded, loaded.plain()) is None
    universal_run.recall(loaded, exported.run)
    np.testing.assert_array_equal(loaded.weighting.line, trainer.weighting.line)
    np.testing.assert_array_equal(loaded.seen, trainer.seen)
    patches = tf.random.stateless_uniform((2, 64, 64, 3), (0, 0), -1, 1)
    np.testing.assert_allclose(loaded.weight(patches, patches), trainer.weight(patches, patches), rtol=1e-5)
    assert universal_run.refinement(loaded, loaded.plain()).ratio == 1.5
    loaded.weighed = False
    assert universal_run.refinement(loaded, loaded.plain()) is None


def test_a_supervised_run_is_its_task_network(run, tmp_path, capsys):
    about = json.loads((run / "run.json").read_text())
    about = {"command": about["command"], "updates": 70, "training": ["a", "b"], "validation": ["c"], "versions": {}}
    (tmp_path / "run.json").write_text(json.dumps(about))
    (tmp_path / "config.json").write_bytes((run / "config.json").read_bytes())
    assert start(tmp_path, tmp_path / "models") == 2 and "task.keras" in error(capsys)
    (tmp_path / "task.keras").write_bytes((run / "task.keras").read_bytes())
    assert start(tmp_path, tmp_path / "models") == 0
    model = tf.saved_model.load(str(tmp_path / "models/1"))
    assert set(model.signatures) == {"serving_default", "encoded", "document"}
    extra = tmp_path / "models/1/assets.extra"
    assert {name for name, _ in requested(extra / warmup.NAME)} == set(model.signatures)
    assert set(json.loads((extra / "labels.json").read_text())["signatures"]) == set(model.signatures)
    card = (extra / "model_card.md").read_text()
    assert (
        "| kind | supervised |" in card and "| labelled images | 2 |" in card and "refine" not in card.split("## H")[2]
    )
    assert "| updates of the task network | 70, 8 patches" in card and "the run was not finished" in card
    assert "2 labelled images" in card and "not measured" in card


def requested(path):
    """Signatures and inputs of a file of requests."""
    found = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == path.parents[2].name and not request.model_spec.HasField("version")
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        found.append((request.model_spec.signature_name, inputs))
    return found


def test_warm_up_asks_every_signature_in_every_batch_size_and_is_answered(exported):
    path = exported.version / "assets.extra" / warmup.NAME
    found, served = requested(path), tf.saved_model.load(str(exported.version)).signatures
    asked = {(name, len(next(iter(inputs.values())))) for name, inputs in found}
    assert asked == {(name, count) for name in served for count in warmup.BATCHES} and len(found) == len(asked)
    assert path.stat().st_size < 10e6 and warmup.BATCHES == (1, 2, 4, 8)
    assert 0.8 * model.SENT < warmup.WINDOW <= model.SENT
    for name, inputs in found:
        answer = served[name](**{key: tf.constant(value) for key, value in inputs.items()})
        if name in ("serving_default", "encoded"):
            count = len(next(iter(inputs.values())))
            assert answer["segmentation"].shape == (count, warmup.WINDOW, warmup.WINDOW, 1)
        if name == "refine":
            assert inputs["synthetic"].shape[1:] == (64, 64, 3) and np.isfinite(answer["weight"]).all()
        if name == "document":
            assert answer["texts"].numpy()[0].startswith(b"{")


def test_warm_up_shows_tissue_and_glass():
    images = tf.make_ndarray(next(warmup.requests("config.json"))[1]["images"])
    assert images.dtype == np.uint8 and images[0].std() > 20
    several = [inputs["images"] for name, inputs in warmup.requests("config.json") if name == "serving_default"][1]
    several = tf.make_ndarray(several)
    np.testing.assert_array_equal(several[0], images[0])
    assert (several[1] == 255).all()


def test_nothing_of_keras_is_in_the_object_graph(exported):
    model = saved_model_pb2.SavedModel.FromString((exported.version / "saved_model.pb").read_bytes())
    nodes = model.meta_graphs[0].object_graph_def.nodes
    kinds = {node.user_object.identifier for node in nodes if node.HasField("user_object")}
    assert kinds == {"_generic_user_object", "trackable_list_wrapper", "signature_map"}


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Tables as `train.evaluate` writes them: two images of one set, one of another."""
    paths = []
    for name, values in {"kumar": [0.5, 0.7], "a|b": [0.25]}.items():
        paths.append(tmp_path_factory.mktemp("scores") / "s.csv")
        with open(paths[-1], "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["set", "type", "image", *metrics.MEASURES])
            writer.writerows([name, "lung", str(value), *[value] * len(metrics.MEASURES)] for value in values)
    return paths


def test_the_card_says_what_is_true_of_the_run(exported, scores):
    task = exported.trainer.task
    rows = assets.read(scores)
    texts = assets.written(
        exported.run, "tiny", task, universal_run.refinement(exported.trainer, exported.trainer.plain()), rows
    )
    card, trainer = texts["model_card.md"], exported.trainer
    assert card.startswith("# tiny\n") and f"U-Net of {task.count_params():,} parameters" in card
    assert "| unlabelled tiles | 3 (lung 2, skin 1) |" in card and "| labelled images | none |" in card
    assert "| seed | 3 |" in card and "| minutes | 12.3 |" in card and "seed 3 (" not in card
    assert f"| refiner | {trainer.refiner.count_params():,} parameters |" in card
    assert f"| discriminator | {trainer.discriminator.count_params():,} parameters |" in card
    assert "| preset | quick; otherwise: " in card and "unet_widths (4, 8) (preset: (8, 16, 32, 64, 128))" in card
    assert f"tensorflow {tf.__version__}" in card and f"| machine | {os.cpu_count()} CPU cores; GPUs:" in card
    assert "| kumar | 2 | 0.600 | 0.600 | 0.600 | 0.600 |" in card and r"| a\|b | 1 | 0.250" in card
    assert "not measured" not in card and "ratio 1.125" in card and "9.000" not in card
    assert "DICE 1 0.812, DICE average 0.713, AJI 0.613, PQ 0.512" in card and "nothing about real tissue" in card
    for name, value in vars(trainer.config.instances).items():
        assert f"| {name} | {value} |" in card
    for name in ("serving_default", "encoded", "document", "refine"):
        assert f"| `{name}` |" in card


def test_a_published_model_names_no_tiles_and_no_paths(exported):
    extra = exported.version / "assets.extra"
    for path in extra.iterdir():
        content = path.read_bytes()
        assert b"secret" not in content and b"somebody" not in content and b"/home" not in content, path
    assert b"somebody" not in (exported.version / "saved_model.pb").read_bytes()
    about = json.loads((extra / "run.json").read_text())
    assert (
        about["tile_count"] == 3 and about["tissue_types"] == {"lung": 2, "skin": 1} and about["kind"] == "label-free"
    )
    assert about["trained"]["minutes"] == 12.34 and not about["embedded"]
    assert (extra / "config.json").read_bytes() == (exported.run / "config.json").read_bytes()


@pytest.mark.parametrize(
    "record,kind",
    [
        ({"tile_names": ["a"], "labelled": []}, "label-free"),
        ({"tile_names": ["a"], "labelled": ["b"]}, "universal + real"),
        ({"tile_names": ["a"], "labelled": [], "adapted_from": "b/1"}, "adapted"),
        ({"training": ["a"]}, "supervised"),
        ({"training": ["a"], "model": "runs/cpu"}, "finetuned"),
    ],
)
def test_kinds_of_runs(record, kind):
    assert assets.kind(record) == kind


def test_labels_json_is_what_the_package_does(exported):
    about = json.loads((exported.version / "assets.extra/labels.json").read_text())
    assert about["format"] == labels_json.FORMAT == 1 and about["microns_per_pixel"] == inference.MICRONS_PER_PIXEL
    reinhard = about["colours"]["normalisation"]
    np.testing.assert_allclose(reinhard["target_mean"], normalise.TARGET_MEAN, atol=1e-5)
    np.testing.assert_allclose(reinhard["target_std"], normalise.TARGET_STD, atol=1e-5)
    assert reinhard["white_above"] == 220 and reinhard["left_alone_if_more_white_than"] == 0.25
    assert about["thresholds"] == vars(exported.trainer.config.instances)
    assert set(about["maps"]) == set(inference.OUTPUTS) and set(about["label_map"]) == {"0", "1..n"}
    assert "inner part" in about["maps"]["detection"]["meaning"]
    centre = labels_json.labels(config.preset("paper"), False)
    assert "centre" in centre["maps"]["detection"]["meaning"] and "refine" not in centre["signatures"]
    assert model.thresholds(exported.version) == exported.trainer.config.instances
