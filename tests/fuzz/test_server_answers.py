"""Answers of servers: probabilities, or a refusal in one line; in bounded memory."""

import contextlib
import json
import resource
import socketserver
import threading
from concurrent import futures

import grpc
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from hou_synth import config, inference
from hou_synth.serving import client, exchange, retries
from tests.fuzz import damage

IMAGES = np.zeros((2, 3, 4, 3), np.uint8)
SHAPE = (2, 3, 4, 1)
GROWTH = 2**30  # most bytes by which the memory may grow
LONGEST = 2000  # characters of a line


@pytest.fixture(scope="module", autouse=True)
def memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < GROWTH


@pytest.fixture(scope="module", autouse=True)
def waits():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retries.Attempts, "pause", lambda self, seconds: None)
        yield


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "config.json"
    config.save(config.preset("cpu"), path)
    return path.read_text()


def asked(interface):
    """Asks a server for everything that a job asks for; checks what comes of it."""
    try:
        with damage.patience():
            attempts = retries.Attempts(1)
            version = attempts(lambda: client.pinned(interface, "discs", None))
            maps = client.Served(interface, "discs", version, attempts)(IMAGES)
    except ValueError as error:
        line = str(error)
        assert "\n" not in line and len(line) < LONGEST and "Expected " in line and "Received: " in line
        return
    assert set(maps) == set(inference.OUTPUTS)
    for values in maps.values():
        assert values.shape == SHAPE and values.dtype == np.float32
        assert (values >= -inference.ROUNDING).all() and (values <= 1 + inference.ROUNDING).all()


def signature(key, dtype, outputs):
    return {"inputs": {key: {"dtype": dtype, "name": key}}, "outputs": {name: {"dtype": "x"} for name in outputs}}


def rest_answers(settings):
    """Valid answers by what their address ends in; that of the network is the last."""
    rows = np.round(np.random.default_rng(0).random(SHAPE), 3).tolist()
    signatures = {"encoded": signature("image_bytes", "DT_STRING", inference.OUTPUTS)}
    signatures["document"] = signature("names", "DT_STRING", ["texts"])
    versions = [{"version": "2", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]
    return {
        "discs": {"model_version_status": versions},
        "metadata": {"model_spec": {"name": "discs"}, "metadata": {"signature_def": {"signature_def": signatures}}},
        "document": {"predictions": [settings]},
        "predict": {"predictions": [dict.fromkeys(inference.OUTPUTS, row) for row in rows]},
    }


values = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats()
    | strategies.text(max_size=9)
    | strategies.sampled_from([10**30, -(10**400), 1e300, "AVAILABLE", "2", "\ud800", "\x1b[31m", "9" * 5000]),
    lambda inner: strategies.lists(inner, max_size=4) | strategies.dictionaries(strategies.text(max_size=9), inner),
    max_leaves=12,
)


def nodes(value, place=()):
    """Places of all parts of a JSON value."""
    yield place
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from nodes(part, (*place, key))


def replaced(value, place, other):
    """The value with another one at a place."""
    if not place:
        return other
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[place[0]] = replaced(value[place[0]], place[1:], other)
    return changed


def texts(answer):
    """Strategy of what a server may say instead of an answer."""
    places = strategies.sampled_from(list(nodes(answer)))
    changed = strategies.builds(lambda place, other: replaced(answer, place, other), places, values)
    whole = (changed | values).map(lambda value: json.dumps(value).encode())
    return whole | damage.damaged(json.dumps(answer).encode(), tokens=[b"[", b"]", b"{", b'"', b",", b"[" * 2000])


@damage.cases
@hypothesis.given(data=strategies.data())
def test_rest(settings, data):
    answers = rest_answers(settings)
    what = data.draw(strategies.sampled_from(list(answers)))
    contents = {name: json.dumps(answer).encode() for name, answer in answers.items()}
    contents[what] = data.draw(texts(answers[what]))
    code = data.draw(strategies.sampled_from([200] * 8 + [301, 400, 404, 413, 429, 500, 503, 504]))
    headers = {"Retry-After": data.draw(strategies.text(max_size=9) | strategies.sampled_from(["9" * 500, "Mon, 1"]))}
    interface = client.interface("http://127.0.0.1:1", "discs", timeout=1.0)

    def sent(method, url, largest, body=None):
        name = next(name for name in ("document", "predict", "metadata", "discs") if name in url + str(body))
        return exchange.Answer(code if name == what else 200, "Reason", headers, contents[name])

    interface.close()
    interface._exchange = sent
    asked(interface)


