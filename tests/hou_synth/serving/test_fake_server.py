"""The stand-in answers as TensorFlow Serving's documentation of REST says; the model is its half_plus_two."""

import json

import pytest
import requests

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")

import tensorflow as tf

from tests import fake_server


class Half(tf.Module):
    """y = x / 2 + 2; and two of each."""

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32, name="x")])
    def plus_two(self, x):
        return {"y": x / 2 + 2}

    @tf.function(
        input_signature=[tf.TensorSpec((None,), tf.string, name="text"), tf.TensorSpec((None,), tf.int64, name="n")]
    )
    def repeated(self, text, n):
        return {"text_bytes": text + text, "text": tf.strings.as_string(n) + text, "n": n * 2}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder, module = tmp_path_factory.mktemp("half"), Half()
    signatures = {"serving_default": module.plus_two, "repeated": module.repeated}
    tf.saved_model.save(module, str(folder / "123"), signatures=signatures)
    with fake_server.StandIn(fake_server.Core(half=folder)) as server:
        yield f"{server.rest}/v1/models"


def post(address, path, **body):
    answer = requests.post(f"{address}/{path}", data=json.dumps(body), timeout=20)
    assert answer.headers["Content-Type"] == "application/json"
    return answer.status_code, answer.json()


def test_rows_and_columns(address):
    assert post(address, "half:predict", instances=[1.0, 2.0, 5.0]) == (200, {"predictions": [2.5, 3.0, 4.5]})
    assert post(address, "half/versions/123:predict", inputs=[3.0]) == (200, {"outputs": [3.5]})
    assert post(address, "half:predict", inputs={"x": [3]}, signature_name="serving_default")[1] == {"outputs": [3.5]}


def test_named_inputs_and_binary_values(address):
    row = {"text": {"b64": "YQ=="}, "n": 3}
    twice = {"n": 6, "text": "3a", "text_bytes": {"b64": "YWE="}}
    assert post(address, "half:predict", instances=[row, row], signature_name="repeated") == (
        200,
        {"predictions": [twice, twice]},
    )
    columns = {"text": ["a"], "n": [3]}
    assert post(address, "half:predict", inputs=columns, signature_name="repeated") == (
        200,
        {"outputs": {name: [value] for name, value in twice.items()}},
    )


def test_status(address):
    expected = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("half", "half/versions/123"):
        assert requests.get(f"{address}/{path}", timeout=20).json() == {"model_version_status": [expected]}


def test_metadata(address):
    answer = requests.get(f"{address}/half/metadata", timeout=20).json()
    assert answer["model_spec"] == {"name": "half", "signature_name": "", "version": "123"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert signature["inputs"]["x"]["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}


@pytest.mark.parametrize(
    ("path", "body", "code", "text"),
    [
        ("other:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(other)"),
        ("half/versions/7:predict", {"instances": [1]}, 404, "Servable not found for request: Specific(half, 7)"),
        ("half:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("half:predict", {"instances": ["a"]}, 400, "not of expected type: float"),
        ("half:predict", {"instances": [1], "signature_name": "no"}, 400, '"no" not found in signature def'),
        ("half:predict", {"inputs": {"y": [1]}}, 400, "Missing named input: x in 'inputs' object."),
        ("half:classify", {}, 400, "Malformed request: POST /v1/models/half:classify"),
    ],
)
def test_errors(address, path, body, code, text):
    status, answer = post(address, path, **body)
    assert status == code and list(answer) == ["error"] and text in answer["error"]


def test_a_model_or_version_that_is_not_there(address):
    texts = {"other": "Could not find any versions of model other", "half/versions/7": "version 7 of model half"}
    for path, text in texts.items():
        answer = requests.get(f"{address}/{path}", timeout=20)
        assert answer.status_code == 404 and text in answer.json()["error"]
