"""HTTP requests of which each ends at its deadline, and whose answers are of a bounded size."""

import asyncio
import dataclasses
import functools
import os
import threading
import typing
import weakref

import aiohttp
import yarl

from hou_synth.serving import errors

CONNECTING = 10.0  # most seconds until a connection stands; ours


@dataclasses.dataclass(frozen=True)
class Answer:
    """A whole answer."""

    code: int
    phrase: str
    headers: typing.Mapping
    content: bytes

    def __str__(self):
        """Its type and beginning, for messages."""
        kind, beginning = self.headers.get("Content-Type", "no type"), self.content[: errors.LONGEST]
        return f"{errors.short(kind)} {errors.short(beginning.decode(errors='replace'))!r}"


class Exchange:
    """Sends requests to a server; may be used by several threads at a time."""

    def __init__(self, server, timeout, context):
        """Sends nothing yet.

        Args:
            server: address, for messages.
            timeout: seconds for one request, from the look-up of its address to the last byte of its answer.
            context: `ssl.SSLContext` that says which certificates are trusted.
        """
        self.server, self.timeout = server, timeout
        self._session = awaited(session(timeout, context)).result()
        self.close = weakref.finalize(self, lambda opened: awaited(opened.close()), self._session)

    def __call__(self, method, url, largest, body=None):
        """The `Answer` to a request; of at most `largest` bytes.

        Raises:
            Unserved: if there is none.
        """
        try:
            return awaited(self._answer(method, yarl.URL(url, encoded=True), largest, body)).result()
        except aiohttp.ConnectionTimeoutError as error:
            raise errors.down(self.server, "no connection in time") from error
        except TimeoutError as error:
            raise errors.slow(self.server, self.timeout) from error
        except aiohttp.ClientConnectorDNSError as error:
            raise errors.down(self.server, "unknown host") from error
        except aiohttp.ClientSSLError as error:
            raise errors.foreign(self.server, f"no trusted TLS, {errors.tls(error)}") from error
        except aiohttp.ClientResponseError as error:
            cause = f"an answer that is not HTTP, maybe from the port of gRPC: {errors.reason(error.message)}"
            raise errors.down(self.server, cause) from error
        except aiohttp.InvalidURL as error:
            raise errors.foreign(self.server, f"no address, {errors.reason(error)}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise errors.down(self.server, broken(error)) from error
        except RuntimeError as error:  # of a session that `close` has closed
            raise errors.Unserved(f"Expected an open connection to {self.server}. Received: {error}.") from error

    async def _answer(self, method, url, largest, body):
        content = bytearray()
        async with self._session.request(method, url, data=body, allow_redirects=False) as response:
            async for part in response.content.iter_any():
                content += part
                if len(content) > largest:
                    raise errors.endless(self.server, largest)
            return Answer(response.status, response.reason or "", response.headers, bytes(content))


@functools.cache
def loop():
    """The event loop of all exchanges, in a thread of its own, as a caller (a notebook) may have one already."""
    running = asyncio.new_event_loop()
    threading.Thread(target=running.run_forever, name="exchanges", daemon=True).start()
    return running


def awaited(coroutine):
    """Future of a coroutine in the loop."""
    return asyncio.run_coroutine_threadsafe(coroutine, loop())


async def session(timeout, context):
    """Session that neither decompresses (a small answer could become a large one) nor keeps cookies."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context),
        timeout=aiohttp.ClientTimeout(total=timeout, connect=min(timeout, CONNECTING)),
        headers={"Accept-Encoding": "identity", "Content-Type": "application/json"},
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,  # proxies
    )


def broken(error):
    """Why there is no connection, in a few words."""
    return os.strerror(error.errno).lower() if getattr(error, "errno", None) else errors.reason(error).lower()
