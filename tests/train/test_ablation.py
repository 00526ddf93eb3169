import csv
import importlib
import json

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from hou_synth import config, metrics, options
from hou_synth.io import files, image_files
from models.discriminator import discriminator
from models.refiner import refiner
from train import ablation
from train.loop import phases
from train.loop.task_trainer import signed
from train.loop.trainer import UniversalTrainer
from train.tables import ablation_table, ablations, sweep

TINY = (
    "--preset quick --unet-widths 4,8 --unet-down 1,1 --unet-up 1 --patch 64 --batch 2 --pool 8 --refiner-blocks 1 "
    "--refiner-steps 2 --discriminator-steps 2 --adversarial-rounds 1 --task-steps 1 --joint-rounds 1 --final-steps 1 "
    "--task-updates 2"
).split()


@pytest.fixture(scope="module")
def data(tmp_path_factory, tissue_image):
    """Two labelled images, and a folder of tiles."""
    folder, (image, nuclei) = tmp_path_factory.mktemp("ablation"), tissue_image
    for kind in ("set", "tiles"):
        (folder / kind).mkdir()
    for name, y in {"a": 0, "b": 128}.items():
        files.write_png(folder / "set" / f"{name}.png", image[y : y + 96, :96])
        image_files.write(folder / "set" / name, nuclei[y : y + 96, :96])
    cv2.imwrite(str(folder / "tiles/a.png"), image[..., ::-1])
    return folder


