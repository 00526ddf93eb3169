import http.server
import json
import re
import shlex
import subprocess
import sys
import threading

import cv2
import keras
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.config import model_server_config_pb2

from hou_synth import inference, segment
from tests import fake_server
from tests.paths import ROOT
from train import export
from train.serving import labels_json, signatures, warmup

FOLDER = ROOT / "serving"
PAGE = (FOLDER / "README.md").read_text()
NAME = "universal_unet"
REST, GRPC = 8501, 8500
INTEGER, FLAG, TEXT, MESSAGE = 3, 8, 9, 11  # types of fields in descriptor.proto
WRAPPED = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")


def declared():
    """Message classes that no package has, as in TensorFlow Serving's session_bundle_ and monitoring_config.proto."""
    file = descriptor_pb2.FileDescriptorProto(name="serving.proto", package="serving", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    wrapper = {"type": MESSAGE, "type_name": ".google.protobuf.Int64Value", "label": 1}
    batching = file.message_type.add(name="BatchingParameters")
    for number, name in enumerate(WRAPPED, 1):
        batching.field.add(name=name, number=number, **wrapper)
    batching.field.add(name="allowed_batch_sizes", number=6, type=INTEGER, label=3)
    batching.field.add(name="pad_variable_length_inputs", number=7, type=FLAG, label=1)
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=FLAG, label=1)
    prometheus.field.add(name="path", number=2, type=TEXT, label=1)
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(
        name="prometheus_config", number=1, type=MESSAGE, type_name=".serving.PrometheusConfig", label=1
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    names = ("BatchingParameters", "MonitoringConfig")
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(f"serving.{name}")) for name in names]


def parsed(file, kind):
    return text_format.Parse((FOLDER / file).read_text(), kind())


def model(text):
    return text_format.Parse(text, model_server_config_pb2.ModelConfig())


@pytest.fixture(scope="module")
def compose():
    yaml = pytest.importorskip("yaml")  # comes with dask
    return yaml.safe_load((FOLDER / "docker-compose.yml").read_text())["services"]


def flags(service):
    """Dict of the flags of a service; all have the form --name=value."""
    words = [*service["entrypoint"], *service.get("command", [])]
    assert words[0] == "tensorflow_model_server"
    return dict(re.fullmatch(r"--(\w+)=(.+)", word).groups() for word in words[1:])


def test_batches_have_the_sizes_of_the_warm_up_requests():
    batching = parsed("batching.config", declared()[0])
    assert tuple(batching.allowed_batch_sizes) == warmup.BATCHES == tuple(sorted(set(warmup.BATCHES)))
    assert batching.max_batch_size.value == warmup.BATCHES[-1]  # the server refuses to start otherwise
    assert not batching.pad_variable_length_inputs
    assert batching.num_batch_threads.value >= 1 and 0 < batching.batch_timeout_micros.value < 100_000
    assert batching.max_enqueued_batches.value >= batching.num_batch_threads.value


def test_metrics_are_where_the_page_says():
    monitoring = parsed("monitoring.config", declared()[1]).prometheus_config
    assert monitoring.enable and f"http://localhost:{REST}{monitoring.path}" in PAGE


def test_one_model_is_served_by_its_highest_version():
    (served,) = parsed("models.config", model_server_config_pb2.ModelServerConfig).model_config_list.config
    assert (served.name, served.base_path, served.model_platform) == (NAME, f"/models/{NAME}", "tensorflow")
    assert served.model_version_policy.latest.num_versions == 1 and not served.version_labels


def test_the_policies_that_are_recommended_can_be_read():
    text = (FOLDER / "models.config").read_text()
    said = [" ".join(each.split()[1:]) for each in re.findall(r"# +(?:model_version_policy|version_labels) .*", text)]
    pinned, two, *labels = said
    assert list(model(pinned).model_version_policy.specific.versions) == [2]
    both = model("\n".join([two, *labels]))
    assert list(both.model_version_policy.specific.versions) == [2, 3]
    assert both.version_labels == {"stable": 2, "canary": 3}
    assert re.search(r"```\n(.*)\n```", PAGE)[1] == pinned
    for policy in re.findall(r"`((?:specific|latest) {.*?})`", PAGE):
        assert model(f"model_version_policy {{ {policy} }}").model_version_policy.WhichOneof("policy_choice")
    assert model(re.search(r"`(version_labels {.*?})`", PAGE)[1]).version_labels == {"stable": 2}


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_a_service_finds_its_files(compose, profile):
    service = compose[profile]
    assert service["profiles"] == [profile]
    targets = {each["target"]: (FOLDER / each["source"]).resolve() for each in service["volumes"]}
    assert targets == {"/models": FOLDER.parent / "saved_models", "/config": FOLDER}
    assert all(each["read_only"] and each["type"] == "bind" for each in service["volumes"])
    files = {name: value for name, value in flags(service).items() if name.endswith("_file")}
    assert {"model_config_file", "monitoring_config_file"} <= files.keys()
    assert all(value.startswith("/config/") and (FOLDER / value[8:]).is_file() for value in files.values())


