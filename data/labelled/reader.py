"""Labelled images of any of the field's formats: image and label map together.

for item in reader.read_folder("MoNuSeg"):
    item = reader.at_40x(item)
    item.image, item.labels
"""

import dataclasses
import pathlib

import numpy as np

from data.labelled import FORMATS, TABLE, annotations, discovery, maps
from hou_synth import inference, instances
from hou_synth.io import image_files

READERS = {"plain": image_files.read, "miccai": maps.miccai, "matlab": maps.matlab}


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image and where its labels are; nothing is read yet.

    Attributes:
        name: stem of the image, unique in a set.
        image: path.
        truth: path of the label file.
        format: one of `FORMATS`.
        type: tissue type.
        microns_per_pixel: resolution of the image if it is known before reading, else None.
    """

    name: str
    image: pathlib.Path
    truth: pathlib.Path
    format: str
    type: str
    microns_per_pixel: float | None = None


@dataclasses.dataclass(frozen=True)
class Labelled:
    """An image and its nuclei.

    Attributes:
        name: stem of the image, unique in a set.
        type: tissue type.
        image: (h, w, 3) uint8 RGB.
        labels: (h, w) int32, ids 1..n, 0 = background; in pseudo-labels also `data.patches.UNKNOWN`.
        microns_per_pixel: resolution of these two arrays.
    """

    name: str
    type: str
    image: np.ndarray
    labels: np.ndarray
    microns_per_pixel: float


def find(folder, format=None, table=None, microns_per_pixel=None, on_error=None):
    """Images of a folder, at any depth, with their label files.

    The formats, of which the files' names tell the one in use:

        plain    x.png   x_labels.png, .tif, .tiff or .npy
        miccai   x.png   x_mask.txt
        aperio   x.tif   x.xml           [MoNuSeg, Kumar]
        matlab   x.png   x.mat           [CoNSeP, CPM17]
        qupath   x.png   x.geojson       [QuPath, hou_synth.segment]

    The label file lies beside the image, or in a folder called labels, annotations or masks that lies in or
    beside the image's. The tissue type is the table's, else the first folder level, else the organ of the TCGA
    barcode in the name, else the folder's name.

    Args:
        folder: path.
        format: one of `FORMATS`, which then is the only one looked for; None for all.
        table: CSV file, see `data.labelled.discovery.table`; None for `images.csv` in the folder if that exists.
        microns_per_pixel: resolution of all images; None for the table's.
        on_error: called with the `ValueError` of each image that has no or several label files or shares its stem
            with another, and of each label file without image, which then are left out; None to raise it.

    Returns:
        List of `Entry`, sorted by path.

    Raises:
        ValueError: if there is no such folder, no image in it, or the format, table or resolution is wrong.
        OSError: if `table` cannot be read.
    """
    folder = pathlib.Path(folder).resolve()
    if format is not None and format not in FORMATS:
        raise ValueError(f"Expected a format out of {', '.join(FORMATS)}. Received: {format!r}.")
    if not folder.is_dir():
        raise ValueError(f"Expected a folder of labelled images. Received: {folder}, which is not a folder.")
    if microns_per_pixel is not None:
        microns_per_pixel = annotations.resolution(microns_per_pixel, "microns_per_pixel")
    pairs = discovery.pairs(folder, format, on_error or _raise)
    if not pairs:
        raise ValueError(f"Expected PNG, JPEG or TIFF images with labels in {folder}. Received: none.")
    table = table or (folder / TABLE if (folder / TABLE).is_file() else None)
    rows = discovery.table(table, [image for image, _, _ in pairs]) if table else {}
    entries = []
    for image, truth, kind in pairs:
        tissue, per_pixel = rows.get(image.stem, (None, None))
        if truth:
            tissue = tissue or discovery.tissue(image, folder)
            entries.append(Entry(image.stem, image, truth, kind, tissue, microns_per_pixel or per_pixel))
    return entries


def _raise(error):
    raise error


def read(entry):
    """The image and the label map of an `Entry`, at the resolution they are stored in.

    Args:
        entry: `Entry`; one without a resolution gets the label file's if that tells it, else 0.25.

    Returns:
        A `Labelled`. Ids are consecutive in the order of the file's; no nucleus at all is fine.

    Raises:
        ValueError: naming the file that is empty or malformed, or both if their sizes differ.
        OSError: if a file cannot be read.
    """
    image = image_files.image(entry.image)
    nuclei, per_pixel = _truth(entry, image.shape[:2])
    if nuclei.shape != image.shape[:2]:
        raise ValueError(
            f"Expected labels of the size of the image. Received: {entry.truth} of shape {nuclei.shape}, "
            f"{entry.image} of shape {image.shape[:2]}."
        )
    per_pixel = entry.microns_per_pixel or per_pixel or inference.MICRONS_PER_PIXEL
    return Labelled(entry.name, entry.type, image, _consecutive(nuclei), per_pixel)


def _truth(entry, size):
    """Label map of an entry, and microns per pixel if the file tells them."""
    if entry.format == "aperio":
        return annotations.aperio(entry.truth, size)
    if entry.format == "qupath":
        return annotations.qupath(entry.truth, size), None
    return READERS[entry.format](entry.truth), None


def _consecutive(nuclei):
    """Label map with ids 1..n in the old order, of any ids."""
    if nuclei.max() > nuclei.size:  # counting up to it, as `consecutive` does, could take gigabytes
        nuclei = np.searchsorted(np.union1d(nuclei, 0), nuclei)
    return instances.consecutive(nuclei)


def at_40x(labelled):
    """A `Labelled` resampled to 0.25 microns per pixel, the labels by nearest pixel; itself if within 5 % of it.

    Ids stay 1..n if a nucleus vanishes.
    """
    image = inference.at_40x(labelled.image, labelled.microns_per_pixel)
    if image is labelled.image:
        return labelled
    nuclei = inference.on_pixels(labelled.labels, image.shape[:2])
    return dataclasses.replace(labelled, image=image, labels=nuclei, microns_per_pixel=inference.MICRONS_PER_PIXEL)


def read_folder(folder, format=None, table=None, microns_per_pixel=None, on_error=None):
    """Iterator of the `Labelled` of a folder, read one by one, at the resolution they are stored in.

    Args:
        folder: path; this and the further arguments as for `find`, which is called at once.
        format: as for `find`.
        table: as for `find`.
        microns_per_pixel: as for `find`.
        on_error: as for `find`; also called with the `ValueError` or `OSError` of `read`.

    Raises:
        ValueError: as `find` and `read`.
        OSError: as `find` and `read`.
    """
    return _each(find(folder, format, table, microns_per_pixel, on_error), on_error or _raise)


def _each(entries, fail):
    for entry in entries:
        try:
            item = read(entry)
        except (ValueError, OSError) as error:
            fail(error)
            continue
        yield item
