"""Folders that one process at a time writes into."""

import contextlib
import errno
import fcntl
import os
import pathlib
import sys

NAME = ".lock"  # the file in the folder that is locked
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # a file system without locks, as some of clusters


@contextlib.contextmanager
def exclusive(folder):
    """Context in which no other process, and no other part of this one, is in the same context of the folder.

    The system ends the lock with the process, however that ends; only the empty file may stay, which then means
    nothing. On a file system without locks a line on stderr says so.

    Args:
        folder: a path; made if it is not there.

    Raises:
        ValueError: naming the folder, if another holds it.
        OSError: naming the file, if it cannot be written.
    """
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    path = pathlib.Path(folder) / NAME
    file = _locked(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # of a folder that was removed, or may no longer be written into
            path.unlink()
        os.close(file)


def _locked(path):
    """Descriptor of a locked file that still has its name: who holds the lock removes the file before the lock."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(file).st_ino:
                return file
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno in UNSUPPORTED:
                print(f"no locks on the file system of {path.parent}: write into it once at a time", file=sys.stderr)
                return file
            os.close(file)
            if not isinstance(error, BlockingIOError):
                raise OSError(error.errno, error.strerror, str(path)) from error
            raise ValueError(
                f"Expected a folder that nothing else writes into. Received: {path.parent}, which another process "
                "is using; wait for it, or name another folder."
            ) from None
        os.close(file)