def test_the_services_differ_in_image_batches_and_device(compose):
    images = [re.fullmatch(r"tensorflow/serving:(\d+\.\d+\.\d+)(-gpu)?", compose[name]["image"]) for name in compose]
    assert [image[2] for image in images] == [None, "-gpu"] and images[0][1] == images[1][1]
    batches = {"enable_batching": "true", "batching_parameters_file": "/config/batching.config"}
    assert flags(compose["gpu"]) == flags(compose["cpu"]) | batches
    (device,) = compose["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"] and "deploy" not in compose["cpu"]


def test_ports_are_the_page_s_and_of_this_machine_alone(compose):
    for service in compose.values():
        assert service["ports"] == [f"127.0.0.1:{port}:{port}" for port in (GRPC, REST)]
        assert (flags(service)["port"], flags(service)["rest_api_port"]) == (str(GRPC), str(REST))
    found = {(scheme, int(port)) for scheme, port in re.findall(r"(\w+)://localhost:(\d+)", PAGE)}
    assert found == {("http", REST), ("grpc", GRPC)}


def test_the_page_names_one_model_and_files_that_there_are():
    assert set(re.findall(r"(?:/v1/|\.\.\./)models/(\w+)", PAGE)) == {NAME}
    assert set(re.findall(r"saved_models/(\w+)", PAGE)) == {NAME}
    mentioned = set(re.findall(r"`([\w-]+\.(?:yml|config))`", PAGE))
    assert mentioned == {path.name for path in FOLDER.iterdir()} - {"README.md"}


def test_the_page_has_every_signature():
    rows = dict(re.findall(r"\| `(\w+)`(?: \(full runs\))? \| (.*) \|", PAGE))
    assert rows.keys() == labels_json.SIGNATURES.keys()
    for name, signature in labels_json.SIGNATURES.items():
        wanted = set(signature["inputs"]) | (set() if name == "encoded" else set(signature["outputs"]))
        assert wanted <= set(re.findall(r"`(\w+)`", rows[name]))


def commands(module):
    """Arguments of the page's calls of a module."""
    lines = re.findall(rf"python -m {module} (.+?)(?: &&|$)", PAGE, re.MULTILINE)
    return [shlex.split(line) for line in lines if line.startswith("--")]


def test_the_page_s_commands_are_understood():
    exports = [export.arguments(words) for words in commands("train.export")]
    assert [str(each.out) for each in exports] == [f"saved_models/{NAME}"]
    clients = [segment.arguments(words) for words in commands("hou_synth.segment")]
    assert [(each.server, each.model) for each in clients] == [
        (f"http://localhost:{REST}", NAME),
        (f"grpc://localhost:{GRPC}", f"{NAME}/2"),
    ]


@pytest.mark.parametrize("state,code", [("AVAILABLE", 0), ("LOADING", 1)])
def test_the_health_check_tells_whether_a_version_is_available(compose, state, code):
    asked = []

    class Status(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Host"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(
                json.dumps({"model_version_status": [{"version": "1", "state": state}]}, indent=1).encode()
            )

        def log_message(self, *_):
            pass

    for service in compose.values():
        assert service["healthcheck"]["test"][0] == "CMD"
    with http.server.HTTPServer(("127.0.0.1", 0), Status) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        words = [word.replace(str(REST), str(server.server_port)) for word in service["healthcheck"]["test"][1:]]
        assert subprocess.run(words, timeout=10).returncode == code
        server.shutdown()
    assert asked == [(f"/v1/models/{NAME}", "localhost")]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A stand-in for the server, with a small model of the page's name."""
    image = keras.Input((None, None, 3))
    keras.utils.set_random_seed(0)
    network = keras.Model(image, {name: keras.layers.Conv2D(1, 3, padding="same")(image) for name in inference.OUTPUTS})
    folder = tmp_path_factory.mktemp("models") / NAME
    texts = {"labels.json": '{"format": 1}', "model_card.md": "# Card\n"}
    signatures.Served(network, texts).save(folder / "1")
    with fake_server.StandIn(fake_server.Core(**{NAME: folder})) as server:
        yield network, server


def test_the_page_leads_to_an_answer(served, tmp_path):
    network, server = served
    image = np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "tile.png"), image[..., ::-1])
    blocks = [
        block for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) if re.search("curl|python -c", block)
    ]
    first = [block for block in blocks if "docker" not in block and "train.export" not in block and "/1" not in block]
    script = "\n".join(["set -e", *first]).replace(f"http://localhost:{REST}", server.rest)
    script = script.replace("python -c", f"{shlex.quote(sys.executable)} -c")
    said = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert '"state": "AVAILABLE"' in said and '"signature_def"' in said and "# Card" in said
    expected = signatures.probabilities(network, image[None])["segmentation"].numpy()[0, ..., 0]
    shown = cv2.imread(str(tmp_path / "nuclei.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(shown, 255 * expected, rtol=0, atol=1.001)
