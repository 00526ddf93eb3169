"""Calls of a server that are repeated, after growing waits, while they fail in passing."""

import random
import threading

from hou_synth.serving.errors import Passing, Unserved

FIRST = 0.5  # seconds before the second attempt; doubled before each further one; ours
LONGEST = 60.0  # seconds between two attempts, also if the server asks for more; ours


class Attempts:
    """Repeats calls; may be used by several threads at a time."""

    def __init__(self, retries):
        """Takes how often a failed call is repeated."""
        self.retries = retries
        self._closed = threading.Event()

    def __call__(self, call):
        """What `call()` returns, called again while it raises `Passing`.

        Raises:
            Unserved: when it still fails after the last repetition, or after `close`.
        """
        for count in range(self.retries + 1):
            try:
                return call()
            except Passing as failure:
                if count == self.retries:
                    attempts = f"{count + 1} attempts" if count else "one attempt"
                    raise Unserved(f"{failure} Gave up after {attempts}.") from failure
                wait = FIRST * 2**count * random.uniform(0.5, 1.0)  # drawn, so that clients do not come all at once
                self.pause(min(max(wait, failure.wait), LONGEST))

    def pause(self, seconds):
        """Waits; `close` and Ctrl-C end it at once."""
        if self._closed.wait(seconds):
            raise Unserved("Expected an answer. Received: interrupted.")

    def close(self):
        """Ends the waits of all threads."""
        self._closed.set()
