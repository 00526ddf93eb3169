"""The tile bank and data sets: what was written, or a refusal that names the file."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies

from data import tiles
from data.sets import dataset, folders, hdf5, specification
from hou_synth import config
from tests.fuzz import damage

SETTINGS = config.preset("paper")
LIKELY = strategies.floats(0, 1), strategies.integers(1, 255)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tissue_image):
    """Folder of a small bank `whole.h5`, a data set `set.h5` and the tables of a folder."""
    made = tmp_path_factory.mktemp("sets")
    sources = [tiles.Source(f"lung/{n}.png", "1", tissue_image[0][:64, n : n + 64].copy) for n in (0, 20)]
    sources.append(tiles.Source("lung/small.png", "1", tissue_image[0][:9, :9].copy))
    bank = tiles.build(sources, made / "whole.h5", SETTINGS.synthesis, progress=False)
    asked = specification.Specification(SETTINGS, 3, 64, 3, str(bank.path), specification.fingerprint(bank))
    for store in (hdf5.Store(made / "set.h5", asked), folders.Store(made / "release", asked)):
        store.begin()
        store.write(0)
        store.finish()
    return made


def layers(bank):
    return {tile.name: [np.array(getattr(tile, layer)) for layer in (*tiles.LAYERS, "cells")] for tile in bank.tiles}


def equal(one, other):
    return one.keys() == other.keys() and all(
        np.array_equal(a, b) for name in one for a, b in zip(one[name], other[name], strict=True)
    )


@damage.cases
@hypothesis.given(data=strategies.data())
def test_bank(folder, data):
    whole = (folder / "whole.h5").read_bytes()
    content = data.draw(damage.damaged(whole, tokens=[b"tiles", b"image", b"checksum", b"TREE", b"OHDR"]))
    bank = damage.read(tiles.Bank, folder / "bank.h5", content)
    assert bank is None or equal(layers(bank), layers(tiles.Bank(folder / "whole.h5")))


@damage.cases
@hypothesis.given(data=strategies.data())
def test_bank_of_earlier_versions(folder, data):
    """Without checksums noise is not seen, but what is read has the form of tiles."""
    old = folder / "old.h5"
    if not old.exists():
        import h5py

        with h5py.File(folder / "whole.h5") as file, h5py.File(old, "w") as made:
            made.attrs["settings"] = file.attrs["settings"]
            for group in file["tiles"].values():
                file.copy(group, made.require_group("tiles"), name=group.attrs["name"].replace("/", "|"))
            for group in made["tiles"].values():
                del group.attrs["checksum"]
    content = data.draw(damage.damaged(old.read_bytes(), tokens=[b"tiles", b"image", b"TREE", b"SNOD", b"HEAP"]))
    bank = damage.read(tiles.Bank, folder / "bank.h5", content)
    for tile in bank.tiles if bank else ():
        height, width, _ = tile.image.shape
        assert tile.image.shape == tile.background.shape and min(height, width) >= 64
        assert tile.eosin.shape == tile.grain.shape == (height, width) and tile.colour.shape == (3,)


def asked(folder):
    bank = tiles.Bank(folder / "whole.h5")
    return specification.Specification(SETTINGS, 3, 64, 3, str(bank.path), specification.fingerprint(bank))


@damage.cases
@hypothesis.given(data=strategies.data())
def test_data_set_that_goes_on(folder, data):
    content = data.draw(damage.damaged((folder / "set.h5").read_bytes(), tokens=[b"image", b"OHDR", b"FADB"]))
    wanted = asked(folder)
    store = damage.read(lambda path: hdf5.Store(path, wanted), folder / "a.h5", content)
    assert store is None or 0 <= store.kept <= store.held <= 3


@damage.cases
@hypothesis.given(data=strategies.data())
def test_data_set_that_is_read(folder, data):
    whole = folder / "set.h5"
    content = data.draw(damage.damaged(whole.read_bytes(), tokens=[b"image", b"OHDR", b"FADB"]))

    def patches(path):
        return list(dataset.read(path).as_numpy_iterator())

    read = damage.read(patches, folder / "a.h5", content, (ValueError, OSError, tf.errors.InvalidArgumentError))
    if read is not None:
        assert len(read) == 3
        for patch, expected in zip(read, patches(whole), strict=True):
            assert all(np.array_equal(patch[name], expected[name]) for name in hdf5.FIELDS)


@damage.cases
@hypothesis.given(data=strategies.data())
def test_provenance(folder, data):
    whole = (folder / "release/provenance.csv").read_bytes()
    content = data.draw(damage.damaged(whole, tokens=[b"0", b",", b'"', b"\n", b"\r"]))
    rows = damage.read(lambda path: list(folders.rows(path)), folder / "provenance.csv", content)
    assert all(isinstance(index, int) for index, *_ in rows or ())
