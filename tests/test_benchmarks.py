import dataclasses
import os
import pickle
import re
from concurrent import futures

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import hou_synth
from benchmarks import (
    adversarial,
    instances,
    release,
    serving,
    shortcuts,
    slide,
    steps,
    synthesis,
    thresholds,
    training,
)
from data import tiles
from hou_synth import config, inference
from hou_synth import instances as maps_to_nuclei
from hou_synth.io import files, image_files
from hou_synth.model import Model
from models.task import task
from train.serving import signatures, warmup


@pytest.mark.slow
def test_synthesis_prints_a_row_for_each_size_and_number_of_workers(capsys):
    assert synthesis.main(["--sizes", "75", "200", "--workers", "1", "2", "--seconds", "0.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if re.match(r" *\d+ +\d+ +\d+\.", line)]
    assert [row[:2] for row in rows] == [["75", "1"], ["75", "2"], ["200", "1"], ["200", "2"]]
    for row in rows:
        median, decile, rate, megapixels = map(float, row[2:6])
        assert 0 < median <= decile and abs(megapixels - rate * int(row[0]) ** 2 / 1e6) < 0.1 + 0.01 * megapixels
    assert rows[2][7] == "1000.0"  # the paper's second
    assert re.fullmatch(r"size=200 workers=1 median_ms=\d+\.\d{3}", lines[-1])


def test_varied_tiles_are_large_and_differ(tissue_image):
    source = tiles.Source("a", "", lambda: tissue_image[0])
    one, other = (synthesis.varied(source, number).read() for number in (0, 1))
    assert one.shape == other.shape == (500, 500, 3) and (one != other).any()
    assert (synthesis.varied(source, 0).read() == one).all()


def test_instances_prints_a_row_for_each_case(capsys):
    assert instances.main(["--repeats", "2"]) == 0
    header, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert header == ["case", "nuclei", "least_ms", "median_ms"]
    assert [row[0] for row in rows] == ["nuclei:release", "nuclei:cpu", "scores"]
    for (_, count, least, median), expected in zip(rows, (500, 500, 1500), strict=True):
        assert abs(int(count) - expected) <= 0.05 * expected and 0 < float(least) <= float(median)


@dataclasses.dataclass
class Knowing:
    """A model whose maps are the truth."""

    labels: np.ndarray
    thresholds: config.Instances

    def segment(self, image, microns_per_pixel):
        whole = (self.labels > 0).astype(np.uint8)
        maps = [each.astype(np.float32) for each in (whole, cv2.erode(whole, np.ones((9, 9))))]
        return maps_to_nuclei.nuclei(*maps, self.thresholds)


def test_thresholds_prints_a_row_for_those_of_the_model_and_of_each_preset(
    tmp_path, stained, circles, monkeypatch, capsys
):
    """By the model's own thresholds no nucleus is large enough."""
    files.write_png(tmp_path / "a.png", stained)
    image_files.write(tmp_path / "a", circles)
    own = config.preset("paper", area_min=10_000).instances
    monkeypatch.setattr(hou_synth, "load", lambda path: Knowing(circles, own))
    assert thresholds.main(["--data", str(tmp_path), "--presets", "release", "paper"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["set", "images", "thresholds", *thresholds.SHOWN]
    assert [row.split()[1:-4] for row in rows] == [["1", "its", "own"], ["1", "release"], ["1", "paper"]]
    values = [[float(value) for value in row.split()[-4:]] for row in rows]
    assert values[0] == [0.0] * 4 and min(values[1]) > 0.8 and values[1] == values[2]


@pytest.mark.slow
def test_the_classifier_finds_a_difference_and_none_where_there_is_none():
    random = np.random.default_rng(0)
    noise = [random.normal(0, 1, (100, 16, 16, 3)).astype(np.float32) for _ in range(4)]
    smooth = [np.stack([cv2.blur(window, (3, 3)) for window in several]) for several in noise]
    assert shortcuts.accuracy(noise, smooth) > 0.95
    assert abs(shortcuts.accuracy(noise[:2], noise[2:]) - 0.5) < 0.15


def test_windows_lie_where_they_should():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 32:] = 100
    windows = shortcuts.windows(np.random.default_rng(0), image, image[..., 0] > 0, 1.0, 1000)
    assert len(windows) == (64 - 32 - 16 + 1) * (64 - 16) or 0 < len(windows) <= 1000
    assert np.abs(windows[:, :, 8:]).max() < 0.1  # flat beyond the edge's blur


@pytest.mark.slow
def test_training_prints_a_row_for_each_size_precision_and_step(monkeypatch, capsys):
    tiny = config.preset("quick", refiner_blocks=1, unet_widths=(4, 8), unet_down=(1, 1), unet_up=(1,))
    monkeypatch.setattr(config, "preset", lambda name: tiny)
    sizes = ["--sizes", "64", "72", "--batch", "2", "--seconds", "0.1", "--precisions", "float32"]
    assert training.main([*sizes, "--preset", "quick"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    header = lines.index(steps.COLUMNS.split())
    rows = [dict(zip(lines[header], line, strict=True)) for line in lines[header + 1 : -1]]
    assert [(row["size"], row["step"]) for row in rows] == [(s, k) for s in ("64", "72") for k in steps.STEPS]
    for row in rows:
        patches = 4 if row["step"] == "discriminate" else 2
        assert float(row["patches/s"]) == pytest.approx(1e3 * patches / float(row["training_ms"]), rel=0.05)
        assert float(row["GFLOP"]) > 0 and 0 <= float(row["waiting"].rstrip("%")) <= 100
        assert float(row["peak_MB"]) > 10


def test_multiplications_of_convolutions_are_counted():
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, name="reference_1")(image)  # 8x8 places of 3x3x3x4
    x = keras.layers.Conv2DTranspose(2, 2, strides=2)(x)  # 8x8 places of 2x2x4x2
    network = keras.Model(image, x)
    assert steps.multiplications(network, 10) == 64 * 108 + 64 * 32
    assert steps.multiplications(network, 10, "reference") == 64 * 108


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Folder of a small served model with a warm-up request, and its run folder."""
    folder = tmp_path_factory.mktemp("serving")
    network = task(config.preset("quick", network="cnn", cnn_widths=(2, 2, 2)).networks)
    signatures.Served(network, {"config.json": "{}"}).save(folder / "name" / "1")
    (folder / "name" / "1" / "assets.extra").mkdir()
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = "document"
    log.predict_log.request.inputs["names"].CopyFrom(tf.make_tensor_proto(["config.json"]))
    with tf.io.TFRecordWriter(str(folder / "name" / "1" / "assets.extra" / warmup.NAME)) as writer:
        writer.write(log.SerializeToString())
    network.save(folder / "task.keras")
    return folder


def test_serving_prints_a_row_for_each_network_size_and_batch(served, monkeypatch, capsys):
    monkeypatch.setattr(serving, "fresh", lambda: futures.ThreadPoolExecutor(1))
    cases = ["--sizes", "96", "64", "--batches", "1", "2", "--seconds", "0.05", "--cold", "1"]
    assert serving.main(["--model", str(served / "name"), "--run", str(served), *cases]) == 0
    networks = ("savedmodel", *serving.RUN)
    lines = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()]
    rows = [dict(zip(serving.SPEED, line, strict=True)) for line in lines if len(line) == len(serving.SPEED)][1:]
    order = [("64", "1"), ("64", "2"), ("96", "1"), ("96", "2")]
    assert [(row["network"], row["size"], row["batch"]) for row in rows] == [(n, *c) for n in networks for c in order]
    for row in rows:
        assert 0 < float(row["p50 ms"]) <= float(row["p99 ms"]) and int(row["calls"]) >= serving.CALLS
    cold = [line for line in lines if len(line) == len(serving.COLD)][1:]
    assert [line[0] for line in cold] == ["without", "with the warm-up file"] and cold[0][3] == "0" < cold[1][3]


def test_serving_measures_in_processes_of_their_own():
    with serving.fresh() as process:
        assert process.submit(os.getpid).result() != os.getpid()
    assert pickle.loads(pickle.dumps(serving.measured)) is serving.measured


def test_serving_counts_images_and_not_calls():
    row = dict(zip(serving.SPEED, serving.row("onnx", 64, 4, [0.1, 0.1, 0.2], 700.4), strict=True))
    assert (row["images/s"], row["p50 ms"], row["p99 ms"]) == ("30.00", "100.0", "198.0")
    assert (row["batch"], row["calls"], row["peak MB"]) == ("4", "3", "700")


def test_serving_compares_networks_that_return_the_same(served):
    places = {**dict.fromkeys(serving.RUN[:2], served / "task.keras"), "savedmodel": served / "name" / "1"}
    images = serving.noise(2, 32)
    maps = {name: serving.network(name, path)(images) for name, path in places.items()}
    for name in inference.OUTPUTS:
        np.testing.assert_allclose(maps["savedmodel"][name], maps["keras call"][name], atol=1e-5)
        logits = maps["keras predict"][name]
        np.testing.assert_allclose(maps["savedmodel"][name], 1 / (1 + np.exp(-logits)), atol=1e-5)


def test_serving_measures_what_lies_on_disk(tmp_path):
    (tmp_path / "variables").mkdir()
    for name, size in {"saved_model.pb": 1000, "variables/a": 2000, "fingerprint.pb": 40000}.items():
        (tmp_path / name).write_bytes(bytes(size))
    assert serving.megabytes(tmp_path) == 0.003 and serving.megabytes(tmp_path / "saved_model.pb") == 0.001


def test_serving_asks_for_what_it_lacks(served, tmp_path, capsys):
    model = ["--model", str(served / "name")]
    assert serving.main([*model, "--networks", "onnx"]) == 2
    assert serving.main([*model, "--run", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "Expected --run" in said and "task.keras" in said
    with pytest.raises(ValueError, match="warm-up requests"):
        serving.warm_up(None, tmp_path)


def test_a_discriminator_is_judged_before_and_after_its_updates(bank, capsys):
    settings = config.preset("quick", patch=64, batch=2, pool=2, unet_widths=(4, 8), unet_down=(1, 1), unet_up=(1,))
    adversarial.learn(bank, settings, 2, 2)
    before, after = ([float(v) for v in line.split()[1:]] for line in capsys.readouterr().out.splitlines())
    assert before[:2] == [0, 0] and after[0] == 2 and after[1] > 0
    for _, _, accuracy, gradient, real, initial, low, high, order in (before, after):
        assert 0 <= accuracy <= 1 and 0 <= order <= 1 and gradient > 0 and real > 0 and low <= initial <= high


def test_slide_prints_the_network_and_the_whole(tmp_path, stained, monkeypatch, capsys):
    files.write_png(tmp_path / "a.png", np.tile(stained, (3, 3, 1)))
    files.write_png(tmp_path / "small.png", stained)

    def dark(images):
        mask = (images[..., 1:2] < 115).astype(np.float32)
        return {"segmentation": mask, "detection": np.zeros_like(mask)}

    monkeypatch.setattr(hou_synth, "load", lambda path, engine: Model(dark))
    assert slide.main(["--tiles", str(tmp_path), "--side", "300"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"300.tif: 0.3 megapixels at 40X, enlarged 1.0, \d+ nuclei", lines[0])
    assert re.fullmatch(r"network_share=\d+\.\d\d megapixels_per_second=\d+\.\d\d peak_gb=\d+\.\d", lines[-1])
    assert slide.main([]) == 2
    (tmp_path / "a.png").unlink()
    assert slide.main(["--tiles", str(tmp_path)]) == 2
    assert "Expected tiles of at least 256 pixels. Received: 1 smaller ones." in capsys.readouterr().err


def test_release_compares_shipped_patches_with_ours(tmp_path, capsys):
    for folder in ("image", "mask"):
        (tmp_path / folder).mkdir()
    image, mask = np.full((64, 64, 3), 200, np.uint8), np.zeros((64, 64, 3), np.uint8)
    image[10:20, 10:20], mask[10:20, 10:20], mask[15, 15] = 50, 1, 5
    for number, pair in enumerate([(image, mask), (image, 0 * mask)]):
        for folder, pixels in zip(("image", "mask"), pair, strict=True):
            files.write_png(tmp_path / folder / f"{number}.png", pixels)
    sheet = ["--sheet", str(tmp_path / "sheet.png")]
    assert release.main(["--examples", str(tmp_path), "--count", "30", *sheet]) == 0
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    shown = {name: row.split()[0] for name, row in rows.items()}
    assert shown["nuclei, mean"] == "0.500" and shown["empty patches"] == "0.500"
    assert shown["area of a nucleus, mean"] == "100.000" and shown["contrast in grey levels, mean"] == "150.000"
    assert (tmp_path / "sheet.png").stat().st_size > 0
    assert release.main(["--examples", str(tmp_path / "mask")]) == 2
    assert "Expected patches in" in capsys.readouterr().err
