import json
import math
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent import futures

import numpy as np
import pytest
import requests

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")

import grpc

import hou_synth
from hou_synth import config, inference, instances, model
from hou_synth.serving import client, errors, rest, retries
from tests import fake_server
from tests.fake_server import answered
from tests.paths import ROOT
from tests.refusal import refusal

BINARY = "tensorflow_model_server"  # of TensorFlow Serving; the same tests run on it where it is installed
BOTH = pytest.mark.parametrize("way", ["rest", "grpc"])


class Deployed:
    """A server of discs/1 to which versions are added and taken away."""

    def __init__(self, folder, rest_url, grpc_url, add, drop):
        self.rest, self.grpc = rest_url, grpc_url
        self.add, self.drop = add, drop
        self.local = {version: hou_synth.load(folder / str(version)).network for version in (1, 2)}


@pytest.fixture(params=["standin", BINARY])
def deployed(request, folder):
    if request.param == BINARY and not shutil.which(BINARY):
        pytest.skip(f"no {BINARY} on the PATH")
    return request.getfixturevalue(f"deployed_{'standin' if request.param == 'standin' else 'binary'}")


@pytest.fixture
def deployed_standin(server, core, folder):
    versions, loaded = core.models["discs"], dict(core.models["discs"])
    del versions[2]
    return Deployed(
        folder, server.rest, server.grpc, lambda version: versions.update({version: loaded[version]}), versions.pop
    )


