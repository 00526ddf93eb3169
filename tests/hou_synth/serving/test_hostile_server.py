"""Servers that answer what nobody expects: each time one line, in bounded time and memory."""

import json
import threading
import time

import cv2
import numpy as np
import pytest
import trustme
from google.protobuf import any_pb2
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from hou_synth import inference, segment
from hou_synth.io import files
from hou_synth.serving import client, rest, rpc
from tests import fake_server
from tests.fake_server import answered
from tests.refusal import refusal

BOTH = pytest.mark.parametrize("way", ["rest", "grpc"])
STATUS = '{"model_version_status": [{"version": "2", "state": "AVAILABLE"}]}'


def dripping(done, head, body):
    """Trick of the stand-in: an answer of which one byte comes every 20 ms, for 4 s at most."""

    def trick(handler):
        handler.close_connection = True
        for byte in (head + body)[:200]:
            handler.wfile.write(bytes([byte]))
            if done.wait(0.02):
                break
        return True

    return trick


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
def test_the_time_is_that_of_the_whole_request(server, core, noise, head):
    network, done = client.load(server.rest, "discs", retries=0), threading.Event()
    network.interface = client.interface(server.rest, "discs", timeout=0.3)

    def trick(handler):
        handler.wfile.write(head)
        return dripping(done, b"HTTP/1.1 200 OK\r\nX-Long: " if not head else b"", b"x" * 999)(handler)

    core.tricks.append(trick)
    message = refusal(network, noise)
    done.set()
    assert "within 0.3 s; a longer --timeout" in message


def test_an_endless_answer_is_cut(server, core, noise, monkeypatch):
    monkeypatch.setattr(rest, "LARGEST", 10**6)
    monkeypatch.setattr(rest, "NUMBER", 0)
    sent = []

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        try:
            while len(sent) < 400:
                handler.wfile.write(b"[0.5], " * 25_000)
                sent.append(time.monotonic())
        except OSError:  # nobody reads any more
            pass
        return True

    network = client.load(server.rest, "discs")
    core.requests.clear()
    core.tricks.append(endless)
    assert "at most 1000000 bytes. Received: a longer one" in refusal(network, noise)
    assert core.count() == 1 and len(sent) < 400  # of 70 MB


def test_a_large_answer_over_grpc_is_refused(server, noise, monkeypatch):
    limits = [option for option in rpc.OPTIONS if "receive" not in option[0]]
    monkeypatch.setattr(rpc, "OPTIONS", (*limits, ("grpc.max_receive_message_length", 20_000)))
    assert f"Expected an answer of {server.grpc} of at most" in refusal(client.load(server.grpc, "discs"), noise)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        *(("status", text) for text in ("", "[]", "3", "null", "{}", "[" * 5000, '{"model_version_status": 3}')),
        *(("status", f'{{"model_version_status": [{one}]}}') for one in ("3", "{}", '{"version": 1e999}')),
        ("status", '{"model_version_status": [{"version": "one", "state": "AVAILABLE"}]}'),
        ("status", '{"model_version_status": [{"version": "1", "state": ["AVAILABLE"]}]}'),
        ("status", '{"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": "OK"}]}'),
        ("status", '{"model_version_status": [{"version": "' + "9" * 5000 + '", "state": "AVAILABLE"}]}'),
        *(("metadata", text) for text in ("[]", "null", '{"metadata": []}', '{"metadata": {"signature_def": null}}')),
        ("metadata", '{"metadata": {"signature_def": {"signature_def": {"encoded": 3}}}}'),
        ("metadata", '{"metadata": {"signature_def": {"signature_def": {"encoded": {"inputs": [], "outputs": []}}}}}'),
        ("metadata", '{"metadata": {"signature_def": {"signature_def": {"encoded": {"inputs": {"a": {}}}}}}}'),
        *(("predict", text) for text in ("[]", "null", '{"predictions": 3}', '{"predictions": [3]}')),
        *(("predict", text) for text in ('{"predictions": []}', '{"predictions": ["{}", "{}"]}')),
    ],
)
def test_answers_of_another_form(server, core, what, text):
    core.always[what] = answered(200, text)
    message = refusal(client.load, server.rest, "discs")
    assert f"Expected TensorFlow Serving at {server.rest}. Received: " in message and len(message) < 800


