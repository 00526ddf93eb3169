"""gRPC requests to TensorFlow Serving, one attempt each; windows are sent as they are, to `serving_default`.

Needs grpc, tensorflow and tensorflow-serving-api, which are imported at the first use.
"""

from hou_synth import inference
from hou_synth.io import quiet
from hou_synth.serving import errors

LARGEST = 2**28  # bytes of an answer: 28 windows of 1088x1088; ours
OPTIONS = (  # of the channel
    ("grpc.max_send_message_length", -1),  # no limit; 4 MB otherwise
    ("grpc.max_receive_message_length", LARGEST),
    ("grpc.initial_reconnect_backoff_ms", 250),  # sooner than the next attempt, which would fail without trying
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class Rpc:
    """gRPC interface to one model; see `hou_synth.serving.rest.Rest`, which has the same methods and attributes."""

    needs = ("serving_default", "images", "DT_UINT8")

    def __init__(self, server, name, timeout, certificates=None):
        """Opens the channel; connections are made when needed.

        Args:
            server: `grpc://host:port`, or `grpcs://host:port` for a connection with TLS.
            name: of the model.
            timeout: seconds for one request.
            certificates: text of the PEM certificates that are trusted; None for those that come with gRPC.

        Raises:
            Unserved: if a package is not installed.
        """
        quiet.tensorflow()
        try:
            import grpc
            import tensorflow as tf
            from google.protobuf import message
            from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
        except ImportError as error:
            raise errors.Unserved(f"Expected tensorflow-serving-api for grpc://. Received: {error}.") from error
        self.server, self.name, self.timeout = server, name, timeout
        self._grpc, self._tf, self._damaged = grpc, tf, message.DecodeError
        scheme, _, address = server.partition("://")
        if scheme == "grpcs":
            credentials = grpc.ssl_channel_credentials(certificates and certificates.encode())
            self._channel = grpc.secure_channel(address, credentials, options=OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def states(self):
        """Dict of version -> (state, text of its error) of every version that the server knows."""
        from tensorflow_serving.apis import get_model_status_pb2 as pb2

        request = pb2.GetModelStatusRequest()
        request.model_spec.name = self.name
        answer = self._call(self._models.GetModelStatus, request).model_version_status
        names = {number: name for name, number in pb2.ModelVersionStatus.State.items()}
        return {v.version: (names.get(v.state, f"state {v.state}"), v.status.error_message) for v in answer}

    def signatures(self, version):
        """Dict of signature -> (dict of input -> type, names of its outputs)."""
        from tensorflow.core.framework import types_pb2
        from tensorflow_serving.apis import get_model_metadata_pb2 as pb2

        request = self._specified(pb2.GetModelMetadataRequest(metadata_field=["signature_def"]), version)
        packed, answer = self._call(self._predictions.GetModelMetadata, request).metadata, pb2.SignatureDefMap()
        try:
            packed["signature_def"].Unpack(answer)
        except self._damaged as error:
            raise errors.foreign(self.server, f"damaged signatures, {errors.reason(error)}") from error
        names = {number: name for name, number in types_pb2.DataType.items()}
        return {
            name: (
                {key: names.get(tensor.dtype, f"type {tensor.dtype}") for key, tensor in signature.inputs.items()},
                set(signature.outputs),
            )
            for name, signature in answer.signature_def.items()
        }

    def maps(self, version, images):
        """Dict of output -> float32 array of windows (b, h, w, 3) uint8 RGB."""
        tensors = self._predict(version, "serving_default", images=images)
        shape = (*images.shape[:3], 1)
        return {name: self._map(name, tensors[name], shape) for name in inference.OUTPUTS if name in tensors}

    def documents(self, version, names):
        """Texts of files of the model's `assets.extra`."""
        contents = self._predict(version, "document", names=names)["texts"].string_val
        if len(contents) != len(names):
            raise errors.foreign(self.server, f"{len(contents)} texts for {len(names)}")
        return [content.decode(errors="replace") for content in contents]

    def _map(self, name, tensor, shape):
        """Array of a TensorProto, which is looked at first: a few bytes can ask for a terabyte."""
        sides = tuple(side.size for side in tensor.tensor_shape.dim)
        if tensor.dtype != self._tf.float32.as_datatype_enum or sides != shape:
            kind = f"{errors.short(sides)} of type {tensor.dtype}"
            raise errors.Unserved(f"Expected {name} of float32 {shape} of {self.server}. Received: {kind}.")
        try:
            return self._tf.make_ndarray(tensor)
        except (ValueError, TypeError) as error:
            raise errors.foreign(self.server, f"a damaged {name}, {errors.reason(error)}") from error

    def close(self):
        """Closes the channel; requests under way end."""
        self._channel.close()

    def _specified(self, request, version):
        request.model_spec.name = self.name
        request.model_spec.version.value = version
        return request

    def _predict(self, version, signature, **inputs):
        from tensorflow_serving.apis import predict_pb2

        request = self._specified(predict_pb2.PredictRequest(), version)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(self._tf.make_tensor_proto(value))
        return self._call(self._predictions.Predict, request).outputs

    def _call(self, method, request):
        try:
            return method(request, timeout=self.timeout)
        except self._grpc.RpcError as error:
            raise self._failure(error.code(), error.details() or "") from error
        except ValueError as error:  # of a channel that `close` has closed
            raise errors.Unserved(f"Expected an open connection to {self.server}. Received: {error}") from error

    def _failure(self, code, text):
        codes, said = self._grpc.StatusCode, f"{code.name}, {errors.reason(text)}"
        if code == codes.UNAVAILABLE:
            if "certificate" in text.lower():
                return errors.foreign(self.server, f"no trusted TLS, {errors.reason(text)}")
            return errors.down(self.server, broken(text))
        if code == codes.DEADLINE_EXCEEDED:
            return errors.slow(self.server, self.timeout)
        if code == codes.RESOURCE_EXHAUSTED and "CLIENT: Received message larger" in text:
            return errors.endless(self.server, LARGEST)
        if code == codes.RESOURCE_EXHAUSTED:
            return errors.large(self.server, said) if "larger than" in text else errors.busy(self.server, said)
        if code == codes.NOT_FOUND:
            return errors.Missing(errors.reason(text))
        if code == codes.UNIMPLEMENTED:
            return errors.foreign(self.server, said)
        return errors.refused(self.server, code.name, text)


def broken(text):
    """Why there is no connection, in a few words, out of the text of gRPC."""
    known = {
        "Connection refused": "connection refused",
        "resol": "unknown host",
        "HTTP/2": "an answer that is not gRPC, maybe from the port of REST",
    }
    return next((words for part, words in known.items() if part in text), errors.reason(text))
