import dataclasses
import shutil

import h5py
import numpy as np
import pytest
import tensorflow as tf

from data import pipeline, synthetic
from data.sets import hdf5, specification
from data.sets.stored import Stored
from hou_synth import config

COUNT, SIDE = 5, 64
SETTINGS = config.preset("paper", patch=SIDE, batch=2, seed=9)


def write(bank, path, count=COUNT, seed=3):
    fingerprint = specification.fingerprint(bank)
    store = hdf5.Store(path, specification.Specification(SETTINGS, seed, SIDE, count, str(bank.path), fingerprint))
    store.begin()
    for start in store.missing():
        store.write(start)
    store.finish()
    return path


@pytest.fixture(scope="module")
def made(bank, tmp_path_factory):
    """A data set, not to be changed."""
    return write(bank, tmp_path_factory.mktemp("stored") / "patches.h5")


@pytest.fixture(scope="module")
def fresh(bank):
    """The examples that were written."""
    return [synthetic.example(bank, 3, index, SIDE, SETTINGS.synthesis) for index in range(COUNT)]


def changed(**changes):
    schedule = {"patch": SIDE, "batch": 2, "seed": 9}
    return config.preset("paper", **{**schedule, **changes})


def order(stored, fresh, indices):
    """Which written example each index is."""
    images = [example.image.tobytes() for example in fresh]
    return [images.index(stored.training(index)[0].tobytes()) for index in indices]


def test_a_round_has_every_patch_once_in_an_order_of_its_own(bank, made, fresh):
    stored = Stored(made, bank, SETTINGS)
    rounds = [order(stored, fresh, range(start, start + COUNT)) for start in (0, COUNT, 2 * COUNT)]
    assert [sorted(places) for places in rounds] == [list(range(COUNT))] * 3
    assert len({tuple(places) for places in rounds}) == 3
    backwards = order(Stored(made, bank, SETTINGS), fresh, reversed(range(3 * COUNT)))
    assert backwards[::-1] == sum(rounds, [])
    assert order(Stored(made, bank, changed(seed=8)), fresh, range(3 * COUNT)) != sum(rounds, [])


@pytest.mark.parametrize("changes", [{}, {"detection": "core", "centre_dilation": 5}])
def test_a_stored_example_is_the_fresh_one_with_another_real_patch(bank, made, fresh, changes):
    stored = Stored(made, bank, changed(**changes))
    for index, number in enumerate(order(stored, fresh, range(COUNT))):
        image, reference, real, target = stored.training(index)
        assert np.array_equal(image, fresh[number].image) and np.array_equal(reference, fresh[number].reference)
        assert np.array_equal(target[..., 0], fresh[number].target(stored.config.losses))
        assert real.shape == (SIDE, SIDE, 3)


def test_real_patches_are_of_the_tile_of_the_reference_and_others_each_round(bank, made, fresh):
    """The two tiles of the bank are alike, so one is made black."""
    dark = type(bank)(bank.path)
    dark.tiles = [
        dataclasses.replace(tile, image=np.zeros_like(tile.image)) if tile.type == "a" else tile for tile in dark.tiles
    ]
    stored = Stored(made, dark, SETTINGS)
    for index, number in enumerate(order(stored, fresh, range(COUNT))):
        assert stored.training(index)[2].any() == (fresh[number].provenance["type"] == "b")
    assert {example.provenance["type"] for example in fresh} == {"a", "b"}
    stored = Stored(made, bank, SETTINGS)
    real = [[stored.training(turn * COUNT + place)[2] for place in range(COUNT)] for turn in (0, 1)]
    assert len({patch.tobytes() for patches in real for patch in patches}) == 2 * COUNT
    alone = Stored(made, bank, SETTINGS, paired=False).training(0)
    assert np.array_equal(alone[2], alone[1])


