"""A network that TensorFlow Serving runs, as a SavedModel has a local one."""

import pathlib
import ssl
import urllib.parse

import numpy as np

from hou_synth import config, inference, instances
from hou_synth.serving.errors import Missing, Passing, Unserved, short
from hou_synth.serving.rest import Rest
from hou_synth.serving.retries import Attempts
from hou_synth.serving.rpc import Rpc

DAY = 86400.0  # most seconds for a request; ours
LISTED = 5  # versions in a message; ours
COMING = ("START", "LOADING")  # states of a version that will be served


class Served:
    """One version of a served model: a network (see `hou_synth.inference`) that several threads may call.

    Attributes:
        settings: `Instances` that the model was exported with; the default if it does not tell them.
        identity: server, model and version, for example "http://host:8501 cpu/3".
    """

    def __init__(self, interface, name, version, attempts):
        """Asks the server what the version offers.

        Args:
            interface: `Rest` or `Rpc`.
            name: of the model.
            version: number that all requests name.
            attempts: `Attempts`.

        Raises:
            Unserved: if it does not offer what is needed.
        """
        self.interface, self.version, self.attempts = interface, version, attempts
        self.identity = f"{interface.server} {name}/{version}"
        signatures = self.ask(interface.signatures)
        check(signatures, interface.needs, self.identity)
        self.settings = instances.DEFAULT
        if "document" in signatures:
            self.settings = config.thresholds(self.document("config.json"), f"config.json of {self.identity}")

    def __call__(self, images):
        """Maps of a batch.

        Args:
            images: (b, h, w, 3) uint8 RGB.

        Returns:
            dict of `segmentation` and `detection`, (b, h, w, 1) float32.

        Raises:
            Unserved: if the server does not give them.
            ValueError: for something else than images.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or images.size == 0:
            raise ValueError(f"Expected uint8 images of shape (b, h, w, 3). Received: {images.dtype} {images.shape}.")
        maps = self.ask(self.interface.maps, images)
        return {name: self.checked(name, maps, (*images.shape[:3], 1)) for name in inference.OUTPUTS}

    def document(self, name):
        """Text of a file of the model's `assets.extra`; `Unserved` if the server does not tell it."""
        (text,) = self.ask(self.interface.documents, [name])
        return text

    def ask(self, request, *content):
        """Answer to a request of the interface, repeated while it fails in passing."""
        return self.attempts(lambda: self.asked(request, *content))

    def asked(self, request, *content):
        """Answer to one request; if the version is missing, tells whether it is just being loaded or gone."""
        try:
            return request(self.version, *content)
        except Missing as error:
            states = known(self.interface)
            if states.get(self.version, ("",))[0] in (*COMING, "AVAILABLE"):
                raise Passing(f"Expected {self.identity} to be loaded. Received: {error}.") from error
            raise Unserved(
                f"Expected {self.identity}, which was there at first. Received: it is gone ({error}); the server has "
                f"{listed(states)}. Go on with the same command when it is back, or start anew with another version."
            ) from error

    def checked(self, name, maps, shape):
        """A map of the answer; `Unserved` unless it has the shape of the request and its values are probabilities."""
        if name not in maps:
            raise Unserved(f"Expected output {name} of {self.identity}. Received: {short(', '.join(maps)) or 'none'}.")
        if maps[name].shape != shape:
            raise Unserved(f"Expected {name} of shape {shape} of {self.identity}. Received: {maps[name].shape}.")
        low, high = maps[name].min(), maps[name].max()  # NaN, if there is one
        if not -inference.ROUNDING <= low <= high <= 1 + inference.ROUNDING:
            raise Unserved(f"Expected probabilities, 0 to 1, of {self.identity}. Received: {name} {low:g} to {high:g}.")
        return maps[name]

    def close(self):
        """Ends the waits of all threads, and over gRPC their requests too: for a job that is interrupted."""
        self.attempts.close()
        self.interface.close()


