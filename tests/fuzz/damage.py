"""Files as they come out of failing disks, cut transfers and other programs: what every reader has to bear."""

import contextlib
import signal

import hypothesis
from hypothesis import strategies

CASES = 2000  # of every reader
PATIENCE = 20  # seconds that a reader has for a file of a few kilobytes, on a busy machine
NUMBERS = [b"-1", b"0", b"1e999", b"1e-999", b"nan", b"4294967296", b"9" * 400, b"\xd9\xa3", b"\xff", b"\x00", b""]

cases = hypothesis.settings(
    max_examples=CASES,
    derandomize=True,  # the same cases every time
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def damaged(*whole, tokens=()):
    """Strategy of bytes: random ones, and valid files with a few bytes flipped, cut out, put in or said twice.

    Args:
        *whole: bytes of valid files.
        tokens: bytes that are also put in, words of the format.
    """
    place = strategies.floats(0, 1)
    pieces = strategies.binary(min_size=1, max_size=9) | strategies.sampled_from([*tokens, *NUMBERS])
    edits = strategies.tuples(strategies.sampled_from(EDITS), place, strategies.integers(0, 400), pieces)
    changed = strategies.builds(_edited, strategies.sampled_from(whole), strategies.lists(edits, max_size=6))
    return strategies.one_of(changed, changed, changed, strategies.binary(max_size=300))


def _edited(content, edits):
    for edit, place, length, piece in edits:
        start = int(place * len(content))
        content = edit(content, start, start + length, piece)
    return content


def _flipped(content, start, stop, piece):
    return (
        content[:start] + bytes(byte ^ piece[0] for byte in content[start : start + 1] if piece) + content[start + 1 :]
    )


def _overwritten(content, start, stop, piece):
    return content[:start] + piece + content[start + len(piece) :]


def _inserted(content, start, stop, piece):
    return content[:start] + piece + content[start:]


def _cut_out(content, start, stop, piece):
    return content[:start] + content[stop:]


def _cut_off(content, start, stop, piece):
    return content[:start]


def _twice(content, start, stop, piece):
    return content[:stop] + content[start:]


EDITS = [_flipped, _flipped, _overwritten, _overwritten, _inserted, _cut_out, _cut_off, _twice]


class Hung(BaseException):
    """A reader took longer than `PATIENCE`."""


@contextlib.contextmanager
def patience():
    """Context whose body has `PATIENCE` seconds."""

    def end(number, frame):
        raise Hung

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def read(reader, path, content, refusals=(ValueError, OSError)):
    """What a reader makes of a file of that content; None if it refuses it by name."""
    path.write_bytes(content)
    try:
        with patience():
            return reader(path)
    except refusals as error:
        assert path.name in str(error)
        return None
