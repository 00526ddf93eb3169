"""What an HDF5 file holds itself: a link, or storage elsewhere, would have any file of the disk read in its place."""

import h5py

PACKED_MOST = 1100  # bytes that one byte of a file can stand for: deflate's limit is 1032


def member(group, name, kind=h5py.Dataset):
    """A member of a group that lies in the group's own file.

    Args:
        group: `h5py.Group` or `h5py.File`.
        name: of the member.
        kind: `h5py.Dataset` or `h5py.Group`.

    Raises:
        KeyError: if there is no such member.
        ValueError: if it is a link, of another kind, stored in other files, or larger than anything in this file.
    """
    link = group.get(name, getlink=True)
    if link is None:
        raise KeyError(f"no {name}")
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name} is a link to elsewhere")
    held = group[name]
    if not isinstance(held, kind):
        raise ValueError(f"{name} is no {kind.__name__.lower()}")
    if kind is h5py.Dataset:
        if held.external or held.is_virtual:
            raise ValueError(f"{name} is stored in other files")
        if held.nbytes > PACKED_MOST * held.id.get_storage_size():
            raise ValueError(f"{name} of {held.nbytes} bytes is not there")
    return held
