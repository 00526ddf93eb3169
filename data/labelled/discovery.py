"""Which files of a folder belong together: images, their label files, tissue types, and a table about them."""

import collections
import re

from data.labelled import annotations
from hou_synth.io import files, image_files

MASK, RENDERED = "_mask", "_poly"  # imageNN_mask.txt and imageNN_poly.png of the MICCAI challenge
ENDINGS = {".xml": "aperio", ".mat": "matlab", ".geojson": "qupath"}
TRUTHS = ("labels", "annotations", "masks")  # folders of label files, in any case of letters
OVERLAYS = ("overlay", "overlays")  # folders of pictures, which CoNSeP and CPM17 have
IMAGES = ("images", "tissue images")  # folders of images
PARTS = ("train", "training", "test", "val", "validation")  # folders that are no tissue type either
SITES = {  # tissue source sites of Kumar's, MoNuSeg's and the glioma images [TCGA code tables, gdc.cancer.gov]
    "bladder": "CU DK G2 ZF",
    "brain": "02 06 08 12 14 19 CS DB DU FG HT",
    "breast": "A7 AC AO AR E2",
    "colon": "A6 AY NH",
    "kidney": "2Z B0 GL HE IZ",
    "lung": "18 21 38 44 49 50 69",  # named liver in Kumar's paper
    "prostate": "CH EJ G9 HC",
    "stomach": "KB RD",
}
ORGANS = {code: organ for organ, codes in SITES.items() for code in codes.split()}


def pairs(folder, format, fail):
    """Images and their label files.

    Label files are searched beside the image and in folders called labels, annotations or masks that lie in or
    beside the image's folder.

    Args:
        folder: `pathlib.Path`, searched at any depth.
        format: the only one of `data.labelled.FORMATS` to look for, or None for all.
        fail: called with a `ValueError` for each image that has no or several label files or shares its stem
            with another, and for each label file without image.

    Returns:
        List of (image, label file or None if that failed, format), sorted by path.
    """
    images, truths = _listing(folder, format)
    places = collections.defaultdict(set)
    for place, _ in truths:
        if place.name.lower() in TRUTHS:
            places[place.parent].add(place)
    stems = collections.Counter(image.stem for image in images)
    matched, used = [], set()
    for image in images:
        around = {image.parent} | places[image.parent] | places[image.parent.parent]
        candidates = sorted(pair for place in around for pair in truths.get((place, image.stem), ()))
        used.update(path for path, _ in candidates)
        if stems[image.stem] > 1:
            fail(ValueError(f"Expected images with different stems. Received: several {image.stem}, such as {image}."))
        elif len(candidates) != 1:
            fail(_not_one(image, candidates, format))
        matched.append((image, *(candidates[0] if len(candidates) == 1 and stems[image.stem] == 1 else (None, None))))
    for path in sorted({path for candidates in truths.values() for path, _ in candidates} - used):
        fail(ValueError(f"Expected an image for every label file. Received: {path} without one."))
    return matched


def _listing(folder, format):
    """Sorted paths of images, and (folder, stem of the image) -> list of (label file, format)."""
    images, truths = [], collections.defaultdict(list)
    for path, parts in _files(folder):
        truth = _truth(path)
        if truth and format in (None, truth[1]):
            truths[path.parent, truth[0]].append((path, truth[1]))
        if path.suffix.lower() in image_files.IMAGES and parts.isdisjoint(TRUTHS + OVERLAYS):
            images.append(path)
    return [path for path in images if not _derived(path)], truths


def _files(folder):
    """Pairs of a file, hidden ones left out, and the set of the folders' names, in small letters, it lies in."""
    beside = [p for p in folder.parent.iterdir() if p.name.lower() in TRUTHS] if _layer(folder.name) in IMAGES else []
    for top in (folder, *beside):
        for path in files.below(top):
            parts = path.relative_to(folder.parent).parts[1 if top == folder else 0 :]
            if not any(part.startswith((".", "__MACOSX")) for part in parts):
                yield path, {part.lower() for part in parts[:-1]}


def _truth(path):
    """Stem of the image and format that a label file's name stands for; None of other files."""
    stem, suffix = path.stem, path.suffix.lower()
    if suffix in image_files.MAPS and stem.endswith(image_files.SUFFIX):
        return stem.removesuffix(image_files.SUFFIX), "plain"
    if suffix == ".txt" and stem.endswith(MASK):
        return stem.removesuffix(MASK), "miccai"
    return (stem, ENDINGS[suffix]) if suffix in ENDINGS else None


def _derived(path):
    """Whether an image is only a label map or a picture of one."""
    rendered = path.stem.endswith(RENDERED)
    return path.stem.endswith(image_files.DERIVED) or (
        rendered and path.with_name(path.stem.removesuffix(RENDERED) + MASK + ".txt").is_file()
    )


def _not_one(image, candidates, format):
    """The error for an image that has no label file, or several."""
    if not candidates:
        stem = image.stem
        names = f"{stem}{image_files.SUFFIX}.png, {stem}{MASK}.txt, {stem}.xml, {stem}.mat or {stem}.geojson"
        return ValueError(f"Expected a label file ({format or names}) for {image}. Received: none.")
    several = " and ".join(f"{path} ({kind})" for path, kind in candidates)
    advice = " Pass a format." if len({kind for _, kind in candidates}) > 1 else ""
    return ValueError(f"Expected one label file for {image}. Received: {several}.{advice}")


def tissue(image, folder):
    """Tissue type by the first folder level, else by the TCGA barcode in the name, else by the folder's name.

    Folders that only say what is in them (images, train, ...) count as no level.

    Args:
        image: path of the image.
        folder: path of the set, above it.
    """
    levels = [name for name in image.relative_to(folder).parts[:-1] if not _neutral(name)]
    site = re.search(r"(?:^|\W|_)TCGA-(\w\w)-", image.stem)
    organ = ORGANS.get(site[1]) if site else None
    above = [name for name in (folder.name, folder.parent.name) if not _neutral(name)]
    return next(filter(None, [*levels[:1], organ, *above, folder.name]), "")


def _neutral(name):
    """Whether a folder's name tells nothing about the tissue."""
    return _layer(name) in IMAGES + PARTS


def _layer(name):
    """A folder's name in the way the names above are written."""
    return name.lower().replace("_", " ")


def table(path, images):
    """Tissue types and resolutions of a CSV file.

    Args:
        path: CSV file with a column `image`, a stem or file name, and optionally `type` and `microns_per_pixel`;
            empty cells say nothing.
        images: paths of the images of the set.

    Returns:
        Dict stem -> (type or None, microns per pixel or None).

    Raises:
        ValueError: naming the file, if it is not such a table, or has an image twice, one that is unknown, or a
            resolution that is not a number from 0.01 to 10.
        OSError: if there is no such file.
    """
    rows, known = {}, {**{image.name: image.stem for image in images}, **{image.stem: image.stem for image in images}}
    for row in files.read_csv(path, ["image"]):
        name = row["image"].strip()
        if name not in known or known[name] in rows:
            raise ValueError(f"Expected each image of the set at most once. Received: {name!r} in {path}.")
        rows[known[name]] = cells(row, f"{path}, image {name}")
    return rows


def cells(row, source):
    """Tissue type and microns per pixel of a row of a table, a dict of texts; None for an empty or missing cell.

    Raises:
        ValueError: naming `source`, for a resolution that is not a number from 0.01 to 10.
    """
    kind, number = (row.get(column, "").strip() for column in ("type", "microns_per_pixel"))
    return kind or None, annotations.resolution(number, source) if number else None