def load(server, model, timeout=60.0, retries=4, authorities=None):
    """Network behind TensorFlow Serving.

    Args:
        server: `http://HOST:PORT` or `https://...` (REST), or `grpc://HOST:PORT` or `grpcs://...` (with TLS).
        model: `NAME`, whose highest available version is taken, or `NAME/VERSION`. All requests go to this version.
        timeout: seconds for one request, until its answer is complete; at most a day.
        retries: repetitions of a request that fails in passing.
        authorities: PEM file of the certificate authorities to trust; None for the usual ones.

    Returns:
        A `Served`.

    Raises:
        Unserved: if the server, the model, the version or its signatures are not what is expected.
        ValueError, OSError: for numbers or a file that do not fit.
    """
    if not 0 < timeout <= DAY or retries < 0:
        raise ValueError(
            f"Expected 0 < timeout <= {DAY} and retries >= 0. Received: timeout={timeout}, retries={retries}."
        )
    name, wanted = named(model)
    reached, attempts = interface(server, name, timeout, authorities), Attempts(retries)
    return Served(reached, name, attempts(lambda: pinned(reached, name, wanted)), attempts)


def named(model):
    """Name and version, or None, out of `NAME` or `NAME/VERSION`."""
    name, slash, version = model.partition("/")
    if not name or (slash and not version.isdecimal()):
        raise Unserved(f"Expected a served model, NAME or NAME/VERSION. Received: {model!r}.")
    return name, int(version) if slash else None


def interface(server, name, timeout, authorities=None):
    """The `Rest` or `Rpc` of a server's address; the arguments are those of `load`."""
    try:
        parts = urllib.parse.urlsplit(server.strip().rstrip("/"))
        complete = parts.hostname and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:  # a port that is no number
        complete = False
    certificates = pem(authorities) if authorities else None
    if complete and parts.scheme in ("http", "https"):
        context = ssl.create_default_context(cadata=certificates) if certificates else None
        return Rest(parts.geturl(), name, timeout, context)
    if complete and parts.scheme in ("grpc", "grpcs") and parts.port and not parts.path and not parts.username:
        return Rpc(parts.geturl(), name, timeout, certificates)
    raise Unserved(
        f"Expected a server: http://HOST:8501, https://HOST, grpc://HOST:8500 or grpcs://HOST:8500. "
        f"Received: {server!r}."
    )


def pem(path):
    """Text of a file of certificates.

    Raises:
        OSError: if it cannot be read.
        ValueError: naming the file, if it holds none.
    """
    try:
        text = pathlib.Path(path).read_text("ascii")
        ssl.create_default_context(cadata=text)
    except (UnicodeDecodeError, ssl.SSLError) as error:
        raise ValueError(f"Expected certificates in PEM. Received: {path} ({error}).") from None
    return text


def pinned(reached, name, wanted):
    """The version to ask for: the wanted one, or the highest that is available."""
    try:
        states = reached.states()
    except Missing as error:
        raise Unserved(f"Expected a model that {reached.server} serves. Received: {name!r} ({error}).") from error
    offered = {version: state for version, state in states.items() if wanted in (None, version)}
    available = [version for version, (state, _) in offered.items() if state == "AVAILABLE"]
    if available:
        return max(available)
    model = name if wanted is None else f"{name}/{wanted}"
    message = f"Expected {model} to be available at {reached.server}. Received: {listed(states)}."
    waiting = any(state in (*COMING, "UNLOADING") for state, _ in offered.values())
    raise (Passing if waiting else Unserved)(message)


def known(reached):
    """States of the model's versions; empty if the server does not know the model."""
    try:
        return reached.states()
    except Missing:
        return {}


def listed(states):
    """Versions with their states, for messages."""
    newest = sorted(states.items())[-LISTED:]
    versions = [f"version {v} {short(state)}{f' ({short(text)})' * bool(text)}" for v, (state, text) in newest]
    return "..., " * (len(states) > LISTED) + (", ".join(versions) or "no version")


def check(signatures, needs, identity):
    """Raises `Unserved` unless the signature that is used takes and returns what it should."""
    name, key, dtype = needs
    inputs, outputs = signatures.get(name, ({}, set()))
    if inputs == {key: dtype} and set(inference.OUTPUTS) <= outputs:
        return
    there = [
        f"{name} of {', '.join(f'{key} {dtype}' for key, dtype in inputs.items())} to {', '.join(sorted(outputs))}"
        for name, (inputs, outputs) in sorted(signatures.items())
        if not name.startswith("__")
    ]
    raise Unserved(
        f"Expected signature {name} of {key} {dtype} to {' and '.join(inference.OUTPUTS)} in {identity}. "
        f"Received: {short('; '.join(there)) or 'none'}."
    )
