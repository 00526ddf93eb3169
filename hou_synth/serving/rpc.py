"""gRPC requests to TensorFlow Serving, one attempt each; windows are sent as they are, to `serving_default`.

Needs grpc, tensorflow and tensorflow-serving-api, which are imported at the first use.
"""

import os

from hou_synth.serving import errors

OPTIONS = (  # of the channel
    ("grpc.max_send_message_length", -1),  # no limit; 4 MB otherwise
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 250),  # sooner than the next attempt, which would fail without trying
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class Rpc:
    """gRPC interface to one model; see `hou_synth.serving.rest.Rest`, which has the same methods and attributes."""

    needs = ("serving_default", "images", "DT_UINT8")

    def __init__(self, server, name, timeout):
        """Opens the channel; connections are made when needed.

        Args:
            server: `grpc://host:port`.
            name: of the model.
            timeout: seconds for one request.

        Raises:
            Unserved: if a package is not installed.
        """
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        try:
            import grpc
            import tensorflow as tf
            from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
        except ImportError as error:
            raise errors.Unserved(f"Expected tensorflow-serving-api for grpc://. Received: {error}.") from error
        self.server, self.name, self.timeout = server, name, timeout
        self._grpc, self._tf = grpc, tf
        self._channel = grpc.insecure_channel(server.removeprefix("grpc://"), options=OPTIONS)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def states(self):
        """Dict of version -> (state, text of its error) of every version that the server knows."""
        from tensorflow_serving.apis import get_model_status_pb2 as pb2

        request = pb2.GetModelStatusRequest()
        request.model_spec.name = self.name
        answer = self._call(self._models.GetModelStatus, request).model_version_status
        return {v.version: (pb2.ModelVersionStatus.State.Name(v.state), v.status.error_message) for v in answer}

    def signatures(self, version):
        """Dict of signature -> (dict of input -> type, names of its outputs)."""
        from tensorflow_serving.apis import get_model_metadata_pb2 as pb2

        request = self._specified(pb2.GetModelMetadataRequest(metadata_field=["signature_def"]), version)
        answer = pb2.SignatureDefMap()
        self._call(self._predictions.GetModelMetadata, request).metadata["signature_def"].Unpack(answer)
        name_of = self._tf.dtypes.as_dtype
        return {
            name: ({key: f"DT_{name_of(t.dtype).name.upper()}" for key, t in one.inputs.items()}, set(one.outputs))
            for name, one in answer.signature_def.items()
        }

    def maps(self, version, images):
        """Dict of output -> float32 array of windows (b, h, w, 3) uint8 RGB."""
        return self._predict(version, "serving_default", images=images)

    def documents(self, version, names):
        """Texts of files of the model's `assets.extra`."""
        return [text.decode() for text in self._predict(version, "document", names=names)["texts"]]

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
        answer = self._call(self._predictions.Predict, request)
        return {name: self._tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}

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
            return errors.down(self.server, broken(text))
        if code == codes.DEADLINE_EXCEEDED:
            return errors.slow(self.server, self.timeout)
        if code == codes.RESOURCE_EXHAUSTED:
            return errors.large(self.server, said) if "larger than" in text else errors.busy(self.server, said)
        if code == codes.NOT_FOUND:
            return errors.Missing(text)
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
