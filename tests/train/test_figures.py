import base64
import json
import re

import cv2
import numpy as np
import pytest

from data import synthetic
from hou_synth import config
from hou_synth.io import files
from hou_synth.synthesis import initial_patch
from train import figures
from train.loop import phases
from train.loop.trainer import UniversalTrainer
from train.pictures import plates, report
from train.runs import epochs, history, universal_run

TINY = {
    "refiner_blocks": 1,
    "unet_widths": (4, 8),
    "unet_down": (1, 1),
    "unet_up": (1,),
    "patch": 64,
    "batch": 4,
    "pool": 8,
    "refiner_steps": 10,
    "discriminator_steps": 3,
    "adversarial_rounds": 2,
    "task_steps": 4,
    "joint_rounds": 2,
    "final_steps": 1,
    "refiner_updates": 2,
    "discriminator_updates": 1,
}
OFF = {"refiner_steps": 0, "refiner_updates": 0, "discriminator_steps": 0, "discriminator_updates": 0}


def run_folder(folder, bank, **changes):
    """A run of untrained networks on the tiles of a bank, with a history."""
    settings = config.preset("quick", **{**TINY, **changes})
    trainer = UniversalTrainer(settings)
    config.save(settings, folder / "config.json")
    path = folder / "own.h5"
    tiles = bank.path.parent
    files.write_text(folder / "run.json", json.dumps({"tiles": str(tiles), "bank": str(path)}))
    for name in universal_run.NETWORKS:
        epochs.keep(getattr(trainer, name), folder / f"{name}.keras")
    for number, phase in enumerate(phases.phases(settings.schedule), 1):
        rounds = history.Rounds(folder / "history" / f"{number}_{phase.name}.csv", 0)
        rounds.on_train_begin()
        for batch in range(phase.rounds):
            logs = {"refiner_loss": batch} if phase.updates.refiner else {}
            logs |= {"dice": 0.5} if phase.updates.task else {}
            rounds.on_train_batch_end(batch, {"accuracy": 0.5} if phase.updates.discriminator and not logs else logs)
    return settings


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(report, "WEIGHED", 8)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, bank):
    """A run folder with its figures."""
    folder = tmp_path_factory.mktemp("drawn")
    run_folder(folder, bank)
    figures_of = pytest.MonkeyPatch()
    figures_of.setattr(report, "WEIGHED", 8)
    assert figures.main(["--run", str(folder)]) == 0
    figures_of.undo()
    return folder


def test_a_run_gets_its_figures_and_a_page_that_needs_nothing_else(drawn):
    names = ("styles", "weights", "sorted", "reliability", "gallery", "curves")
    page = (drawn / "figures/index.html").read_text()
    assert sorted(path.name for path in (drawn / "figures").iterdir()) == sorted(
        [*(f"{name}.png" for name in names), "index.html"]
    )
    assert re.findall(r'src="([^,]*),', page) == ["data:image/png;base64"] * len(names)
    assert "http" not in page and "<script" not in page and "<link" not in page
    for name, data in zip(names, re.findall(r'base64,([^"]*)"', page), strict=True):
        assert base64.b64decode(data) == (drawn / f"figures/{name}.png").read_bytes()
        assert cv2.imread(str(drawn / f"figures/{name}.png")).std() > 10
    assert all(f"Fig. {number}" in page for number in ("6", "7a", "7b", "8a"))


def test_a_run_without_a_gan_shows_initial_patches_alone(tmp_path, bank, monkeypatch):
    run_folder(tmp_path, bank, **OFF)
    plate, seen = plates.plate, []
    monkeypatch.setattr(plates, "plate", lambda rows, *rest, **more: seen.append(rows) or plate(rows, *rest, **more))
    sections = list(report.drawn(universal_run.load(tmp_path)))
    assert [section.name for section in sections] == ["styles", "gallery", "curves"]
    assert {len(row) for row in seen[0]} == {2} and len(seen[0]) == 1 + 2


def test_curves_lie_at_the_updates_of_their_phases(drawn, monkeypatch):
    found = {}
    monkeypatch.setattr(plates, "curves", lambda values, ends: found.update(values=values, ends=ends) or b"")
    report.progress(drawn, config.load(drawn / "config.json"))
    assert found["ends"] == {
        "refiner": 9, "history": 10, "discriminator": 13, "adversarial": 19, "task": 23, "joint": 41, "final": 42
    }  # fmt: skip
    titles, parts = list(found["values"]), found["values"]["refiner: loss"]
    assert titles == ["refiner: loss", "discriminator: accuracy", "task network: DICE on its training patches"]
    assert [updates.tolist() for updates, _ in parts] == [list(range(1, 10)), [10], [16, 19], [32, 41]]
    assert parts[0][1].tolist() == list(range(9))
    assert report.progress(drawn / "figures", config.load(drawn / "config.json")) is None


