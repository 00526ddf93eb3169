import json
import os

import cv2
import h5py
import numpy as np
import pytest
import tensorflow as tf

from data import synthetic
from data.sets import dataset, folders, hdf5, specification
from hou_synth import config

SETTINGS = config.preset("release")
COUNT, SIDE, SEED = 21, 64, 3
HDF5 = ("image", "labels", "mask", "reference")


@pytest.fixture(autouse=True)
def shards_of_eight(monkeypatch):
    monkeypatch.setattr(specification, "SHARD", 8)


def asked(bank, count=COUNT, **changes):
    values = {"config": SETTINGS, "seed": SEED, "side": SIDE, "count": count, **changes}
    return specification.Specification(bank=str(bank.path), tiles=specification.fingerprint(bank), **values)


def fill(store, shards=None):
    """Makes some or all of the missing shards, and finishes if all."""
    store.begin()
    missing = store.missing()
    for start in missing[:shards]:
        store.write(start)
    if shards is None:
        store.finish()
    return missing


def content(path):
    with h5py.File(path) as file:
        return {name: file[name][()] for name in file}, dict(file.attrs)


def same(one, other):
    arrays = all(np.array_equal(one[0][name], other[0][name]) for name in one[0])
    return arrays and one[0].keys() == other[0].keys() and one[1] == other[1]


