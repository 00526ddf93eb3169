"""The answers of readers: one SQLite file in the folder of the study, written by any number of readers at once."""

import contextlib
import dataclasses
import datetime
import pathlib
import sqlite3

FILE = "answers.sqlite"
WAIT = 30.0  # seconds that an answer waits for that of another reader; ours
TABLE = """CREATE TABLE IF NOT EXISTS answers (
    reader TEXT NOT NULL, item INTEGER NOT NULL, answer TEXT NOT NULL, seconds REAL NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (reader, item))"""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a reader says of an item.

    Attributes:
        reader: name.
        item: its number.
        answer: one that the study's question has, see `train.studies.study.ANSWERS`.
        seconds: that it was looked at.
        at: when, UTC, ISO 8601.
    """

    reader: str
    item: int
    answer: str
    seconds: float
    at: str


def every(folder):
    """All answers, list of `Answer`, each reader's in the order in which they were given; empty without a file.

    Raises:
        ValueError: naming the file, if it is damaged.
    """
    path = pathlib.Path(folder) / FILE
    if not path.is_file():
        return []
    with _opened(path, "ro") as database:
        rows = database.execute("SELECT reader, item, answer, seconds, at FROM answers ORDER BY reader, rowid")
        return [Answer(*row) for row in rows]


def give(folder, reader, item, answer, seconds):
    """Keeps an answer, in place of an earlier one of the same reader to the same item; arguments as of `Answer`."""
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with _opened(pathlib.Path(folder) / FILE, "rwc") as database:
        database.execute(TABLE)
        database.execute("REPLACE INTO answers VALUES (?, ?, ?, ?, ?)", (reader, item, answer, seconds, at))


def take_back(folder, reader):
    """Forgets the last answer of a reader, if there is one."""
    with _opened(pathlib.Path(folder) / FILE, "rwc") as database:
        database.execute(TABLE)
        last = "SELECT max(rowid) FROM answers WHERE reader = ?"
        database.execute(f"DELETE FROM answers WHERE rowid = ({last})", (reader,))


@contextlib.contextmanager
def _opened(path, mode):
    """A connection whose changes are kept together at its end; an error of SQLite names the file."""
    try:
        address = f"{path.resolve().as_uri()}?mode={mode}"
        with contextlib.closing(sqlite3.connect(address, WAIT, uri=True)) as database, database:
            yield database
    except sqlite3.Error as error:
        raise ValueError(f"Expected the answers of a study. Received: {path} ({error}).") from error
