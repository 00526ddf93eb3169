"""A stand-in for TensorFlow Serving, for tests; it is not TensorFlow Serving.

It answers the documented REST and gRPC interfaces for SavedModels that TensorFlow for Python runs, with the texts of
TensorFlow Serving's errors, and misbehaves on demand. By hand: `python -m tests.fake_server saved_models/NAME`.
"""

import argparse
import base64
import collections
import contextlib
import http.server
import json
import pathlib
import re
import ssl
import threading
import time
from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

HTTP = {"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "NOT_FOUND": 404, "INTERNAL": 500, "UNAVAILABLE": 503}
PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(?:(:predict)|/(metadata))?")
DEFAULT = "serving_default"


class Refused(Exception):
    """An error with its canonical code."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Version:
    """A loaded SavedModel, its signatures as protobufs, and its state."""

    def __init__(self, folder):
        self.model, self.state, self.error = tf.saved_model.load(str(folder)), "AVAILABLE", ""
        saved = saved_model_pb2.SavedModel()
        saved.ParseFromString((folder / "saved_model.pb").read_bytes())
        self.signatures = saved.meta_graphs[0].signature_def

    def predict(self, signature, inputs):
        """Dict of output arrays of a signature for a dict of input arrays."""
        wanted, given = set(self.signatures[signature].inputs), set(inputs)
        if wanted != given:
            raise Refused("INVALID_ARGUMENT", f"input size does not match signature: {given} != {wanted}")
        try:
            tensors = {name: tf.constant(value) for name, value in inputs.items()}
            outputs = self.model.signatures[signature](**tensors)
        except (tf.errors.InvalidArgumentError, TypeError, ValueError) as error:
            raise Refused("INVALID_ARGUMENT", getattr(error, "message", str(error))) from error
        return {name: output.numpy() for name, output in sorted(outputs.items())}


class Core:
    """What both interfaces share: models, the requests so far, and the misbehaviour to come.

    Attributes:
        models: dict of name -> dict of version -> `Version`.
        requests: list of (what, model, version).
        tricks: functions that the next predictions meet first, one each; they take the interface's handler.
        always: dict of what is asked for ("status", "metadata", "predict") -> function that every such request meets.
    """

    def __init__(self, **folders):
        self.models, self.requests, self.tricks, self.always = {}, [], collections.deque(), {}
        self.lock = threading.Lock()
        for name, folder in folders.items():
            versions = [path for path in pathlib.Path(folder).iterdir() if path.name.isdecimal()]
            self.models[name] = {int(path.name): Version(path) for path in versions}

    def trick(self, what, model, version):
        """Notes a request; the misbehaviour that it shall meet, or None."""
        with self.lock:
            self.requests.append((what, model, version))
            return self.tricks.popleft() if what == "predict" and self.tricks else self.always.get(what)

    def count(self, what="predict"):
        """Number of requests of a kind."""
        return sum(request[0] == what for request in self.requests)

    def find(self, name, version):
        """The `Version` that answers, and its number."""
        available = [n for n, one in self.models.get(name, {}).items() if one.state == "AVAILABLE"]
        number = version or max(available, default=0)
        if number not in available:
            wanted = f"Specific({name}, {version})" if version else f"Latest({name})"
            raise Refused("NOT_FOUND", f"Servable not found for request: {wanted}")
        return self.models[name][number], number

    def status(self, name, version):
        """The GetModelStatusResponse."""
        states = get_model_status_pb2.ModelVersionStatus.State
        answer = get_model_status_pb2.GetModelStatusResponse()
        versions = {n: one for n, one in self.models.get(name, {}).items() if version in (None, n)}
        if not versions:
            none = f"Could not find version {version} of model {name}"
            raise Refused("NOT_FOUND", none if version else f"Could not find any versions of model {name}")
        for number, one in sorted(versions.items(), reverse=True):
            status = answer.model_version_status.add(version=number, state=states.Value(one.state))
            status.status.error_code, status.status.error_message = 2 if one.error else 0, one.error
        return answer

    def metadata(self, name, version):
        """The number of the version and its SignatureDefMap."""
        found, number = self.find(name, version)
        return number, get_model_metadata_pb2.SignatureDefMap(signature_def=found.signatures)


class Rest(http.server.BaseHTTPRequestHandler):
    """REST interface; the server has the `core`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *content):
        pass

    def do_GET(self):
        self.respond(b"")

    def do_POST(self):
        self.respond(self.rfile.read(int(self.headers["Content-Length"])))

    def respond(self, body):
        match, core = PATH.fullmatch(self.path), self.server.core
        try:
            if not match or (self.command == "POST") != bool(match[3]):
                raise Refused("INVALID_ARGUMENT", f"Malformed request: {self.command} {self.path}")
            name, version = match[1], match[2] and int(match[2])
            what = "predict" if match[3] else match[4] or "status"
            trick = core.trick(what, name, version)
            if trick and trick(self):
                return
            answer = getattr(self, what)(core, name, version, body)
            self.send(200, json.dumps(answer, indent=None if "predictions" in answer else 4))
        except Refused as error:
            self.send(HTTP[error.code], json.dumps({"error": str(error)}))

    def send(self, code, text, kind="application/json", **headers):
        self.send_response(code)
        for name, value in {"Content-Type": kind, "Content-Length": len(text.encode()), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(text.encode())

    def status(self, core, name, version, body):
        return as_json(core.status(name, version))

    def metadata(self, core, name, version, body):
        number, signatures = core.metadata(name, version)
        specification = {"name": name, "signature_name": "", "version": str(number)}
        return {"model_spec": specification, "metadata": {"signature_def": as_json(signatures)}}

    def predict(self, core, name, version, body):
        found, _ = core.find(name, version)
        try:
            request = json.loads(body)
        except ValueError as error:
            raise Refused("INVALID_ARGUMENT", f"JSON Parse error: Invalid value. at offset: {error.pos}") from error
        signature = request.get("signature_name") or DEFAULT
        if signature not in found.signatures:
            raise Refused("INVALID_ARGUMENT", f'Serving signature name: "{signature}" not found in signature def')
        types = {key: tensor.dtype for key, tensor in found.signatures[signature].inputs.items()}
        outputs = found.predict(signature, tensors(request, types))
        if "instances" in request:
            return {"predictions": rows(outputs)}
        return {"outputs": columns(outputs)}


class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    """gRPC interface to predictions and metadata."""

    def __init__(self, core):
        self.core = core

    def Predict(self, request, context):
        name, version = specified(request)
        said = met(self.core.trick("predict", name, version), context)
        if isinstance(said, predict_pb2.PredictResponse):
            return said
        with aborting(context):
            found, number = self.core.find(name, version)
            signature = request.model_spec.signature_name or DEFAULT
            if signature not in found.signatures:
                raise Refused("FAILED_PRECONDITION", f'Serving signature key "{signature}" not found.')
            inputs = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
            answer = predict_pb2.PredictResponse()
            for key, value in found.predict(signature, inputs).items():
                answer.outputs[key].CopyFrom(tensor(value))
            answer.model_spec.name, answer.model_spec.version.value = name, number
            return answer

    def GetModelMetadata(self, request, context):
        name, version = specified(request)
        said = met(self.core.trick("metadata", name, version), context)
        if said:
            return said
        with aborting(context):
            answer = get_model_metadata_pb2.GetModelMetadataResponse()
            answer.metadata["signature_def"].Pack(self.core.metadata(name, version)[1])
            return answer


class Models(model_service_pb2_grpc.ModelServiceServicer):
    """gRPC interface to the status."""

    def __init__(self, core):
        self.core = core

    def GetModelStatus(self, request, context):
        name, version = specified(request)
        said = met(self.core.trick("status", name, version), context)
        with aborting(context):
            return said or self.core.status(name, version)


def met(trick, context):
    """What a trick says instead of the answer of gRPC, if it is one."""
    return trick and trick(context)


def answered(code, text, **headers):
    """Trick: another answer over REST."""

    def trick(handler):
        handler.send(code, text, "application/json" if text.startswith(("{", "[")) else "text/html", **headers)
        return True

    return trick


def specified(request):
    """Model and version, or None, of a gRPC request."""
    return request.model_spec.name, request.model_spec.version.value or None


@contextlib.contextmanager
def aborting(context):
    """Context that answers `Refused` with its code."""
    try:
        yield
    except Refused as error:
        context.abort(grpc.StatusCode[error.code], str(error))


def tensor(value):
    """TensorProto of an array with its numbers in a field of their type, as TensorFlow Serving sends them."""
    proto = tf.make_tensor_proto(value)
    if proto.dtype == tf.float32.as_datatype_enum:
        proto.ClearField("tensor_content")
        proto.float_val[:] = value.ravel().tolist()
    return proto


def as_json(message):
    """A protobuf as TensorFlow Serving writes it."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def tensors(request, types):
    """Arrays of the inputs of a request, in rows or in columns."""
    if ("instances" in request) == ("inputs" in request):
        raise Refused("INVALID_ARGUMENT", "Missing 'inputs' or 'instances' key")
    content = request.get("inputs", request.get("instances"))
    if "instances" in request and named(content[0]):
        content = {name: [row[name] for row in content] for name in types}
    elif "inputs" in request and named(content):
        missing = [name for name in types if name not in content]
        if missing:
            raise Refused("INVALID_ARGUMENT", f"Missing named input: {missing[0]} in 'inputs' object.")
    elif len(types) > 1:
        raise Refused("INVALID_ARGUMENT", "inputs is a plain value/list, but expecting an object")
    else:
        content = dict.fromkeys(types, content)
    return {name: array(content[name], tf.dtypes.as_dtype(types[name])) for name in types}


def named(value):
    """Whether a value is an object of inputs by their names."""
    return isinstance(value, dict) and set(value) != {"b64"}


def array(value, dtype):
    """Array of a nested list, strings and {"b64": ...} as bytes."""
    try:
        return np.array(plain(value), object if dtype == tf.string else dtype.as_numpy_dtype)
    except (TypeError, ValueError, OverflowError) as error:
        text = f"JSON Value: {value} is not of expected type: {dtype.name}"
        raise Refused("INVALID_ARGUMENT", text) from error


def plain(value):
    """A nested list with its {"b64": ...} decoded."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def columns(outputs):
    """The value of "outputs"."""
    values = {name: listed(name, value) for name, value in outputs.items()}
    return values if len(values) > 1 else next(iter(values.values()))


def rows(outputs):
    """The value of "predictions"."""
    values = {name: listed(name, value) for name, value in outputs.items()}
    if len({len(value) for value in values.values()}) > 1:
        raise Refused("INVALID_ARGUMENT", "Tensor name: x has inconsistent batch size")
    if len(values) == 1:
        return next(iter(values.values()))
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def listed(name, value):
    """A nested list with its bytes as text, or as {"b64": ...} if the output's name ends in _bytes."""
    if value.dtype != object:
        return value.tolist()
    if name.endswith("_bytes"):
        return [{"b64": base64.b64encode(each).decode()} for each in value]
    return [each.decode() for each in value]


class StandIn:
    """Both interfaces of a core on 127.0.0.1.

    Attributes:
        core: the `Core`.
        rest, grpc: addresses.
    """

    def __init__(self, core, port=0, grpc_port=0, certificate=None):
        """Takes the ports, 0 for any that is free, and a `trustme.LeafCert` for TLS."""
        self.core = core
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", port), Rest)
        self._http.core, self._http.daemon_threads = core, True
        secure = ""
        if certificate:
            secure, context = "s", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        unlimited = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
        self._grpc = grpc.server(futures.ThreadPoolExecutor(8), options=unlimited)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(core), self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(core), self._grpc)
        self.rest = f"http{secure}://127.0.0.1:{self._http.server_port}"
        self.grpc = f"grpc{secure}://127.0.0.1:{self._port(f'127.0.0.1:{grpc_port}', certificate)}"

    def _port(self, address, certificate):
        if not certificate:
            return self._grpc.add_insecure_port(address)
        chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
        pair = certificate.private_key_pem.bytes(), chain
        return self._grpc.add_secure_port(address, grpc.ssl_server_credentials([pair]))

    def __enter__(self):
        self._grpc.start()
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self._http.shutdown()
        self._http.server_close()
        self._grpc.stop(None).wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path, help="saved_models/NAME")
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--grpc-port", type=int, default=8500)
    args = parser.parse_args()
    with StandIn(Core(**{args.folder.name: args.folder}), args.port, args.grpc_port) as server:
        print(f"{args.folder.name} at {server.rest} and {server.grpc}; Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


if __name__ == "__main__":
    main()