def test_what_is_no_run_is_told(tmp_path, capsys):
    assert figures.main(["--run", str(tmp_path)]) == 2
    assert "config.json" in capsys.readouterr().err


def test_one_mask_is_painted_with_any_tile(bank):
    settings = config.preset("paper", background_gain=0.0, background_shift=0.0, background_haematoxylin=0.0).synthesis
    labels = np.zeros((64, 64), np.uint16)
    labels[20:40, 20:40], labels[50:60, 5:20] = 1, 2
    made = []
    for tile in bank.tiles:
        patch = synthetic.repainted(labels, tile, (8, 4), np.random.default_rng(0), settings)
        turned = synthetic.source(np.random.default_rng(0), tile, (tile, tile), (8, 4), 64, settings).background
        far = cv2.dilate((labels > 0).astype(np.uint8), np.ones((15, 15))) == 0
        assert (patch.image[far] == turned[far]).all() and (patch.image[labels > 0] != turned[labels > 0]).mean() > 0.5
        assert (patch.labels == labels).all() and patch.centres.sum() == 2
        made.append(patch.image)
    assert (made[0] != made[1]).any()


def test_an_initial_patch_is_its_mask_painted(bank):
    settings, tile = config.preset("cpu").synthesis, bank.tiles[0]
    source = synthetic.source(np.random.default_rng(0), tile, bank.tiles, (0, 0), 64, settings)
    random = np.random.default_rng(5)
    labels = initial_patch.mask(random, 64, source, settings)
    image = initial_patch.painted(random, labels, source, settings).image
    assert (image == initial_patch.initial(np.random.default_rng(5), source, settings).image).all()


def test_other_references_are_those_of_other_tiles():
    names = ["a", "a", "b", "c", "a"]
    examples = [synthetic.Example(*[None] * 6, provenance={"tile": name}) for name in names]
    assert report.elsewhere(examples, np.arange(5)).tolist() == [2, 2, 3, 4, 2]
    assert report.elsewhere(examples[:2], np.arange(2)).tolist() == [0, 1]


def test_spread_takes_both_ends():
    assert report.spread("abcdefg", 4) == ["a", "c", "e", "g"]
    assert report.spread("ab", 4) == ["a", "b"]


def test_outlines_lie_just_inside_their_nuclei():
    labels = np.zeros((10, 10), np.uint16)
    labels[2:6, 2:6], labels[2:6, 6:8] = 1, 2
    line = (plates.outlined(np.zeros((10, 10, 3), np.uint8), labels, shown=10) == (255, 255, 0)).all(axis=2)
    assert line.sum() == (12 - 2) + 8 and not line[labels == 0].any()  # one line between the two
    assert plates.outlined(np.zeros((10, 10, 3), np.uint8), labels, shown=30).shape == (30, 30, 3)


def test_a_plate_keeps_every_pixel():
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    data = plates.plate([[picture, None], [None, picture]], [["", "x"], ["y", ""]], left=["a", "b"], top=["c", "d"])
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    margin, head = 10 + 7, plates.LINE + plates.GAP
    assert image.shape == (head + 2 * (32 + plates.GAP + plates.LINE), margin + 2 * (32 + plates.GAP) + plates.GAP, 3)
    assert (image[head : head + 32, margin : margin + 32] == picture).all()
    y, x = head + 32 + plates.GAP + plates.LINE, margin + 32 + plates.GAP
    assert (image[y : y + 32, x : x + 32] == picture).all() and (image[head : head + 32, x : x + 32] == 255).all()


def test_a_moving_average_keeps_lines_and_halves_no_ends():
    assert np.allclose(plates.smoothed(np.full(100, 3.0)), 3.0)
    line = np.arange(64.0)
    assert np.allclose(plates.smoothed(line)[4:-4], line[4:-4]) and plates.smoothed(line)[0] == 2.0
    assert plates.smoothed(np.array([5.0])).tolist() == [5.0]


def test_a_page_escapes_what_it_is_told():
    page = plates.page("<run>", {"tiles": "a & b"}, [plates.Section("x", "T", "<i>", b"png")])
    assert "&lt;run&gt;" in page and "a &amp; b" in page and "&lt;i&gt;" in page and "<run>" not in page
