"""Synthetic examples in order from several processes, whatever their number.

The processes are plain interpreters and not those of `multiprocessing`, which would import the caller's main module
again, and with it TensorFlow.
"""

import contextlib
import ctypes
import fcntl
import functools
import itertools
import mmap
import os
import pickle
import queue
import select
import signal
import subprocess
import sys
import threading
import traceback

import cv2
import numpy as np

from data import synthetic, tiles

BLOCK = 16  # consecutive examples that a worker makes and sends together
AHEAD = 3  # results that wait in a worker, so that a slow one does not hold up the others
PIPE = 1 << 20  # bytes of a pipe's buffer, where the system lets it be set
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
WORD = np.dtype("<u8")
PIPED = 2**64 - 1  # in place of a place in the shared memory


class WorkerDied(OSError):
    """A worker process ended before its work did."""


def examples(bank, seed, side, synthesis, start=0, stop=None, workers=0):
    """Examples `start` to `stop - 1` of a seed, in order, the same for any number of workers.

    Closing the generator, or any exception in it, ends its processes.

    Args:
        bank: `data.tiles.Bank`; each worker opens its file by itself.
        seed: of the whole set.
        side: of the patches.
        synthesis: `Synthesis`.
        start: first index.
        stop: behind the last index; None for no end.
        workers: processes; 0 to compute in this one.

    Yields:
        `data.synthetic.Example`.

    Raises:
        WorkerDied: naming the worker, when one is killed; an exception inside a worker is passed on.
    """
    stop = sys.maxsize if stop is None else stop
    if workers == 0:
        for index in range(start, stop):
            yield synthetic.example(bank, seed, index, side, synthesis)
        return
    block = functools.partial(_block, str(bank.path), seed, side, synthesis, stop)
    with contextlib.closing(ordered(block, range(start, stop, BLOCK), workers)) as blocks:
        for made in blocks:
            yield from made


def ordered(function, starts, workers):
    """The results of `function(start)` for every start, in their order, computed by worker processes.

    Start number k is the work of worker k % workers.

    Args:
        function: picklable, of a module that can be imported.
        starts: range or list; indices of patches, to be named when a worker dies.
        workers: processes; 0 to compute in this one.

    Yields:
        What the function returns.

    Raises:
        WorkerDied: as `examples`.
    """
    if workers == 0:
        yield from map(function, starts)
        return
    team = []
    try:
        size = min(workers, len(starts))
        team.extend(_Worker(number, function, starts[number::size]) for number in range(size))
        for turn in range(len(starts)):
            _await(team, turn, starts)
            yield team[turn % size].result()
    finally:
        for worker in team:
            worker.end()


class _Worker:
    """A worker process, as its parent sees it."""

    def __init__(self, number, function, starts):
        self.arena = os.memfd_create("examples") if hasattr(os, "memfd_create") else None
        command = [sys.executable, "-c", f"from data import workers; workers.serve({self.arena})"]
        single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self.number, self.mapped = number, b""
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, **single, "PYTHONPATH": path},
            pass_fds=[] if self.arena is None else [self.arena],
            start_new_session=True,  # Ctrl-C is the parent's, which ends its workers
        )
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(OSError):  # beyond what an unprivileged user may have
                fcntl.fcntl(self.process.stdout, fcntl.F_SETPIPE_SZ, PIPE)
        with contextlib.suppress(BrokenPipeError):  # it died already, which is noticed when it is waited for
            _write(self.process.stdin, pickle.dumps((function, starts)))

    def result(self):
        """The next result; an exception of the worker is raised here."""
        try:
            count = int(_exactly(self.process.stdout, WORD.itemsize).view(WORD)[0])
            place, *sizes = _exactly(self.process.stdout, WORD.itemsize * count).view(WORD).tolist()
            content = _exactly(self.process.stdout, sizes[0])
            buffers = self._buffers(place, sizes[1:])
        except EOFError:
            raise self.died("in the middle of a result") from None
        result, error, trace = pickle.loads(content, buffers=buffers)
        if error is not None:
            raise error from RuntimeError(f"in worker {self.number} (process {self.process.pid}):\n{trace}")
        return result

    def _buffers(self, place, sizes):
        """The arrays of a message: copied out of the shared memory, whose slot is then free, or read from the pipe."""
        if place == PIPED:
            return [_exactly(self.process.stdout, size) for size in sizes]
        if place + sum(sizes) > len(self.mapped):
            self.mapped = mmap.mmap(self.arena, 0, access=mmap.ACCESS_READ)
        places = itertools.accumulate(sizes, initial=place)
        buffers = [
            np.frombuffer(self.mapped, np.uint8, size, at).copy() for at, size in zip(places, sizes, strict=False)
        ]
        with contextlib.suppress(BrokenPipeError):  # it died, which is noticed when it is waited for
            _write(self.process.stdin, b".")
        return buffers

    def died(self, where):
        """The `WorkerDied` that tells how the process ended."""
        code = self.process.wait()
        how = f"with signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"
        hint = "; the system does so when memory runs out" if code == -signal.SIGKILL else ""
        text = f"Expected worker {self.number} (process {self.process.pid}) to go on. Received: it ended {how} {where}"
        return WorkerDied(text + hint + ".")

    def end(self):
        """Ends the process at once, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        if self.arena is not None:
            os.close(self.arena)
            self.arena = None


def _await(team, turn, starts):
    """Waits until the worker whose turn it is sends something; raises `WorkerDied` as soon as any worker ends."""
    poll = select.poll()
    for worker in team:
        poll.register(worker.process.stdout, select.POLLIN if worker is team[turn % len(team)] else 0)
    ready = dict(poll.poll())
    for worker in team:  # workers live until they are ended, so a closed pipe is a death
        if ready.get(worker.process.stdout.fileno(), 0) & (select.POLLHUP | select.POLLERR):
            raise worker.died(f"at patch {starts[turn + (worker.number - turn) % len(team)]}")


def _exactly(pipe, size):
    """(size,) uint8 array of the next bytes of a pipe."""
    array = np.empty(size, np.uint8)
    view = memoryview(array)
    while len(view):
        got = pipe.readinto(view)
        if not got:
            raise EOFError
        view = view[got:]
    return array


def _write(pipe, content):
    """Writes all of a bytes-like object to an unbuffered pipe."""
    view = memoryview(content).cast("B")
    while len(view):
        view = view[pipe.write(view) :]


def serve(arena=None):
    """What a worker process runs: reads its work from stdin, sends the results to what was stdout.

    Args:
        arena: file descriptor of the memory shared with the parent, for the arrays of the results; None if the
            system has none, so that they too go through the pipe.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    keep_memory()
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no result
    outgoing, slots = queue.Queue(AHEAD), _Slots(arena)
    threading.Thread(target=_send, args=(outgoing, slots, pipe), daemon=True).start()
    try:
        function, starts = pickle.load(sys.stdin.buffer)
        threading.Thread(target=_listen, args=(slots,), daemon=True).start()
        for start in starts:
            outgoing.put(_packed(function(start)))
    except Exception as error:
        outgoing.put(_packed(None, _portable(error), traceback.format_exc()))
    threading.Event().wait()