class InProcess:
    """In place of subprocess.Popen: the same command in this process."""

    trained = []

    def __init__(self, words):
        self.module, self.argv = words[2], words[3:]
        InProcess.trained.append(self.argv[self.argv.index("--out") + 1].rsplit("/", 1)[1])

    def wait(self):
        return importlib.import_module(self.module).main(self.argv)


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    InProcess.trained = []
    monkeypatch.setattr(sweep.subprocess, "Popen", InProcess)
    monkeypatch.setattr(sweep, "alone", lambda function, *arguments: function(*arguments))


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Trainings that take no time; their score is 0.5 for `all` and 0.4 for others, and a hundredth more a seed."""

    def wait(self):
        folder = tmp_path / InProcess.trained[-1]
        folder.mkdir(parents=True)
        files.write_text(folder / "scores.json", json.dumps({"minutes": 2.0}))
        return 0

    def measured(out, name, group, entries):
        row, seed = name.split("-seed")
        score = (0.5 if row == "all" else 0.4) + int(seed) / 100
        named = {"set": group, "type": ""} | dict.fromkeys(metrics.MEASURES, score)
        return [{**named, "image": entry.name} for entry in entries]

    monkeypatch.setattr(InProcess, "wait", wait)
    monkeypatch.setattr(sweep, "measured", measured)


def start(data, out, *more):
    argv = ["--data", str(data / "set"), "--tiles", str(data / "tiles"), "--out", str(out), *TINY, *map(str, more)]
    return ablation.main(argv)


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def settings(row, *more):
    words = ablations.words(row, 0, options.given(ablation.arguments(["--data", "x", *TINY, *more])), [])
    own = [words[words.index(word) :] for word in words if word == "--preset"][0]
    return options.configuration(ablation.arguments(["--data", "x", *own]), "cpu")


@pytest.mark.parametrize(
    "row,expected",
    [
        ("all", set()),
        ("no-hard", {"gamma"}),
        ("no-reference", {"reference"}),
        ("no-weights", {"weighting"}),
        ("shuffled", {"weighting"}),
        ("no-refiner", {"refiner_steps", "refiner_updates"}),
        ("initial", {"refiner_steps", "refiner_updates", "discriminator_steps", "discriminator_updates"}),
    ],
)
def test_a_row_changes_its_part_and_nothing_else(row, expected):
    made, whole = settings(row), settings("all")
    assert {text.split(":")[0] for text in config.differences(made, whole)} == expected
    run = phases.phases(made.schedule)
    assert all(any(phase.updates) for phase in run) and [phase.name for phase in run][-3:] == ["task", "joint", "final"]
    assert phases.task_updates(run) == phases.task_updates(phases.phases(whole.schedule)) == 1 + 2 + 1
    assert (phases.refines(run), phases.weighs(run)) == (
        row not in ("no-refiner", "initial"),
        row != "initial",
    )


def test_rows_win_over_the_options_of_all():
    assert settings("no-hard", "--gamma", "0.5").losses.gamma == 0.0 < settings("all", "--gamma", "0.5").losses.gamma
    assert settings("all", "--seed", "7").schedule.seed == 0


def test_rows_are_trained_and_measured_in_reality(data, tmp_path):
    assert start(data, tmp_path, "--rows", "no-refiner", "--seeds", 3) == 0
    run = tmp_path / "no-refiner-seed3"
    assert [path.name for path in sorted(run.glob("*.png"))] == [
        "1_discriminator.png",
        "2_adversarial.png",
        "3_task.png",
        "4_joint.png",
        "5_final.png",
    ]
    assert config.load(run / "config.json").schedule.seed == 3
    assert json.loads((run / "run.json").read_text())["labelled"] == []
    kept, made = keras.saving.load_model(run / "refiner.keras"), json.loads((run / "scores.json").read_text())
    assert all(not weight.any() for weight in kept.get_weights() if weight.ndim == 1)  # biases: never updated
    rows = table(tmp_path / "ablation.csv")
    assert [(row["row"], row["seed"], row["set"], row["image"]) for row in rows] == [
        ("no-refiner", "3", "set", name) for name in "ab"
    ]
    assert f"| 1 | {made['minutes']:.1f} | " in (tmp_path / "ablation.md").read_text()


def test_seeds_are_outermost_and_finished_cells_are_kept(data, tmp_path, quick):
    wanted = ["--rows", "no-hard", "all", "--seeds"]
    assert start(data, tmp_path, *wanted, 0, 1) == 0
    order = ["all-seed0", "no-hard-seed0", "all-seed1", "no-hard-seed1"]
    assert InProcess.trained == order
    assert start(data, tmp_path, *wanted, 0, 1, 2) == 0
    assert InProcess.trained == [*order, "all-seed2", "no-hard-seed2"]
    assert len(table(tmp_path / "ablation.csv")) == 3 * 2 * 2


def test_the_table_by_hand(data, tmp_path, quick, capsys):
    assert start(data, tmp_path, "--rows", "no-hard", "all", "initial", "--seeds", 0, 1) == 0
    lines = (tmp_path / "ablation.md").read_text().splitlines()
    one, other = " | ".join(["0.505 ± 0.007"] * 4), " | ".join(["0.405 ± 0.007"] * 4)
    assert lines[0] == "## set" and lines[4] == f"| all | 2 | 2.0 | {one} |  | 0.7612 |"
    assert lines[5] == f"| no hard examples | 2 | 2.0 | {other} | -0.100 ± 0.000 | 0.7476 |"
    assert lines[6].startswith("| initial patches alone") and lines[6].endswith(" | -0.100 ± 0.000 |  |")
    assert "\n".join(lines) in capsys.readouterr().out


def test_differences_are_paired_by_seed():
    scores = dict.fromkeys(("dice1", "aji", "pq"), 0.0)
    values = {("all", 0): 0.5, ("all", 1): 0.7, ("no-hard", 1): 0.6, ("no-hard", 2): 0.1}
    rows = [{"row": row, "seed": seed, "minutes": 1, "dice": v, **scores} for (row, seed), v in values.items()]
    assert ablation_table.lines(rows)[1][-2] == "-0.100"
    assert ablation_table.lines(rows[2:])[0][-2] == ""


def test_an_interrupted_cell_stops_all_and_is_gone_on_with(data, tmp_path, monkeypatch, quick):
    done, codes = InProcess.wait, iter([0, 130, 0, 0])

    def wait(self):
        code = next(codes)
        return code or done(self)

    monkeypatch.setattr(InProcess, "wait", wait)
    assert start(data, tmp_path, "--rows", "all", "no-hard", "--seeds", 0) == 130
    assert {row["row"] for row in table(tmp_path / "ablation.csv")} == {"all"}
    assert start(data, tmp_path, "--rows", "all", "no-hard", "--seeds", 0) == 0
    assert InProcess.trained == ["all-seed0", "no-hard-seed0", "no-hard-seed0"]


@pytest.mark.parametrize(
    "more,word",
    [(["--seed", "3"], "--seeds"), (["--gamma", "0"], "no-hard"), (["--patch", "40"], "patch")],
)
def test_what_makes_no_table_is_refused_at_once(data, tmp_path, capsys, more, word):
    assert start(data, tmp_path, *more) == 2
    assert word in capsys.readouterr().err and InProcess.trained == []


def test_other_options_want_another_folder(data, tmp_path, quick, capsys):
    assert start(data, tmp_path, "--rows", "all", "--seeds", 0) == 0
    assert start(data, tmp_path, "--rows", "all", "--seeds", 0, "--beta", 2) == 2
    assert "options" in capsys.readouterr().err


@pytest.mark.parametrize("build,name", [(refiner, "synthetic"), (discriminator, "patch")])
def test_without_a_reference_it_changes_nothing_and_has_no_parameters(build, name, tmp_path):
    with_one, without = (build(config.preset("paper", reference=on).networks) for on in (True, False))
    branch = 3 * 32 * 16 + 32 + 4 * (32 * 32 * 25 + 32)
    assert with_one.count_params() - without.count_params() == branch
    patch, other = tf.random.stateless_uniform((2, 1, 75, 75, 3), (0, 0), -1.0, 1.0)
    first, second = (without({name: patch, "reference": reference}) for reference in (patch, other))
    assert np.array_equal(first, second) and np.std(first) > 0
    without.save(tmp_path / "network.keras")
    kept = keras.saving.load_model(tmp_path / "network.keras")
    assert np.allclose(kept({name: patch, "reference": patch}), first, atol=1e-6)


def test_without_a_refiner_initial_patches_are_weighted():
    changes = {"refiner_steps": 0, "refiner_updates": 0, "refiner_blocks": 1, "unet_widths": (4, 8), "batch": 2}
    trainer = UniversalTrainer(config.preset("quick", **changes, unet_down=(1, 1), unet_up=(1,)))
    random = np.random.default_rng(0)
    batch = {name: random.integers(0, 256, (2, 64, 64, 3), np.uint8) for name in ("image", "reference", "real")}
    batch = {name: tf.constant(value) for name, value in batch.items()} | {"target": tf.ones((2, 64, 64, 1), tf.uint8)}
    before = [variable.numpy() for variable in trainer.discriminator.trainable_variables]
    trainer.discriminate_step(batch)
    assert any((a != b.numpy()).any() for a, b in zip(before, trainer.discriminator.trainable_variables, strict=True))
    images, target, weights = trainer.taught(batch, fill=True)
    assert np.array_equal(images, signed(batch["image"])) and np.array_equal(target, batch["target"])
    assert float(tf.reduce_max(tf.abs(weights - 1.0))) > 1e-6
    assert trainer.pool.capacity == 1 and int(trainer.pool.size) == 0
