import collections
import dataclasses

import numpy as np
import pytest

from data import draws, pipeline, synthetic
from hou_synth import config


@dataclasses.dataclass(frozen=True)
class Item:
    name: str
    type: str


MANY = [Item(f"a{n}", "a") for n in range(90)] + [Item("b", "b")] + [Item(f"c{n}", "c") for n in range(9)]


def test_types_are_drawn_by_the_root_of_their_size_and_the_tiles_of_each_alike():
    items = draws.drawn(np.random.default_rng(0), draws.by_type(MANY), 9000)
    types = collections.Counter(item.type for item in items)
    for name, root in (("a", 90**0.5), ("b", 1), ("c", 3)):
        assert types[name] == pytest.approx(9000 * root / (90**0.5 + 4), abs=150)
    names = collections.Counter(item.name for item in items)
    assert len(names) == 100 and names["c0"] == pytest.approx(9000 / (90**0.5 + 4) / 3, abs=80)


def test_one_type_is_drawn_as_without_types():
    one = draws.drawn(np.random.default_rng(3), draws.by_type(MANY[:90]), 50)
    assert one == draws.drawn(np.random.default_rng(3), [MANY[:90]], 50)
    assert one == [MANY[number] for number in np.random.default_rng(3).integers(90, size=50)]


def test_types_take_turns():
    items = [Item("", name) for name in "aaaabbc"]
    order = draws.in_turn([3, 0, 5, 2, 6, 1, 4], items).tolist()
    assert order == [3, 5, 6, 0, 4, 2, 1]
    assert draws.in_turn([2, 0, 1], items).tolist() == [2, 0, 1]


@pytest.fixture
def uneven(tmp_path, tissue_image):
    from data import tiles

    sources = [
        tiles.Source(name, "", tissue_image[0][:128, shift : shift + 128].copy)
        for shift, name in enumerate([f"many/{n}.png" for n in range(9)] + ["one/0.png"])
    ]
    return tiles.build(sources, tmp_path / "bank.h5", config.preset("cpu").synthesis, progress=False)


@pytest.mark.parametrize(("preset", "share"), [("cpu", 0.25), ("paper", 0.1)])
def test_examples_are_by_the_root_of_a_types_tiles_but_in_the_papers_preset(uneven, preset, share):
    settings = config.preset(preset).synthesis
    made = [synthetic.example(uneven, 0, index, 64, settings).provenance for index in range(150)]
    assert np.mean([each["type"] == "one" for each in made]) == pytest.approx(share, abs=0.1)
    textures = [name for each in made for name in each["textures"]]
    assert np.mean([name.startswith("one/") for name in textures]) == pytest.approx(share, abs=0.08)


def test_labelled_patches_beside_synthetic_ones_are_drawn_by_type_too(uneven):
    from data.labelled.reader import Labelled

    settings = config.preset("quick", batch=1, labelled_batch=20)
    images = [
        Labelled(f"{number}", "one" if number == 0 else "many", np.full((64, 64, 3), number, np.uint8), labels, 0.25)
        for number, labels in enumerate(np.zeros((10, 64, 64), np.int32))
    ]
    batches = pipeline.Source(uneven, settings).rounds(1, further=images).take(10)
    shown = np.concatenate([batch["labelled_image"].numpy()[0, :, 0, 0, 0] for batch in batches])
    assert np.mean(shown == 0) == pytest.approx(0.25, abs=0.1)