class _Slots:
    """A few places of equal size in the shared memory, which the parent gives back when it has copied them."""

    def __init__(self, arena):
        self.arena, self.size, self.turn = arena, 0, 0
        self.free = threading.Semaphore(AHEAD)

    def put(self, parts):
        """Copies arrays into the next place; returns where it is, or `PIPED` if they must go through the pipe."""
        total = sum(part.nbytes for part in parts)
        if self.arena is None or total == 0 or (self.size and total > self.size):
            return PIPED
        if not self.size:
            self.size = -(-total // mmap.PAGESIZE) * mmap.PAGESIZE
            os.ftruncate(self.arena, AHEAD * self.size)
            self.mapped = mmap.mmap(self.arena, 0)
        self.free.acquire()
        place = at = self.turn % AHEAD * self.size
        for part in parts:
            self.mapped[at : at + part.nbytes] = part
            at += part.nbytes
        self.turn += 1
        return place


def keep_memory():
    """Lets glibc's allocator keep what is freed: otherwise the pages of every image are mapped and zeroed anew."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, 256 << 20)
        mallopt(M_MMAP_THRESHOLD, 32 << 20)


def _packed(result, error=None, trace=""):
    """A message: its pickle, and the arrays in it, which are not copied."""
    buffers = []
    content = pickle.dumps((result, error, trace), protocol=5, buffer_callback=buffers.append)
    return content, [buffer.raw() for buffer in buffers]


def _portable(error):
    """The exception, or one that tells of it if it does not survive pickling."""
    try:
        return pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")


def _send(outgoing, slots, pipe):
    """Sends messages while the next results are computed."""
    try:
        while True:
            content, parts = outgoing.get()
            place = slots.put(parts)
            sizes = [place, len(content), *(part.nbytes for part in parts)]
            _write(pipe, np.array([len(sizes), *sizes], WORD))
            for part in (content, *(parts if place == PIPED else ())):
                _write(pipe, part)
    except BrokenPipeError:
        os._exit(0)


def _listen(slots):
    """Frees slots as the parent says so; ends the process when the parent is gone, killed for instance."""
    while sys.stdin.buffer.read(1):
        slots.free.release()
    os._exit(0)


def _block(path, seed, side, synthesis, stop, first):
    """A list of up to `BLOCK` examples."""
    bank = _opened(path)
    last = min(first + BLOCK, stop)
    return [synthetic.example(bank, seed, index, side, synthesis) for index in range(first, last)]


def training_block(path, config, first):
    """What training takes of `BLOCK` examples: four arrays, see `data.synthetic.training`, stacked."""
    bank = _opened(path)
    made = [synthetic.training(bank, config, index) for index in range(first, first + BLOCK)]
    return [np.stack(arrays) for arrays in zip(*made, strict=True)]


@functools.lru_cache(maxsize=1)
def _opened(path):
    """The bank, opened once in a process."""
    return tiles.Bank(path)