@pytest.fixture(scope="module")
def wire():
    """A server that answers each connection with its `content`, whatever it is asked."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(65536)
            with contextlib.suppress(OSError):
                self.request.sendall(self.server.content)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n'


@damage.cases
@hypothesis.given(data=strategies.data())
def test_http(wire, settings, data):
    body = json.dumps(rest_answers(settings)["discs"]).encode()
    tokens = [b"\r\n", b"Location: x", b"Content-Encoding: gzip", b"Retry-After: ", b"100 Continue", b"HTTP/1.0"]
    wire.content = data.draw(damage.damaged(HEAD % len(body) + body, CHUNKED, tokens=tokens))
    interface = client.interface(f"http://127.0.0.1:{wire.server_address[1]}", "discs", timeout=5.0)
    asked(interface)
    interface.close()


def rpc_answers(settings):
    """Valid messages by the name of their method; documents come from the same as the maps."""
    status = get_model_status_pb2.GetModelStatusResponse()
    status.model_version_status.add(version=2, state=30)
    metadata = get_model_metadata_pb2.GetModelMetadataResponse()
    signatures = get_model_metadata_pb2.SignatureDefMap()
    served, document = signatures.signature_def["serving_default"], signatures.signature_def["document"]
    served.inputs["images"].dtype, document.inputs["names"].dtype = 4, 7
    for name in inference.OUTPUTS:
        served.outputs[name].dtype = 1
    metadata.metadata["signature_def"].Pack(signatures)
    maps = predict_pb2.PredictResponse()
    for name in inference.OUTPUTS:
        maps.outputs[name].CopyFrom(tensor_pb2.TensorProto(dtype=1, float_val=np.linspace(0, 1, 24)))
        for side in SHAPE:
            maps.outputs[name].tensor_shape.dim.add(size=side)
    maps.outputs["texts"].CopyFrom(tensor_pb2.TensorProto(dtype=7, string_val=[settings.encode()]))
    return {"GetModelStatus": status, "GetModelMetadata": metadata, "Predict": maps}


class Raw(grpc.GenericRpcHandler):
    """Answers each method with its bytes."""

    def service(self, details):
        content = self.contents[details.method.rpartition("/")[2]]
        return grpc.unary_unary_rpc_method_handler(lambda request, context: content)


@pytest.fixture(scope="module")
def raw():
    handler, server = Raw(), grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    handler.address = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    handler.interface = client.interface(handler.address, "discs", timeout=5.0)
    yield handler
    handler.interface.close()
    server.stop(None).wait()


def tensor(dtype, sides, values, contents):
    proto = tensor_pb2.TensorProto(dtype=dtype, float_val=values[0], double_val=values[1], string_val=contents)
    proto.tensor_content = b"".join(contents)
    for side in sides:
        proto.tensor_shape.dim.add(size=side)
    return proto


def response(tensors):
    answer = predict_pb2.PredictResponse()
    for name, proto in tensors.items():
        answer.outputs[name].CopyFrom(proto)
    return answer


def statuses(versions):
    answer = get_model_status_pb2.GetModelStatusResponse()
    for version, state, text in versions:
        answer.model_version_status.add(version=version, state=state).status.error_message = text
    return answer


def metadata(types, key):
    signatures, answer = get_model_metadata_pb2.SignatureDefMap(), get_model_metadata_pb2.GetModelMetadataResponse()
    for name, (given, dtype, outputs) in types.items():
        signatures.signature_def[name].inputs[given].dtype = dtype
        for output in outputs:
            signatures.signature_def[name].outputs[output].dtype = dtype
    answer.metadata[key].Pack(signatures)
    return answer


numbers = strategies.lists(strategies.floats(width=32), max_size=30), strategies.lists(strategies.floats(), max_size=2)
sizes = strategies.sampled_from([-1, 0, 1, 2, 3, 4, 10**6, 2**62]) | strategies.integers(-(2**63), 2**63 - 1)
enumerated = strategies.sampled_from([0, 1, 4, 7, 10, 30, 40]) | strategies.integers(-(2**31), 2**31 - 1)
line = strategies.text(strategies.characters(codec="utf-8"), max_size=9)
protos = strategies.builds(
    tensor,
    enumerated,
    strategies.just(SHAPE) | strategies.lists(sizes, max_size=6),
    strategies.tuples(*numbers),
    strategies.lists(strategies.binary(max_size=99), max_size=2),
)
names = strategies.sampled_from([*inference.OUTPUTS, "texts"])
called = strategies.sampled_from(["serving_default", "document"]) | line
input_ = strategies.tuples(
    strategies.sampled_from(["images", "names"]) | line, enumerated, strategies.lists(names | line)
)
WELL_FORMED = {
    "GetModelStatus": strategies.lists(strategies.tuples(sizes, enumerated, line), max_size=4).map(statuses),
    "GetModelMetadata": strategies.builds(
        metadata, strategies.dictionaries(called, input_, max_size=4), strategies.just("signature_def") | line
    ),
    "Predict": strategies.dictionaries(names | line, protos, max_size=4).map(response),
}


@damage.cases
@hypothesis.given(data=strategies.data())
def test_grpc(raw, settings, data):
    raw.contents = {name: answer.SerializeToString() for name, answer in rpc_answers(settings).items()}
    what = data.draw(strategies.sampled_from(list(raw.contents)))
    damaged = damage.damaged(raw.contents[what], tokens=[b"\x08", b"\x12\x7f", b"\xff" * 9])
    whole = WELL_FORMED[what].map(lambda message: message.SerializeToString())
    changed = strategies.tuples(strategies.just(raw.contents[what]), whole).map(b"".join)  # protobuf merges the two
    raw.contents[what] = data.draw(damaged | whole | changed | changed)
    asked(raw.interface)