@pytest.mark.parametrize("text", ["[]", '{"instances": 3}', '{"instances": {"area_min": "20"}}', "[" * 5000, "\ud800"])
@BOTH
def test_configurations_of_another_form(server, core, way, text, monkeypatch):
    monkeypatch.setattr(
        fake_server.Version, "predict", lambda *content: {"texts": np.array([text.encode(errors="surrogatepass")])}
    )
    if way == "rest":
        core.always["predict"] = answered(200, json.dumps({"predictions": [text]}))
    with pytest.raises(ValueError) as error:
        client.load(getattr(server, way), "discs")
    assert "\n" not in str(error.value) and server.rest[7:12] in str(error.value)


def predictions(values):
    """JSON of the maps of two images."""
    return json.dumps({"predictions": [dict.fromkeys(inference.OUTPUTS, values)] * 2})


@pytest.mark.parametrize(
    "values",
    [
        [0.5],
        0.5,
        [],
        [[]],
        [[[0.5]], [[0.5], [0.5]]],
        [[[10**400]]],
        [[[None]]],
        [[["0.5"]]],
        np.full((67, 45), 0.5).tolist(),
        np.full((45, 67, 1), 0.5).tolist(),
        np.zeros((1,) * 60).tolist(),
        [0] * (inference.WINDOW**2 + 1),
    ],
    ids=lambda values: str(values)[:20],
)
def test_predictions_of_another_form(server, core, noise, values):
    network = client.load(server.rest, "discs")
    core.always["predict"] = answered(200, predictions(values))
    assert len(refusal(network, noise)) < 800


def test_predictions_nested_deeply(server, core, noise):
    network = client.load(server.rest, "discs")
    nested = "[" * 10**6 + "0.5" + "]" * 10**6
    core.always["predict"] = answered(200, f'{{"predictions": [{{"segmentation": {nested}}}]}}')
    assert "not arrays of numbers" in refusal(network, noise)


@BOTH
@pytest.mark.parametrize(("value", "shown"), [(7.0, "7"), (-1e30, "-1e+30"), (1.0001, "1.0001"), (1e300, "inf")])
def test_what_is_no_probability_is_refused(server, core, way, noise, monkeypatch, value, shown):
    network, maps = client.load(getattr(server, way), "discs"), np.full((2, 67, 45, 1), 0.5)
    maps[1, 2, 3] = value
    dtype = np.float64 if way == "rest" else np.float32
    with np.errstate(over="ignore"):
        outputs = dict.fromkeys(inference.OUTPUTS, maps.astype(dtype))
    monkeypatch.setattr(fake_server.Version, "predict", lambda *content: outputs)
    message = refusal(network, noise)
    assert "Expected probabilities, 0 to 1, of" in message and shown in message


def response(**tensors):
    """PredictResponse of tensors."""
    answer = predict_pb2.PredictResponse()
    for name, tensor in tensors.items():
        answer.outputs[name].CopyFrom(tensor)
    return answer


def claiming(*sides, dtype=types_pb2.DT_FLOAT, values=(0.5,), **content):
    """Tensor of a shape with few numbers."""
    tensor = tensor_pb2.TensorProto(dtype=dtype, float_val=values, **content)
    for side in sides:
        tensor.tensor_shape.dim.add(size=side)
    return tensor


@pytest.mark.parametrize(
    "tensor",
    [
        claiming(10**6, 10**6, 10**3, 1),
        claiming(-1, 67, 45, 1),
        claiming(2, 67, 45, 1, dtype=types_pb2.DT_STRING),
        claiming(2, 67, 45, 1, dtype=99),
        claiming(2, 67, 45, 1, values=[], tensor_content=b"1234567"),
        tensor_pb2.TensorProto(),
    ],
)
def test_tensors_that_are_not_what_they_claim(server, core, noise, tensor):
    network = client.load(server.grpc, "discs")
    core.always["predict"] = lambda context: response(**dict.fromkeys(inference.OUTPUTS, tensor))
    assert server.grpc in refusal(network, noise)


