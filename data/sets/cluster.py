"""The work of `data.workers` over a Dask cluster."""

import concurrent.futures
import contextlib
import functools

import cv2

SECONDS = 10  # that a scheduler has for its answer


def unordered(function, starts, address):
    """The results of `function(start)` for every start, as they come, computed by the workers of a Dask scheduler.

    The workers need this package and the same file system.

    Args:
        function: picklable, of a module that can be imported.
        starts: list of integers.
        address: of the scheduler.

    Yields:
        What the function returns.

    Raises:
        ValueError: if Dask is not installed.
        OSError: if no scheduler answers, if it ends, or if workers die again and again.
    """
    try:
        import distributed
    except ImportError:
        raise ValueError("Expected the extra dask: pip install 'hou-synth[dask]'. Received: no Dask.") from None
    with _client(distributed, address) as client:
        if not client.scheduler_info()["workers"]:
            print(f"the scheduler {address} has no worker yet: waiting for one")
        futures = client.map(functools.partial(_alone, function), starts, pure=False)
        try:
            for future in distributed.as_completed(futures):
                yield future.result()
        except (distributed.KilledWorker, concurrent.futures.CancelledError) as error:
            raise OSError(f"Expected the cluster of {address} to go on. Received: {error}") from error
        finally:
            client.cancel(futures)


def _alone(function, start):
    """`function(start)`, with one thread, as the cluster has a worker for every core."""
    cv2.setNumThreads(1)
    return function(start)


def _client(distributed, address):
    """A client of the scheduler."""
    try:
        return contextlib.closing(distributed.Client(address, timeout=SECONDS))
    except Exception as error:  # what is not a scheduler can answer anything
        raise OSError(
            f"Expected a Dask scheduler that answers within {SECONDS} seconds. Received: none at {address} ({error})."
        ) from error
