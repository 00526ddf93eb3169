import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from data.labelled import maps

WIDE = np.array([[0, 1, 1], [7, 0, 1]])


def test_miccai_is_width_and_height_then_row_by_row(tmp_path):
    path = tmp_path / "a_mask.txt"
    path.write_text("\t3 2\r\n0\n1\n1\n7\n0\n1\n")
    labels = maps.miccai(path)
    np.testing.assert_array_equal(labels, WIDE)
    assert labels.dtype == np.int32
    path.write_text("2 1\n0\n0")
    assert not maps.miccai(path).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0x0 and 0 labels"),
        ("3", "0x0 and 0 labels"),
        ("3 2\n0\n1\n1\n7\n0", "3x2 and 5 labels"),
        ("3 2\n0\n1\n1\n7\n0\n1\n0", "3x2 and 7 labels"),
        ("-1 -1\n0", "-1x-1"),
        ("2 1\n0\n1.5", "1.5"),
        ("2 1\n0\nnucleus", "nucleus"),
        ("2 1\n0\n-4", "-4"),
        ("2 1\n0\n2147483648", "2147483648"),
    ],
)
def test_miccai_that_is_malformed(tmp_path, text, message):
    (tmp_path / "a_mask.txt").write_text(text)
    with pytest.raises(ValueError, match=f"a_mask.txt.*{message}"):
        maps.miccai(tmp_path / "a_mask.txt")


def matlab_73(path, **arrays):
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = array.T


@pytest.mark.parametrize("dtype", [np.float64, np.uint16, np.int32])
def test_matlab_of_every_version(tmp_path, dtype):
    values = WIDE.astype(dtype)
    scipy.io.savemat(tmp_path / "plain.mat", {"inst_map": values, "type_map": values[:1]})
    scipy.io.savemat(tmp_path / "small.mat", {"inst_map": values}, do_compression=True)
    scipy.io.savemat(tmp_path / "old.mat", {"inst_map": values}, format="4")
    matlab_73(tmp_path / "new.mat", inst_map=values)
    for name in ("plain", "small", "old", "new"):
        labels = maps.matlab(tmp_path / f"{name}.mat")
        np.testing.assert_array_equal(labels, WIDE)
        assert labels.dtype == np.int32


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, 0.5]]),
        np.array([[0, np.nan]]),
        np.array([[0, np.inf]]),
        np.array([[0, -1]]),
        np.array([[0, 2.0**31]]),
        np.zeros((2, 2, 3)),
        np.array([[1j, 0]]),
        np.array([["a", "b"]]),
        np.zeros((0, 0)),
        scipy.sparse.csc_array(np.eye(3)),
    ],
)
def test_matlab_without_a_map_of_ids(tmp_path, values):
    scipy.io.savemat(tmp_path / "a.mat", {"inst_map": values})
    with pytest.raises(ValueError, match="a.mat"):
        maps.matlab(tmp_path / "a.mat")


def test_matlab_without_inst_map(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"type_map": WIDE})
    matlab_73(tmp_path / "b.mat", type_map=WIDE)
    for name in ("a.mat", "b.mat"):
        with pytest.raises(ValueError, match=f"inst_map.*{name}"):
            maps.matlab(tmp_path / name)


@pytest.mark.parametrize("write", [lambda path: scipy.io.savemat(path, {"inst_map": np.eye(90)}), None])
def test_matlab_that_is_damaged(tmp_path, write):
    path = tmp_path / "a.mat"
    write(path) if write else matlab_73(path, inst_map=np.eye(90))
    whole = path.read_bytes()
    for content in (b"", b"no MATLAB file at all", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="readable.*a.mat"):
            maps.matlab(path)


@pytest.mark.parametrize("link", [h5py.ExternalLink("other.mat", "inst_map"), h5py.SoftLink("/type_map")])
def test_links_in_a_matlab_file_are_not_followed(tmp_path, link):
    matlab_73(tmp_path / "other.mat", inst_map=WIDE)
    matlab_73(tmp_path / "a.mat", type_map=WIDE)
    with h5py.File(tmp_path / "a.mat", "r+") as file:
        file["inst_map"] = link
    with pytest.raises(ValueError, match="a.mat.*link"):
        maps.matlab(tmp_path / "a.mat")


def test_a_matlab_map_stored_in_other_files_is_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(range(64)))
    matlab_73(tmp_path / "other.mat", inst_map=WIDE)
    layout = h5py.VirtualLayout(WIDE.T.shape, WIDE.dtype)
    layout[:] = h5py.VirtualSource(tmp_path / "other.mat", "inst_map", WIDE.T.shape)
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file.create_dataset("inst_map", (8, 8), np.uint8, external=[(str(tmp_path / "secret"), 0, 64)])
    with h5py.File(tmp_path / "b.mat", "w") as file:
        file.create_virtual_dataset("inst_map", layout)
    for name in ("a.mat", "b.mat"):
        with pytest.raises(ValueError, match=f"{name}.*other files"):
            maps.matlab(tmp_path / name)


def test_a_matlab_map_that_only_claims_its_size_is_not_read(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file.create_dataset("inst_map", (10**5, 10**5), np.int32, chunks=(100, 100))[0, 0] = 1
    with pytest.raises(ValueError, match="a.mat.*40000000000 bytes"):
        maps.matlab(tmp_path / "a.mat")