@pytest.fixture(scope="module")
def made(bank, tmp_path_factory):
    """A finished file, not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(specification, "SHARD", 8)
        path = tmp_path_factory.mktemp("made") / "made.h5"
        fill(hdf5.Store(path, asked(bank)))
    return path


def test_the_file_holds_the_examples_and_says_what_it_is(bank, made):
    with h5py.File(made) as file:
        for index in (0, 8, 20):
            example = synthetic.example(bank, SEED, index, SIDE, SETTINGS.synthesis)
            for name in ("image", "labels", "reference"):
                assert np.array_equal(file[name][index], getattr(example, name))
            assert np.array_equal(file["mask"][index], example.target(SETTINGS.losses))
            assert json.loads(file["provenance"][index])["index"] == index
        assert np.array_equal(file["mask"][()] & 1 > 0, file["labels"][()] > 0) and file["labels"][()].any()
        assert file["labels"].dtype == np.uint16 and file["image"].chunks == (1, SIDE, SIDE, 3)
        assert file["tiles"].asstr()[()].tolist() == ["a/tile.png", "b/tile.png"]
        assert (file.attrs["seed"], file.attrs["size"], file.attrs["complete"]) == (SEED, SIDE, COUNT)
        assert json.loads(file.attrs["config"])["synthesis"]["distractors"] == SETTINGS.synthesis.distractors
    assert os.listdir(made.parent) == ["made.h5"]


def test_it_goes_on_shard_by_shard_to_the_same_content(bank, made, tmp_path):
    path = tmp_path / "a.h5"
    assert fill(hdf5.Store(path, asked(bank)), 1) == [0, 8, 16]
    assert fill(hdf5.Store(path, asked(bank)), 1) == [8, 16]
    (tmp_path / "a.h5.parts/00000008.h5").write_bytes(b"half")
    (tmp_path / "a.h5.parts/00000016.h5.77.part").write_bytes(b"half")
    (tmp_path / "a.h5.77.part").write_bytes(b"half")
    assert fill(hdf5.Store(path, asked(bank))) == [8, 16]
    assert same(content(path), content(made)) and os.listdir(tmp_path) == ["a.h5"]


def test_a_larger_count_goes_on_from_the_finished_file(bank, made, tmp_path):
    path = tmp_path / "a.h5"
    fill(hdf5.Store(path, asked(bank, 10)))
    assert fill(hdf5.Store(path, asked(bank))) == [10, 18]
    assert same(content(path), content(made))
    with pytest.raises(ValueError, match="at least 21.*10"):
        hdf5.Store(path, asked(bank, 10))


def test_another_request_is_refused_by_name(bank, made, tmp_path):
    fill(hdf5.Store(tmp_path / "a.h5", asked(bank)), 1)
    other = config.preset("release", distractors=5)
    for path in (made, tmp_path / "a.h5"):
        with pytest.raises(ValueError, match="seed: 3 != 4"):
            hdf5.Store(path, asked(bank, seed=4))
        with pytest.raises(ValueError, match="size: 64 != 70"):
            hdf5.Store(path, asked(bank, side=70))
        with pytest.raises(ValueError, match="distractors: 99 != 5"):
            hdf5.Store(path, asked(bank, config=other))
    hdf5.Store(made, asked(bank, config=config.preset("release", gamma=1.0)))


def test_another_bank_under_the_same_name_is_refused(bank):
    wanted = specification.Specification(SETTINGS, SEED, SIDE, COUNT, str(bank.path), "0123")
    with pytest.raises(ValueError, match="tile bank.*0123"):
        list(wanted.examples(0))


@pytest.mark.parametrize("share", [0.15, 0.5, 0.97])
def test_a_truncated_file_says_what_is_intact_and_goes_on_from_there(bank, made, tmp_path, share):
    path = tmp_path / "a.h5"
    path.write_bytes(made.read_bytes()[: int(made.stat().st_size * share)])
    store = hdf5.Store(path, asked(bank))
    assert abs(store.kept - COUNT * share) < 3
    with pytest.raises(ValueError, match=f"intact: patches 0 to {store.kept - 1} of {COUNT}"):
        dataset.read(path)
    assert fill(store) == list(range(store.kept, COUNT, 8))
    assert same(content(path), content(made))


def test_a_damaged_patch_is_noticed(bank, made, tmp_path):
    path, whole = tmp_path / "a.h5", bytearray(made.read_bytes())
    with h5py.File(made) as file:
        offset = file["reference"].id.get_chunk_info_by_coord((13, 0, 0, 0)).byte_offset
    whole[offset + 100] ^= 255
    path.write_bytes(whole)
    with pytest.raises(tf.errors.InvalidArgumentError, match="patch 13 of .*a.h5"):
        list(dataset.read(path))
    store = hdf5.Store(path, asked(bank))
    assert store.kept == 13
    fill(store)
    assert same(content(path), content(made))


def test_what_is_no_data_set_is_told_and_not_touched(bank, tmp_path):
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    for path in (tmp_path / "text.h5", tmp_path / "cut.h5", tmp_path / "nowhere/a.h5", bank.path):
        with pytest.raises(ValueError, match=f"Expected a data set.*{path.name}"):
            dataset.read(path)
        if path.exists():
            with pytest.raises(ValueError, match=f"Expected a data set.*{path.name}"):
                hdf5.Store(path, asked(bank))
    with pytest.raises(ValueError, match="Expected a data set"):
        hdf5.Store(tmp_path, asked(bank))
    with pytest.raises(ValueError, match="does not exist yet"):
        folders.Store(tmp_path, asked(bank))


def test_the_release_layout_holds_the_same_patches(bank, made, tmp_path):
    folder = tmp_path / "release"
    fill(folders.Store(folder, asked(bank)))
    arrays, _ = content(made)
    for index in range(COUNT):
        name = f"{index:06d}.png"
        assert np.array_equal(cv2.imread(str(folder / "image" / name))[..., ::-1], arrays["image"][index])
        assert np.array_equal(cv2.imread(str(folder / "refer" / name))[..., ::-1], arrays["reference"][index])
        assert np.array_equal(cv2.imread(str(folder / "mask" / name), cv2.IMREAD_UNCHANGED), arrays["mask"][index])
    assert config.load(folder / "config.json") == SETTINGS
    lines = (folder / "provenance.csv").read_text().splitlines()
    assert lines[0].startswith("index,tile,type") and [line.split(",")[0] for line in lines[1:]] == list(
        map(str, range(COUNT))
    )
    assert sorted(os.listdir(folder)) == ["config.json", "image", "mask", "provenance.csv", "refer", "request.json"]


def test_the_release_layout_goes_on_where_a_file_is_missing(bank, tmp_path):
    folder = tmp_path / "release"
    assert fill(folders.Store(folder, asked(bank, 10)), 1) == [0, 8]
    assert fill(folders.Store(folder, asked(bank, 10))) == [8]
    table = (folder / "provenance.csv").read_bytes()
    os.remove(folder / "refer/000009.png")
    assert fill(folders.Store(folder, asked(bank, 10))) == [8]
    assert (folder / "provenance.csv").read_bytes() == table and (folder / "refer/000009.png").exists()
    assert fill(folders.Store(folder, asked(bank))) == [8, 16]
    assert (folder / "provenance.csv").read_bytes().startswith(table)
    assert len((folder / "provenance.csv").read_text().splitlines()) == COUNT + 1
    with pytest.raises(ValueError, match="seed"):
        folders.Store(folder, asked(bank, seed=9))
    with pytest.raises(ValueError, match="at least 21"):
        folders.Store(folder, asked(bank, 10))


def test_the_reader_gives_what_the_file_holds(made):
    data, (arrays, _) = dataset.read(made), content(made)
    assert data.cardinality() == COUNT
    read = list(data.as_numpy_iterator())
    assert [set(patch) for patch in read] == [set(HDF5)] * COUNT
    assert all(np.array_equal(patch[name], arrays[name][i]) for i, patch in enumerate(read) for name in HDF5)
    assert data.element_spec["labels"] == tf.TensorSpec((SIDE, SIDE), tf.uint16)
    assert data.skip(5).batch(4).element_spec["image"].shape == (None, SIDE, SIDE, 3)


def test_the_reader_gives_what_the_folders_hold(bank, made, tmp_path):
    with pytest.raises(ValueError, match="provenance.csv"):
        dataset.read(tmp_path)
    fill(folders.Store(tmp_path / "release", asked(bank, 5)))
    read, (arrays, _) = list(dataset.read(tmp_path / "release").as_numpy_iterator()), content(made)
    assert len(read) == 5 and set(read[0]) == {"image", "mask", "reference"}
    assert all(np.array_equal(patch[name], arrays[name][i]) for i, patch in enumerate(read) for name in patch)


@pytest.mark.parametrize("content", ["", "[1]", '{"seed":', "\udcff"])
def test_a_damaged_record_of_the_request_is_named(bank, tmp_path, content):
    fill(hdf5.Store(tmp_path / "a.h5", asked(bank)), 1)
    (tmp_path / "a.h5.parts/request.json").write_text(content, errors="surrogateescape")
    with pytest.raises(ValueError, match="a.h5.parts/request.json"):
        hdf5.Store(tmp_path / "a.h5", asked(bank))
    assert (tmp_path / "a.h5.parts/00000000.h5").exists()


@pytest.mark.parametrize("content", [b"", b"index\n0,\xff", b"index\n\n", b'index\n"0'])
def test_a_damaged_table_of_provenance_costs_its_shard_at_most(bank, tmp_path, content):
    folder = tmp_path / "release"
    fill(folders.Store(folder, asked(bank)), 2)
    (folder / "provenance.parts/00000000.csv").write_bytes(content)
    assert fill(folders.Store(folder, asked(bank))) == [0, 16]
    if content:
        (folder / "provenance.csv").write_bytes(content)
        with pytest.raises(ValueError, match="release/provenance.csv, which is damaged"):
            folders.Store(folder, asked(bank))


def test_a_damaged_png_is_named(bank, tmp_path):
    fill(folders.Store(tmp_path / "release", asked(bank, 5)))
    (tmp_path / "release/mask/000003.png").write_bytes(b"no image")
    with pytest.raises(tf.errors.InvalidArgumentError, match="mask/000003.png"):
        list(dataset.read(tmp_path / "release"))


@pytest.mark.parametrize("name", ["image", "provenance"])
def test_links_in_a_data_set_are_not_followed(bank, made, tmp_path, name):
    path = tmp_path / "a.h5"
    path.write_bytes(made.read_bytes())
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = h5py.ExternalLink(str(made), name)
    for opened in (lambda: dataset.read(path), lambda: hdf5.Store(path, asked(bank))):
        with pytest.raises(ValueError, match=f"a.h5.*{name} is a link"):
            opened()


def test_arrays_that_do_not_go_together_are_no_data_set(bank, made, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(made.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["labels"]
        file["labels"] = np.zeros((COUNT, SIDE, SIDE - 1), np.uint16)
    with pytest.raises(ValueError, match="a.h5.*labels of shape"):
        dataset.read(path)


def test_an_identity_that_is_no_object_is_named(bank, made, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(made.read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["identity"] = "[1]"
    with pytest.raises(ValueError, match="data set of this version.*a.h5"):
        hdf5.Store(path, asked(bank))