def test_the_pipeline_gives_the_same_whatever_the_workers(bank, made):
    def first(workers, start):
        source = pipeline.Source(bank, SETTINGS, workers, stored=Stored(made, bank, SETTINGS))
        taken = [next(iter(source.rounds(3, start).as_numpy_iterator()))["image"]]
        source.close()
        return taken[0]

    whole, again, later = first(0, 0), first(2, 0), first(0, 4)
    assert whole.shape == (3, 2, SIDE, SIDE, 3) and np.array_equal(whole, again)
    assert np.array_equal(whole[2], later[0])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"patch": 75}, r"Expected patches of 75x75, as --patch says\. Received: .*patches\.h5 of 64x64"),
        ({"size_bias": 1.0}, r"same --preset\. Received: .*patches\.h5 with size_bias 1\.2, not 1\.0\.$"),
        ({"centre_dilation": 5}, r"Expected --centre-dilation 3, .*Received: 5\."),
    ],
)
def test_patches_that_the_run_would_not_make_are_refused(bank, made, changes, told):
    with pytest.raises(ValueError, match=told):
        Stored(made, bank, changed(**changes))


def test_tiles_that_are_not_there_are_needed_by_the_discriminator_alone(bank, made):
    fewer = type(bank)(bank.path)
    fewer.tiles = fewer.tiles[1:]
    with pytest.raises(ValueError, match=r"Expected the tiles that .* Received: tiles without a/tile\.png\.$"):
        Stored(made, fewer, SETTINGS)
    assert Stored(made, fewer, SETTINGS, paired=False).count == COUNT


def test_what_is_no_whole_data_set_is_refused(bank, made, tmp_path):
    with pytest.raises(ValueError, match="Expected a data set in a file. Received: .*nowhere.h5"):
        Stored(tmp_path / "nowhere.h5", bank, SETTINGS)
    (tmp_path / "text.h5").write_text("no data set")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["image"] = np.zeros((3, SIDE, SIDE, 3), np.uint8)
    for name in ("text.h5", "foreign.h5"):
        with pytest.raises(ValueError, match=f"Expected a data set. Received: .*{name}"):
            Stored(tmp_path / name, bank, SETTINGS)
    shutil.copy(made, tmp_path / "nameless.h5")
    with h5py.File(tmp_path / "nameless.h5", "r+") as file:
        del file.attrs["identity"]
    with pytest.raises(ValueError, match=r"Expected a data set of this version. Received: .*nameless\.h5"):
        Stored(tmp_path / "nameless.h5", bank, SETTINGS)
    (tmp_path / "short.h5").write_bytes(made.read_bytes()[:-20_000])
    with pytest.raises(ValueError, match=r"Received: .*short\.h5, which is damaged; intact: patches 0 to \d of 5"):
        Stored(tmp_path / "short.h5", bank, SETTINGS)


def test_a_damaged_patch_is_named_when_it_is_learned(bank, made, fresh, tmp_path):
    content = made.read_bytes()
    place = content.index(fresh[4].image.tobytes()[:64])
    (tmp_path / "rotten.h5").write_bytes(content[:place] + b"rot" + content[place + 3 :])
    source = pipeline.Source(bank, SETTINGS, stored=Stored(tmp_path / "rotten.h5", bank, SETTINGS))
    with pytest.raises(tf.errors.OpError):
        next(iter(source.dataset().batch(COUNT)))
    assert str(source.error).startswith(f"Expected patch 4 of {tmp_path / 'rotten.h5'} to be intact.")
    source.close()


def test_equal_texts_are_of_equal_files(bank, made, tmp_path):
    texts = [Stored(path, bank, SETTINGS).about for path in (made, write(bank, tmp_path / "again.h5"))]
    assert texts[0] == texts[1] and texts[0].startswith("5 of 64x64, ")
    for count, seed in ((COUNT, 4), (COUNT + 1, 3)):
        assert Stored(write(bank, tmp_path / f"{count}-{seed}.h5", count, seed), bank, SETTINGS).about not in texts