@pytest.fixture
def deployed_binary(folder, tmp_path):
    """TensorFlow Serving itself, all versions of a folder that it polls every second."""
    base = tmp_path / "discs"
    ports = free_port(), free_port()
    (tmp_path / "models.config").write_text(
        f'model_config_list {{ config {{ name: "discs" base_path: "{base}" model_platform: "tensorflow" '
        "model_version_policy { all {} } } }\n"
    )
    address = f"http://127.0.0.1:{ports[0]}"

    def wait_for(version, state):
        for _ in range(600):
            time.sleep(0.1)
            try:
                answer = requests.get(f"{address}/v1/models/discs/versions/{version}", timeout=5).json()
            except requests.ConnectionError:
                continue
            if state in [one["state"] for one in answer.get("model_version_status", [])]:
                return
        raise TimeoutError((tmp_path / "log").read_text())

    def add(version):
        shutil.copytree(folder / str(version), tmp_path / "copied")
        (tmp_path / "copied").rename(base / str(version))
        wait_for(version, "AVAILABLE")

    def drop(version):
        shutil.rmtree(base / str(version))
        wait_for(version, "END")

    base.mkdir()
    shutil.copytree(folder / "1", base / "1")
    options = {"rest_api_port": ports[0], "port": ports[1], "model_config_file": tmp_path / "models.config"}
    options |= {"file_system_poll_wait_seconds": 1}
    command = [BINARY, *(f"--{name}={value}" for name, value in options.items())]
    with open(tmp_path / "log", "wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_for(1, "AVAILABLE")
            yield Deployed(folder, address, f"grpc://127.0.0.1:{ports[1]}", add, drop)
        finally:
            process.terminate()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def hang_up(handler):
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


def aborted(code, text=""):
    return lambda context: context.abort(grpc.StatusCode[code], text)


@BOTH
def test_served_equals_local(deployed, way, noise, stained):
    network, local = client.load(getattr(deployed, way), "discs"), deployed.local[1]
    for shape in [(2, 67, 45), (1, 1, 1), (1, 96, 33)]:
        images = np.resize(noise, (*shape, 3))
        maps, expected = network(images), local(images)
        assert set(maps) == set(expected)
        for name in inference.OUTPUTS:
            assert maps[name].dtype == np.float32 and maps[name].shape == (*shape, 1)
            np.testing.assert_allclose(maps[name], expected[name], rtol=0, atol=1e-5)
    tiling = {"normalise": False, "window": 64, "overlap": 16, "batch": 3, "settings": network.settings}
    nuclei = inference.segment(network, stained[:95, :127], parallel=4, **tiling)
    assert nuclei.max() >= 3
    np.testing.assert_array_equal(nuclei, inference.segment(local, stained[:95, :127], **tiling))


@BOTH
def test_the_pinned_version_answers(deployed, way, noise):
    address = getattr(deployed, way)
    network = client.load(address, "discs")
    assert network.identity == f"{address} discs/1"
    deployed.add(2)
    newer = client.load(address, "discs")
    assert newer.identity == f"{address} discs/2"
    assert client.load(address, "discs/1").identity == network.identity
    for pinned, version in [(network, 1), (newer, 2)]:
        np.testing.assert_allclose(pinned(noise)["detection"], deployed.local[version](noise)["detection"], atol=1e-5)
        expected = deployed.local[version](noise)["segmentation"]
        np.testing.assert_allclose(pinned(noise)["segmentation"], expected, atol=1e-5)
    assert np.abs(network(noise)["segmentation"] - newer(noise)["segmentation"]).max() > 0.1
    deployed.drop(1)
    newer(noise)
    message = refusal(network, noise)
    assert f"Expected {address} discs/1, which was there at first" in message and "it is gone" in message
    assert "version 2 AVAILABLE" in message and "same command when it is back" in message


@BOTH
def test_four_threads_at_once(server, way, folder, noise):
    network, local = client.load(getattr(server, way), "discs"), hou_synth.load(folder).network
    batches = [np.roll(noise, shift, axis=2) for shift in range(12)]
    with futures.ThreadPoolExecutor(4) as pool:
        for maps, images in zip(pool.map(network, batches), batches, strict=True):
            np.testing.assert_allclose(maps["segmentation"], local(images)["segmentation"], atol=1e-5)


@BOTH
def test_settings_are_those_of_the_export(server, core, way):
    assert client.load(getattr(server, way), "discs").settings == config.preset("cpu", area_min=33).instances
    del_signature(core, "document")
    assert client.load(getattr(server, way), "discs/2").settings == instances.DEFAULT


@BOTH
def test_it_is_a_model_as_a_local_one_is(server, way, stained):
    served = model.served(getattr(server, way), "discs/1")
    assert served.thresholds == config.preset("cpu", area_min=33).instances
    assert served.identity == f"{getattr(server, way)} discs/1" and served.failures == (errors.Unserved,)
    expected = inference.segment(served.network, stained, settings=served.thresholds)
    np.testing.assert_array_equal(served.segment(stained), expected)
    assert json.loads(served.document("config.json")) and expected.max() > 0
    with pytest.raises(errors.Unserved, match="names of documents out of config.json"):
        print(served.card)
    served.close()


def del_signature(core, name):
    version = core.models["discs"][2]
    version.signatures = {key: one for key, one in version.signatures.items() if key != name}


def test_rest_needs_neither_tensorflow_nor_grpc(server):
    code = (
        "import sys, numpy as np\nfrom hou_synth.serving import client\n"
        f"network = client.load({server.rest!r}, 'discs')\n"
        "assert network(np.zeros((1, 8, 9, 3), np.uint8))['detection'].shape == (1, 8, 9, 1)\n"
        "sys.exit(bool({'tensorflow', 'grpc', 'tensorflow_serving'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize(
    ("way", "trick"),
    [
        ("rest", answered(503, '{"error": "queue is full"}')),
        ("rest", answered(502, "<html>Bad Gateway</html>")),
        ("rest", answered(504, "")),
        ("rest", hang_up),
        ("grpc", aborted("UNAVAILABLE", "queue is full")),
        ("grpc", aborted("RESOURCE_EXHAUSTED", "OOM when allocating tensor")),
        ("grpc", aborted("FAILED_PRECONDITION", "Tensors have different shapes and padding is turned off.")),
        ("grpc", aborted("DEADLINE_EXCEEDED")),
    ],
)
def test_what_passes_is_tried_again(server, core, waits, way, trick, noise):
    network = client.load(getattr(server, way), "discs", retries=3)
    core.requests.clear()
    core.tricks.extend([trick] * 3)
    network(noise)
    assert core.count() == 4
    for wait, base in zip(waits, (0.5, 1, 2), strict=True):
        assert base / 2 <= wait <= base
    core.tricks.extend([trick] * 9)
    assert "Gave up after 4 attempts." in refusal(network, noise)
    assert core.count() == 8


def test_the_server_says_how_long_to_wait(server, core, waits, noise):
    network = client.load(server.rest, "discs")
    core.tricks += [answered(429, "", Retry_After=7), answered(503, "", Retry_After=10**6)]
    network(noise)
    assert waits == [7, retries.LONGEST]
    assert rest.seconds(None) == rest.seconds("soon") == rest.seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert 3.1e9 < rest.seconds("Wed, 21 Oct 2133 07:28:00 GMT") < 3.8e9


def told_at_once(address, core, trick, expected, noise):
    """One request fails with one short line that names the server, and is not sent again."""
    network = client.load(address, "discs")
    core.requests.clear()
    core.tricks.append(trick)
    message = refusal(network, noise)
    assert re.search(expected, message), message
    assert address in message and len(message) < 450
    assert core.count() == 1


@pytest.mark.parametrize(
    ("trick", "expected"),
    [
        (answered(413, "<html>"), "smaller windows or batches.*error 413"),
        (
            answered(400, '{"error": "Task size 8 is larger than maximum input batch size 4"}'),
            "smaller windows.*batch",
        ),
        (
            answered(500, '{"error": "' + 9 * "Internal: a b c\\n" + 900 * "x" + '"}'),
            "error 500, Internal: a b c .*xxx",
        ),
        (answered(401, "<html>"), "let in.*error 401"),
        (answered(404, "<html>"), "Expected TensorFlow Serving at http.*error 404.*without JSON"),
        (answered(301, "", Location="https://there/"), "redirect to https://there/"),
        (
            answered(200, "<html><body>Hello"),
            "Expected TensorFlow Serving.*text/html '<html><body>Hello' .no predictions",
        ),
        (
            answered(200, '{"predictions": [{"segmentation": [[[0.1], [null'),
            "Expected TensorFlow Serving at",
        ),
        (
            answered(200, '{"predictions": [{"segmentation": [[["a"]]]}]}'),
            "application/json .*no predictions",
        ),
        (
            answered(200, '{"predictions": [{"segmentation": [[[0.5]], [[0.5]]]}]}'),
            r"shape \(2, 67, 45, 1\).*\(1, 2, 1, 1\)",
        ),
        (answered(200, '{"predictions": [{"other": [0.5]}]}'), "output segmentation.*Received: other"),
    ],
)
def test_what_does_not_pass_is_told_at_once(server, core, trick, expected, noise):
    told_at_once(server.rest, core, trick, expected, noise)


@pytest.mark.parametrize(
    ("trick", "expected"),
    [
        (aborted("RESOURCE_EXHAUSTED", "Received message larger than max (9 vs. 4)"), "smaller windows or batches"),
        (aborted("INTERNAL", "a\nb" + 900 * "x"), "error INTERNAL, a bx"),
        (aborted("UNIMPLEMENTED", "Method not found!"), "Expected TensorFlow Serving at grpc.*Method not found"),
        (aborted("INVALID_ARGUMENT", "Task size 8 is larger than maximum input batch size 4"), "smaller windows"),
    ],
)
def test_what_does_not_pass_over_grpc(server, core, trick, expected, noise):
    told_at_once(server.grpc, core, trick, expected, noise)


@BOTH
def test_answers_with_numbers_that_are_none(server, core, way, noise, monkeypatch):
    network = client.load(getattr(server, way), "discs")
    predict = fake_server.Version.predict

    def changed(change):
        monkeypatch.setattr(
            fake_server.Version,
            "predict",
            lambda self, *content: {name: change(value) for name, value in predict(self, *content).items()},
        )

    changed(lambda value: value * np.nan)
    assert "probabilities, 0 to 1, of" in refusal(network, noise)
    changed(lambda value: value[:1])
    assert "Received: (1, 67, 45, 1)" in refusal(network, noise)
    changed(lambda value: np.swapaxes(value, 1, 2) if value.ndim == 4 else value)
    assert "Received: (2, 45, 67, 1)" in refusal(network, noise)


def test_a_batch_shared_with_larger_images(server, noise, monkeypatch):
    network = client.load(server.rest, "discs")
    alone, predict = network(noise), fake_server.Version.predict

    def shared(self, *content):
        found = predict(self, *content)
        return found | {name: np.pad(found[name], ((0, 0), (0, 5), (0, 9), (0, 0))) for name in inference.OUTPUTS}

    monkeypatch.setattr(fake_server.Version, "predict", shared)
    for name, value in network(noise).items():
        np.testing.assert_array_equal(value, alone[name])


def test_numbers_survive_json(server, core, noise, monkeypatch):
    values = np.random.default_rng(0).random((2, 67, 45, 1), np.float32) ** 9
    values[0, 0, :3, 0] = 0, 1, np.finfo(np.float32).tiny
    network = client.load(server.rest, "discs")
    monkeypatch.setattr(fake_server.Version, "predict", lambda self, *content: dict.fromkeys(inference.OUTPUTS, values))
    np.testing.assert_array_equal(network(noise)["detection"], values)


@BOTH
def test_slow_server(server, core, way, noise):
    release = threading.Event()
    network = client.load(getattr(server, way), "discs", retries=1)
    network.interface = client.interface(getattr(server, way), "discs", timeout=0.2)
    core.tricks += [lambda handler: release.wait(20)] * 2
    message = refusal(network, noise)
    release.set()
    assert "within 0.2 s; a longer --timeout" in message and "Gave up after 2 attempts" in message
    core.tricks += [answered(504, '{"error": "Deadline"}')] * 2
    if way == "rest":
        assert "error 504, Deadline" in refusal(network, noise)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_there(scheme, waits):
    message = refusal(client.load, f"{scheme}://127.0.0.1:{free_port()}", "discs", retries=2)
    assert f"Expected TensorFlow Serving at {scheme}://127.0.0.1" in message
    assert "connection refused. Gave up after 3 attempts." in message
    assert len(waits) == 2


def test_ports_taken_for_one_another(server):
    ports = [address.rpartition(":")[2] for address in (server.grpc, server.rest, server.rest)]
    addresses = [f"{scheme}://127.0.0.1:{port}" for scheme, port in zip(("http", "grpc", "https"), ports, strict=True)]
    messages = [refusal(client.load, address, "discs", timeout=5, retries=0) for address in addresses]
    for message, expected in zip(messages, ("maybe from the port of gRPC", "the port of REST", "TLS"), strict=True):
        assert "Expected TensorFlow Serving at" in message and expected in message


def test_unknown_host(monkeypatch):
    def unknown(*content, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    message = refusal(client.load, "http://somebody:secret@nowhere:8501/", "discs", retries=0)
    assert (
        message
        == "Expected TensorFlow Serving at http://nowhere:8501. Received: unknown host. Gave up after one attempt."
    )


@BOTH
def test_wrong_names(server, core, way):
    address = getattr(server, way)
    message = refusal(client.load, address, "disks")
    assert f"Expected a model that {address} serves. Received: 'disks'" in message
    assert "Could not find any versions of model disks" in message
    message = refusal(client.load, address, "discs/7")
    assert "Expected discs/7 to be available" in message
    assert "version 1 AVAILABLE, version 2 AVAILABLE" in message
    assert core.count() == 0


@BOTH
def test_states_of_a_version(server, core, way, noise, waits):
    address, newest = getattr(server, way), core.models["discs"][2]
    network = client.load(address, "discs")
    newest.state = "LOADING"
    assert client.load(address, "discs").identity.endswith("/1")
    assert waits == []
    message = refusal(client.load, address, "discs/2", retries=2)
    assert "Received: version 1 AVAILABLE, version 2 LOADING. Gave up after 3 attempts." in message
    message = refusal(network, noise)
    assert "Expected" in message and "discs/2 to be loaded" in message and "after 5 attempts" in message
    newest.state, newest.error = "END", "no room on device"
    waits.clear()
    message = refusal(client.load, address, "discs/2")
    assert "version 2 END (no room on device)" in message and waits == []
    assert "it is gone" in refusal(network, noise)


@BOTH
def test_a_job_goes_on_when_its_version_is_back(server, core, way, noise, monkeypatch):
    network, newest = client.load(getattr(server, way), "discs"), core.models["discs"][2]
    newest.state = "LOADING"
    monkeypatch.setattr(retries.Attempts, "pause", lambda self, seconds: setattr(newest, "state", "AVAILABLE"))
    assert network(noise)["segmentation"].shape == (2, 67, 45, 1)


@BOTH
def test_signatures_that_do_not_fit(server, core, way):
    needed = {"rest": "encoded", "grpc": "serving_default"}[way]
    del_signature(core, needed)
    message = refusal(client.load, getattr(server, way), "discs")
    assert f"Expected signature {needed} of" in message and "discs/2" in message
    assert "document of names DT_STRING to texts" in message
    version = core.models["discs"][2]
    version.signatures = {**version.signatures, needed: version.signatures["document"]}
    assert f"{needed} of names DT_STRING to texts" in refusal(client.load, getattr(server, way), "discs")


def test_the_models_own_message_is_shown(server, core, noise, monkeypatch):
    network = client.load(server.rest, "discs")
    core.requests.clear()
    monkeypatch.setattr(rest, "png", lambda image: b"broken")
    message = refusal(network, noise)
    assert re.match(r"Expected image_bytes .* PNG or JPEG files. Received: .*6 bytes", message)
    assert message.endswith(f". ({server.rest} refused it)")
    assert core.count() == 1
    text = "Invalid PNG. {{node a/Expected_a_file}} [[a/Expected_a_file]]"
    assert errors.own(text) == "Expected a file. Received: Invalid PNG."


@pytest.mark.parametrize(
    "address",
    ["", "host:8501", "localhost", "http://", "http://host:port", "http://host:70000", "ftp://host", "grpc://host"]
    + ["grpc://host:8500/path", "http://host:8501/?a=b", "http://host:0"],
)
def test_what_is_no_address(address):
    message = refusal(client.load, address, "discs")
    assert (
        "http://HOST:8501, https://HOST, grpc://HOST:8500 or grpcs://HOST:8500" in message and repr(address) in message
    )


@pytest.mark.parametrize("model", ["", "/1", "discs/", "discs/new", "discs/1/2", "discs/-1"])
def test_what_is_no_model(model):
    assert "NAME or NAME/VERSION" in refusal(client.load, "http://127.0.0.1:1", model)


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"timeout": math.nan}, {"timeout": math.inf}, {"retries": -1}])
def test_wrong_numbers(wrong):
    with pytest.raises(ValueError, match=r"0 < timeout <= 86400\.0 and retries >= 0"):
        client.load("http://127.0.0.1:1", "discs", **wrong)


