"""REST requests to TensorFlow Serving, one attempt each.

The interface is documented at tensorflow.org/tfx/serving/api_rest. Windows are sent as PNG, which is lossless, to the
signature `encoded`.
"""

import base64
import email.utils
import json
import re
import time
import urllib.parse

import cv2
import numpy as np

from hou_synth import inference
from hou_synth.io import documents
from hou_synth.serving import answers, errors
from hou_synth.serving.exchange import Exchange

LARGEST = documents.LARGEST  # bytes of an answer besides its maps
NUMBER = 40  # most bytes of a number in an answer, with its brackets; ours
_ARRAYS = re.compile(rb'"(\w+)"\s*:\s*(\[[^"{}]*\])')  # name and numbers of each output


class Rest:
    """REST interface to one model.

    Attributes:
        server: address for messages, without a password.
        needs: name of the signature that is used, and the type of its input.
    """

    needs = ("encoded", "image_bytes", "DT_STRING")

    def __init__(self, url, name, timeout, context=None):
        """Keeps the addresses.

        Args:
            url: `http://host:port`, with a path if TensorFlow Serving is behind a proxy's.
            name: of the model.
            timeout: seconds for one request, from the look-up of its address to the last byte of its answer.
            context: `ssl.SSLContext` that says which certificates are trusted; None for the system's.
        """
        parts = urllib.parse.urlsplit(url)
        self.server = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self.model = f"{url}/v1/models/{urllib.parse.quote(name, safe='')}"
        self.timeout = timeout
        self._exchange = Exchange(self.server, timeout, context or True)

    def states(self):
        """Dict of version -> (state, text of its error) of every version that the server knows."""
        statuses = self._read(self._request("GET", ""), answers.Statuses).model_version_status
        return {status.version: (status.state, status.status.get("error_message", "")) for status in statuses}

    def signatures(self, version):
        """Dict of signature -> (dict of input -> type, names of its outputs)."""
        answer = self._read(self._request("GET", f"/versions/{version}/metadata"), answers.Metadata)
        return {
            name: ({key: tensor.dtype for key, tensor in signature.inputs.items()}, set(signature.outputs))
            for name, signature in answer.metadata.signature_def.signature_def.items()
            if signature.inputs is not None and signature.outputs is not None
        }

    def maps(self, version, images):
        """Dict of output -> float32 array of windows (b, h, w, 3) uint8 RGB."""
        windows = [{"b64": base64.b64encode(png(image)).decode()} for image in images]
        shape, outputs = images.shape[1:3], {}
        largest = LARGEST + NUMBER * len(images) * len(inference.OUTPUTS) * most(shape)
        answer = self._predict(version, "encoded", windows, largest)
        try:
            for name, text in _ARRAYS.findall(answer.content):
                outputs.setdefault(name.decode(), []).append(numbers(text, (*shape, 1)))
            maps = {name: cut(np.stack(arrays), shape) for name, arrays in outputs.items()}
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise self._foreign(answer, "predictions that are not arrays of numbers") from error
        if not maps:
            raise self._foreign(answer, "no predictions")
        return maps

    def documents(self, version, names):
        """Texts of files of the model's `assets.extra`."""
        answer = self._predict(version, "document", names)
        texts = self._read(answer, answers.Texts).predictions
        if len(texts) != len(names):
            raise self._foreign(answer, f"{len(texts)} predictions for {len(names)}")
        return texts

    def close(self):
        """Ends requests that are under way."""
        self._exchange.close()

    def _predict(self, version, signature, rows, largest=LARGEST):
        # In rows, as answers in columns are indented number by number, which makes them five times as long.
        body = json.dumps({"signature_name": signature, "instances": rows}).encode()
        return self._request("POST", f"/versions/{version}:predict", largest, body)

    def _request(self, method, path, largest=LARGEST, body=None):
        answer = self._exchange(method, self.model + path, largest, body)
        if answer.code != 200:
            raise self._failure(answer)
        return answer

    def _failure(self, answer):
        code, text = answer.code, error_text(answer)
        said = f"error {code}, {errors.reason(text or answer.phrase)}"
        if code == 504:
            return errors.slow(self.server, self.timeout, said)
        if code in (429, 502, 503):
            return errors.busy(self.server, said, seconds(answer.headers.get("Retry-After")))
        if code == 413:
            return errors.large(self.server, said)
        if code in (401, 403, 407):
            return errors.Unserved(f"Expected to be let in by {self.server}. Received: {said}.")
        if text is None:
            target = answer.headers.get("Location")
            redirect = f" and a redirect to {errors.reason(target)}" if target else ""
            return errors.foreign(self.server, f"{said}, without JSON{redirect}")
        return errors.Missing(errors.reason(text)) if code == 404 else errors.refused(self.server, code, text)

    def _read(self, answer, form):
        try:
            return documents.parse(answer.content, form, self.server)
        except documents.Malformed as error:
            raise self._foreign(answer, error.mistake) from error

    def _foreign(self, answer, mistake):
        return errors.foreign(self.server, f"{answer} ({mistake})")


def most(shape):
    """Most numbers of a map of a window (height, width); a server that batches adds some, to the largest image."""
    return max(shape[0] * shape[1], inference.WINDOW**2)


def numbers(text, shape):
    """Array of nested lists in JSON, five times as fast as otherwise if it has the expected shape.

    Args:
        text: bytes.
        shape: (h, w, 1).

    Returns:
        float32 array, of whatever shape.

    Raises:
        ValueError, TypeError, OverflowError, RecursionError: for something else, or for far more numbers.
    """
    if text.count(b",") >= most(shape):
        raise ValueError(f"Expected a map of shape {shape}. Received: {text.count(b',') + 1} numbers.")
    flat = json.loads(b"[" + text.translate(None, b"[]") + b"]")
    regular = len(flat) == np.prod(shape) and text.count(b"[") == 1 + shape[0] + shape[0] * shape[1]
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite
        return np.array(flat, np.float32).reshape(shape) if regular else np.array(json.loads(text), np.float32)


def cut(maps, shape):
    """Maps (b, h, w, 1) of windows of a shape; those of a server that batches reach to the largest image it met."""
    larger = maps.ndim == 4 and maps.shape[1] >= shape[0] and maps.shape[2] >= shape[1]
    return maps[:, : shape[0], : shape[1]] if larger else maps


def png(image):
    """Bytes of a PNG of a uint8 RGB image."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def error_text(answer):
    """The text of TensorFlow Serving's error, or None if the answer is not its JSON."""
    try:
        return documents.parse(answer.content, answers.Failure, "error").error
    except documents.Malformed:
        return None


def seconds(header):
    """Seconds that a Retry-After header asks to wait: a number, or a date; 0 without one."""
    if not header:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(email.utils.parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return 0.0
