import json
import re

import cv2
import numpy as np
import pytest

from hou_synth import lymphocytes
from train import export, figures
from train.lymphocyte import main

TINY = "--classifier-widths 4,4,4,4 --refiner-blocks 1 --batch 4 --pool 8 --workers 0".split()


@pytest.fixture(scope="module")
def tiles(tmp_path_factory, tissue_image):
    folder = tmp_path_factory.mktemp("tiles")
    cv2.imwrite(str(folder / "tile.png"), tissue_image[0][..., ::-1])
    return folder


@pytest.fixture(scope="module")
def marked(tmp_path_factory, tissue_image):
    """Labelled places: the small dark discs are lymphocytes, the pale ones are not."""
    folder, random = tmp_path_factory.mktemp("marked"), np.random.default_rng(0)
    for name in "ab":
        image, rows = tissue_image[0].copy(), ["x,y,class"]
        for y in range(40, 240, 44):
            for x in range(40, 240, 44):
                kind = bool(random.integers(2))
                cv2.circle(image, (x, y), 8, (40, 20, 90) if kind else (190, 150, 190), -1)
                rows.append(f"{x},{y},{'lymphocyte' if kind else 'epithelial'}")
        cv2.imwrite(str(folder / f"{name}.png"), image[..., ::-1])
        (folder / f"{name}_points.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiles):
    """A run on tiles with every network, and its exit code."""
    out = tmp_path_factory.mktemp("run")
    steps = "--task-steps 2 --discriminator-steps 1 --joint-rounds 1 --task-updates 1".split()
    code = main(["--tiles", str(tiles), "--out", f"{out}/runs/one", "--models", f"{out}/models", *steps, *TINY])
    return out, code


def test_a_run_on_tiles_leaves_a_model(finished, capsys):
    out, code = finished
    assert code == 0
    assert {path.name for path in (out / "runs/one").glob("*.png")} == {
        "1_discriminator.png",
        "2_task.png",
        "3_joint.png",
    }
    assert 0 <= json.loads((out / "runs/one/scores.json").read_text())["auroc"] <= 1
    classifier = lymphocytes.load(out / "models/one").network
    found = classifier(np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), np.uint8))
    assert found.shape == (5,) and (0 <= found).all() and (found <= 1).all()


def test_an_export_says_the_same(finished, capsys):
    out, _ = finished
    assert export.main(["--model", f"{out}/runs/one", "--out", f"{out}/again"]) == 0
    patches = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), np.uint8)
    both = (lymphocytes.load(path).network(patches) for path in (out / "models/one", out / "again"))
    assert np.allclose(*both, atol=1e-6)
    card = (out / "again/1/assets.extra/model_card.md").read_text()
    assert "without a single label" in card and str(out) not in card


def test_a_finished_run_says_so_and_a_run_goes_on_with_resume_alone(finished, tiles, capsys):
    out, _ = finished
    steps = "--task-steps 2 --discriminator-steps 1 --joint-rounds 1 --task-updates 1".split()
    again = ["--tiles", str(tiles), "--out", f"{out}/runs/one", "--models", f"{out}/models", *steps, *TINY]
    assert main(again) == 2
    assert "Add --resume" in capsys.readouterr().err
    assert main([*again, "--resume"]) == 0
    assert "This run is finished" in capsys.readouterr().out


def test_learned_from_labels_and_measured(tmp_path, marked, capsys):
    training = ["--labelled", str(marked), "--out", f"{tmp_path}/runs/seen", "--models", f"{tmp_path}/models"]
    steps = ["--task-steps", "40", "--batch", "16", "--classifier-widths", "8,8,8,8", "--stain", "0"]
    assert main([*training, *steps]) == 0
    measured = ["--evaluate", str(marked), "--model", f"{tmp_path}/models/seen", "--roc", f"{tmp_path}/roc.png"]
    capsys.readouterr()
    assert main(measured) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    area, low, high = map(float, re.fullmatch(r"auroc=(0\.\d{4}|1\.0000) low=(.{6}) high=(.{6})", last).groups())
    assert area > 0.9 and low <= area <= high  # dark discs against pale ones
    assert (tmp_path / "roc.png").exists()
    card = (tmp_path / "models/seen/1/assets.extra/model_card.md").read_text()
    assert "trained on labelled places" in card and "labelled images | 2" in card


def test_vgg16_takes_the_weights_of_a_file(tmp_path, marked, capsys):
    import keras

    network = keras.applications.VGG16(include_top=False, weights=None)
    network.get_layer("block1_conv1").bias.assign(np.arange(64))
    network.save_weights(tmp_path / "vgg.weights.h5")
    command = [
        "--labelled",
        str(marked),
        "--network",
        "vgg16",
        "--task-steps",
        "1",
        "--batch",
        "2",
        "--task-rate",
        "1e-9",
    ]
    command += ["--out", f"{tmp_path}/run", "--models", f"{tmp_path}/models", "--weights", f"{tmp_path}/vgg.weights.h5"]
    assert main(command) == 0
    kept = keras.saving.load_model(tmp_path / "run/task.keras")
    bias = kept.get_layer("vgg16").get_layer("block1_conv1").bias
    assert bias.numpy() == pytest.approx(np.arange(64), abs=1e-5)


@pytest.mark.parametrize(
    "words,told",
    [
        ("", "Expected one of --tiles, --labelled and --evaluate. Received: none."),
        ("--tiles T --labelled L", "Received: --tiles and --labelled."),
        ("--tiles T --model M", "Expected --evaluate with --model and --roc. Received: a training."),
        ("--tiles T --network unet", "Expected --network out of classifier, vgg16 here. Received: unet."),
        ("--tiles T --lymphocytes 0", "Expected --lymphocytes above 0"),
        (
            "--tiles T --self-rounds 1 --self-steps 1",
            "Expected phases that a classifier can have. Received: task, self1.",
        ),
        ("--labelled L --joint-rounds 1", "phases that a classifier with labels can have. Received: task, joint."),
        ("--tiles T --patch 63", "Expected a patch of 64 to 512 pixels"),
    ],
)
def test_mistakes_are_one_line(words, told, tmp_path, capsys):
    assert main([*words.split(), "--out", str(tmp_path / "run")] if words else []) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and told in err
    assert not (tmp_path / "run" / "config.json").exists()


def test_commands_of_nuclei_refuse_a_run_of_lymphocytes(finished, capsys):
    out, _ = finished
    assert figures.main(["--run", f"{out}/runs/one"]) == 2
    assert "a run of train.lymphocyte" in capsys.readouterr().err