def test_path_of_a_proxy_and_names_that_need_quoting():
    interface = client.interface("https://host/tf//", "a b%", 1.0)
    assert interface.model == "https://host/tf/v1/models/a%20b%25" and interface.server == "https://host/tf"


@pytest.mark.parametrize(
    "images", [np.zeros((1, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 0, 8, 3), np.uint8)]
)
def test_only_images_are_sent(server, core, images):
    network = client.load(server.rest, "discs")
    core.requests.clear()
    with pytest.raises(ValueError, match="uint8 images of shape"):
        network(images)
    assert core.requests == []


@BOTH
def test_nothing_is_asked_after_closing(server, way, noise):
    network = client.load(getattr(server, way), "discs")
    network.close()
    assert "Expected an open connection" in refusal(network, noise)


class TestInterrupted:
    """With real waits of a minute, which something ends at once."""

    @pytest.fixture
    def waits(self):
        pass

    def test_by_ctrl_c(self, interruptible):
        interrupt = threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            retries.Attempts(1).pause(60)

    def test_by_closing(self, server, core, noise, monkeypatch):
        monkeypatch.setattr(retries, "FIRST", 60.0)
        network = client.load(server.rest, "discs")
        core.tricks.append(hang_up)
        with futures.ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(network, noise)
            while core.tricks:
                time.sleep(0.01)
            network.close()
            assert "interrupted" in refusal(waiting.result)
