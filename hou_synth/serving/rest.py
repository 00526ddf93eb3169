"""REST requests to TensorFlow Serving, one attempt each.

The interface is documented at tensorflow.org/tfx/serving/api_rest. Windows are sent as PNG, which is lossless, to the
signature `encoded`.
"""

import base64
import email.utils
import json
import re
import threading
import time
import urllib.parse

import cv2
import numpy as np
import requests

from hou_synth.serving import errors

CONNECTING = 10.0  # most seconds until a connection stands; ours
_ARRAYS = re.compile(rb'"(\w+)"\s*:\s*(\[[^"{}]*\])')  # name and numbers of each output


class Rest:
    """REST interface to one model.

    Attributes:
        server: address for messages, without a password.
        needs: name of the signature that is used, and the type of its input.
    """

    needs = ("encoded", "image_bytes", "DT_STRING")

    def __init__(self, url, name, timeout):
        """Keeps the addresses.

        Args:
            url: `http://host:port`, with a path if TensorFlow Serving is behind a proxy's.
            name: of the model.
            timeout: seconds for one request.
        """
        parts = urllib.parse.urlsplit(url)
        self.server = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self.model = f"{url}/v1/models/{urllib.parse.quote(name, safe='')}"
        self.timeout = timeout
        self._threads = threading.local()

    def states(self):
        """Dict of version -> (state, text of its error) of every version that the server knows."""
        answer = self._json(self._request("GET", ""), "model_version_status")
        return {int(v["version"]): (v["state"], v.get("status", {}).get("error_message", "")) for v in answer}

    def signatures(self, version):
        """Dict of signature -> (dict of input -> type, names of its outputs)."""
        answer = self._json(self._request("GET", f"/versions/{version}/metadata"), "metadata")
        return {
            name: ({key: tensor["dtype"] for key, tensor in one["inputs"].items()}, set(one["outputs"]))
            for name, one in answer["signature_def"]["signature_def"].items()
            if "inputs" in one and "outputs" in one
        }

    def maps(self, version, images):
        """Dict of output -> float32 array of windows (b, h, w, 3) uint8 RGB."""
        windows = [{"b64": base64.b64encode(png(image)).decode()} for image in images]
        response, found = self._predict(version, "encoded", windows), {}
        try:
            for name, text in _ARRAYS.findall(response.content):
                found.setdefault(name.decode(), []).append(numbers(text, (*images.shape[1:3], 1)))
            maps = {name: cut(np.stack(arrays), images.shape[1:3]) for name, arrays in found.items()}
        except (ValueError, TypeError) as error:
            raise self._foreign(response, "predictions") from error
        if not maps:
            raise self._foreign(response, "predictions")
        return maps

    def documents(self, version, names):
        """Texts of files of the model's `assets.extra`."""
        return self._json(self._predict(version, "document", names), "predictions")

    def close(self):
        """Nothing is left open: connections end with their threads."""

    def _predict(self, version, signature, rows):
        # In rows, as answers in columns are indented number by number, which makes them five times as long.
        body = {"signature_name": signature, "instances": rows}
        return self._request("POST", f"/versions/{version}:predict", json=body)

    def _request(self, method, path, **body):
        if not hasattr(self._threads, "session"):
            self._threads.session = requests.Session()
        limits = (min(self.timeout, CONNECTING), self.timeout)
        send = self._threads.session.request
        try:
            response = send(method, self.model + path, timeout=limits, allow_redirects=False, **body)
        except requests.ReadTimeout as error:
            raise errors.slow(self.server, self.timeout) from error
        except requests.exceptions.SSLError as error:
            raise errors.foreign(self.server, f"no trusted TLS, {tls(error)}") from error
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise errors.down(self.server, broken(error)) from error
        except requests.RequestException as error:
            raise errors.foreign(self.server, errors.reason(error)) from error
        if response.status_code != 200:
            raise self._failure(response)
        return response

    def _failure(self, response):
        code, text = response.status_code, error_text(response)
        said = f"error {code}, {errors.reason(text or response.reason)}"
        if code == 504:
            return errors.slow(self.server, self.timeout, said)
        if code in (429, 502, 503):
            return errors.busy(self.server, said, seconds(response.headers.get("Retry-After")))
        if code == 413:
            return errors.large(self.server, said)
        if code in (401, 403, 407):
            return errors.Unserved(f"Expected to be let in by {self.server}. Received: {said}.")
        if text is None:
            target = response.headers.get("Location")
            redirect = f" and a redirect to {target}" if target else ""
            return errors.foreign(self.server, f"{said}, without JSON{redirect}")
        return errors.Missing(text) if code == 404 else errors.refused(self.server, code, text)

    def _json(self, response, key):
        try:
            return response.json()[key]
        except (ValueError, KeyError, TypeError) as error:
            raise self._foreign(response, key) from error

    def _foreign(self, response, key):
        kind = response.headers.get("Content-Type", "no type")
        return errors.foreign(self.server, f"{kind} without {key!r}: {errors.reason(response.text[:1000])!r}")


def numbers(text, shape):
    """Array of nested lists in JSON, five times as fast as otherwise if it has the expected shape.

    Args:
        text: bytes.
        shape: (h, w, 1).

    Returns:
        float32 array, of whatever shape.
    """
    flat = np.array(json.loads(b"[" + text.translate(None, b"[]") + b"]"), np.float32)
    if flat.size == np.prod(shape) and text.count(b"[") == 1 + shape[0] + shape[0] * shape[1]:
        return flat.reshape(shape)
    return np.array(json.loads(text), np.float32)


def cut(maps, shape):
    """Maps (b, h, w, 1) of windows of a shape; those of a server that batches reach to the largest image it met."""
    return maps[:, : shape[0], : shape[1]] if maps.shape[1] >= shape[0] and maps.shape[2] >= shape[1] else maps


def png(image):
    """Bytes of a PNG of a uint8 RGB image."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def error_text(response):
    """The text of TensorFlow Serving's error, or None if the answer is not its JSON."""
    try:
        text = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return None
    return text if isinstance(text, str) else None


def seconds(header):
    """Seconds that a Retry-After header asks to wait: a number, or a date; 0 without one."""
    if not header:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        until = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(until.timestamp() - time.time(), 0.0)


def tls(error):
    """What is wrong with an encrypted connection."""
    known = re.search(r"\[SSL[^\]]*\] ([\w :-]+)", str(error))
    return known[1].strip() if known else errors.reason(error)


def broken(error):
    """Why there is no connection, in a few words."""
    text = str(error)
    if isinstance(error, requests.ConnectTimeout):
        return "no connection in time"
    if re.search(r"Errno -\d|resolve|getaddrinfo", text):  # numbers of `getaddrinfo` are negative
        return "unknown host"
    if "BadStatusLine" in text:
        return "an answer that is not HTTP, maybe from the port of gRPC"
    known = re.search(r"Errno \d+\] ([\w ]+)|(Remote end closed connection|IncompleteRead)", text)
    return (known[1] or known[2]).strip().lower() if known else errors.reason(text)