def test_other_messages_over_grpc(server, core):
    states = get_model_status_pb2.GetModelStatusResponse()
    states.model_version_status.add(version=2, state=77)
    core.always["status"] = lambda context: states
    assert "version 2 state 77" in refusal(client.load, server.grpc, "discs")
    core.always.clear()
    metadata = get_model_metadata_pb2.GetModelMetadataResponse()
    core.always["metadata"] = lambda context: metadata
    assert "Received: none" in refusal(client.load, server.grpc, "discs")
    damaged = any_pb2.Any(type_url="type.googleapis.com/tensorflow.serving.SignatureDefMap", value=b"\xff\xff")
    metadata.metadata["signature_def"].CopyFrom(damaged)
    assert "damaged signatures" in refusal(client.load, server.grpc, "discs")
    core.always.clear()
    core.always["predict"] = lambda context: response(texts=tensor_pb2.TensorProto(string_val=[b"{}", b"{}"]))
    assert "2 texts for 1" in refusal(client.load, server.grpc, "discs")


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def encrypted(core, authority):
    with fake_server.StandIn(core, certificate=authority.issue_cert("127.0.0.1")) as server:
        yield server


@BOTH
def test_encrypted(server, encrypted, way, authority, noise, tmp_path):
    address, file = getattr(encrypted, way), tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    maps = client.load(address, "discs", authorities=file)(noise)
    np.testing.assert_allclose(maps["detection"], client.load(getattr(server, way), "discs")(noise)["detection"])
    assert "no trusted TLS" in refusal(client.load, address, "discs", retries=0)
    trustme.CA().cert_pem.write_to_path(str(file))
    assert "no trusted TLS" in refusal(client.load, address, "discs", authorities=file, retries=0)


def test_authorities_that_are_none(tmp_path):
    (tmp_path / "authority.pem").write_text("none")
    for name, expected in {"authority.pem": "Expected certificates in PEM", "other.pem": "No such file"}.items():
        for scheme in ("https", "grpcs"):
            with pytest.raises((ValueError, OSError), match=f"{expected}.*{name}"):
                client.load(f"{scheme}://127.0.0.1:1", "discs", authorities=tmp_path / name)


class TestCommand:
    """`hou_synth.segment --server`."""

    @pytest.fixture
    def run(self, server, tmp_path):
        files.write_png(tmp_path / "a.png", cv2.merge([np.full((20, 30), 200, np.uint8)] * 3))

        def run(*more):
            return segment.main([*more, "--model", "discs", "--out", str(tmp_path / "out"), str(tmp_path / "a.png")])

        return run

    def test_escape_codes_do_not_reach_the_terminal(self, server, core, run, capsys):
        code = "\x1b]0;title\x07\x1b[31m"
        core.always["predict"] = answered(500, json.dumps({"error": f"out of {code}luck\x9b1m"}))
        assert run("--server", server.rest) == 2
        core.always["predict"] = answered(200, "{}" + code)
        assert run("--server", server.rest) == 2
        core.always["predict"] = answered(404, "", Location=f"http://there/{code}")
        assert run("--server", server.rest) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 3 and all(line.isprintable() and line.startswith("error: ") for line in lines)
        assert "\\x1b[31mluck" in lines[0]

    @pytest.mark.parametrize("seconds", ["0", "-1", "1e9"])
    def test_timeouts_that_are_none(self, server, run, seconds, capsys):
        assert run("--server", server.rest, "--timeout", seconds) == 2
        assert "timeout" in capsys.readouterr().err

    def test_authorities_without_a_server(self, run, capsys):
        assert run("--ca", "authority.pem") == 2
        assert "Expected --ca with --server" in capsys.readouterr().err
