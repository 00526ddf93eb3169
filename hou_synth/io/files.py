"""Files that are either complete or not there: written under a temporary name, then renamed."""

import contextlib
import csv
import os
import pathlib
import re

FORMULA = re.compile(r"'*[=+\-@\t\r\n]")  # what a spreadsheet would compute a cell by, or what hides it [OWASP]


@contextlib.contextmanager
def replacing(path):
    """Context that gives a temporary path and renames it to `path` when its body succeeds.

    Args:
        path: the file to write; one that exists is replaced, never half overwritten.

    Yields:
        The temporary path, beside `path`; removed when the body fails.

    Raises:
        OSError: naming `path`, when writing fails (disk full, no such folder, ...).
        ValueError: if `path` is a folder or a device, which a rename would replace.
    """
    path = pathlib.Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"Expected the name of a regular file to write. Received: {path}.")
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def below(folder):
    """Files of a folder at any depth, sorted paths; links to folders are followed, each folder is read once."""
    paths, read = [], set()
    for top, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        place = os.path.realpath(top)
        if place in read:
            folders.clear()  # a link to a folder further up would never end
            continue
        read.add(place)
        paths += [pathlib.Path(top, name) for name in names]
    return sorted(path for path in paths if path.is_file())


def refuse_existing(path):
    """Raises ValueError if an output of a command, a file or a folder that holds something, is already there."""
    path = pathlib.Path(path)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise ValueError(f"Expected an output that does not exist yet. Received: {path}.")


def sizes(paths):
    """Bytes of files by name, to be recorded when all of them are there."""
    return {path.name: path.stat().st_size for path in paths}


def as_recorded(recorded, folder):
    """Whether the files of a folder that `sizes` recorded are there with these sizes; not if nothing was recorded."""
    try:
        return bool(recorded) and sizes([folder / name for name in recorded]) == recorded
    except (OSError, ValueError, TypeError):  # one is gone, or the record is none
        return False


def write_bytes(path, content):
    """Writes bytes to a file, atomically."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path, text):
    """Writes UTF-8 text to a file, atomically."""
    write_bytes(path, text.encode())


def write_png(path, image):
    """Writes an image as PNG, atomically.

    Args:
        path: the file's name.
        image: (h, w, 3) uint8 RGB, or (h, w) uint8 or uint16.
    """
    import cv2  # here, as most of what writes files draws nothing, and --help is to be quick

    channels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    write_bytes(path, cv2.imencode(".png", channels)[1].tobytes())


def write_csv(path, rows, columns):
    """Writes a table as CSV, atomically.

    A text that a spreadsheet would take for a formula gets an apostrophe in front, which `read_csv` takes away.

    Args:
        path: the file's name.
        rows: list of dicts.
        columns: the keys to write, in order; they are the header, also of an empty table.
    """
    with replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _harmless(value) for key, value in row.items()} for row in rows)


def _harmless(value):
    """A cell's value, in front of it an apostrophe if it is a text, and no number, that begins as a formula does."""
    if not isinstance(value, str) or not FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value


def _meant(text):
    """The text that `_harmless` made a cell of."""
    return text[1:] if text.startswith("'") and FORMULA.match(text) else text


def read_csv(path, columns=()):
    """Rows of a table in CSV, as texts.

    Args:
        path: the file's name.
        columns: names that its header must have; it may have more.

    Returns:
        List of dicts column -> text, empty for a table of a header alone.

    Raises:
        ValueError: naming the file, if it is no such table, is cut off within a row, or is not UTF-8.
        OSError: naming the file, if it cannot be read.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, skipinitialspace=True, strict=True)
        try:
            lines = [line for line in reader if line]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"Expected a table in CSV, in UTF-8. Received: {path} ({error}).") from error
    header = [name.strip() for name in lines[0]] if lines else []
    missing = [name for name in columns if name not in header]
    if missing or not header:
        raise ValueError(f"Expected a table with column {(*missing, 'names')[0]}. Received: {path} with {header}.")
    for number, line in enumerate(lines[1:], start=1):
        if len(line) != len(header):
            raise ValueError(f"Expected {len(header)} cells in row {number} of {path}. Received: {len(line)}.")
    return [dict(zip(header, map(_meant, line), strict=True)) for line in lines[1:]]
