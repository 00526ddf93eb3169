"""The server of the page without a browser: who may ask, what is sent back, what is refused."""

import http.client
import json
import urllib.parse

import cv2
import numpy as np
import pytest

from hou_synth import inference, instances, released
from tests.train.web.conftest import MODEL, serving
from train import page
from train.studies import answers, study
from train.web import server
from train.web.segmentation import PART, TILE, Picture, Request


def ask(address, method, path, content=b"", **headers):
    """Status, headers and body of an answer."""
    parts = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    own = {"Origin": address} if method == "POST" else {}
    content = json.dumps(content).encode() if isinstance(content, dict) else content
    connection.request(method, path, content or None, own | {name.title(): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def sent(address, image, name="a.png"):
    status, _, body = ask(
        address, "POST", f"/api/images?name={name}", cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    )
    assert status == 200
    return json.loads(body)


@pytest.fixture
def picture(tissue_image):
    return Picture(cv2.imencode(".png", tissue_image[0][..., ::-1])[1].tobytes(), "../some where/tile.png")


def test_thresholds_are_moved_without_the_network(picture, tissue_image, monkeypatch):
    request = Request("dark/1", False, 0.25, picture.part((0, 0, 1, 1), 0.25))
    assert picture.segment(MODEL, request, {}) == 0
    assert picture.nuclei[0].labels.max() == 25
    assert np.array_equal(picture.nuclei[0].labels, MODEL.segment(tissue_image[0], normalise=False))
    monkeypatch.setattr(inference, "probabilities", None)  # called, it would fail
    assert picture.segment(MODEL, request, {"mean_min": 1.0}) == 1
    assert picture.nuclei[1].labels.max() == 0
    assert picture.segment(MODEL, request, {}) == 2 and picture.nuclei[0] is None
    assert picture.nuclei[2].labels.max() == 25


def labelled(picture, labels, part):
    """Gives a picture nuclei in a part of it."""
    request, mapped = Request("dark/1", False, 0.5, part), (labels > 0).astype(np.float32)
    picture.maps[request] = (mapped, mapped, None), labels.shape
    picture.segment(MODEL, request, {})


def test_a_nucleus_and_the_files_are_in_pixels_of_the_whole_image(picture):
    labels = np.zeros((50, 60), np.int32)
    labels[10:20, 30:34] = 1
    labels[40:44, 5:15] = 2
    labelled(picture, labels, (100, 20, 60, 50))
    assert [picture.label(0, x, y) for x, y in [(130, 30), (105, 60), (100, 20), (99, 60), (30, 10)]] == [1, 2, 0, 0, 0]
    found = picture.nucleus(0, 2)
    assert found["row"]["label"] == 2 and found["row"]["area_pixels"] == 40 and found["row"]["area_um2"] == 10.0
    assert (found["row"]["centroid_x"], found["row"]["centroid_y"]) == (110.0, 62.0)
    assert np.min(found["outline"], axis=0).tolist() == [105.0, 60.0] and picture.nucleus(0, 3) is None
    name, content = picture.file(0, "csv")
    lines = content.decode().splitlines()
    assert (
        name == "tile.csv"
        and lines[0] == ",".join(instances.COLUMNS)
        and lines[2].startswith("2,110.0,62.0,55.0,31.0,40,")
    )
    name, content = picture.file(0, "geojson")
    told = json.loads(content)
    assert name == "tile.geojson" and told["hou_synth"]["part"] == [100, 20, 60, 50]
    assert np.min(told["features"][1]["geometry"]["coordinates"][0], axis=0).tolist() == [105.0, 60.0]
    name, content = picture.file(0, "labels")
    assert name == "tile_labels.png"
    assert np.array_equal(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED), labels)


def test_outlines_meet_where_parts_meet():
    image = np.full((900, 700, 3), 255, np.uint8)
    picture = Picture(cv2.imencode(".png", image)[1].tobytes(), "a.png")
    labels = np.zeros((800, 600), np.int32)
    labels[300:700, 350:590] = 1  # in four parts of the image, whose middle 512, 512 is no border of it
    labelled(picture, labels, (50, 60, 600, 800))
    for level, expected in ((0, 2 * (400 + 240) - 4), (1, 2 * (200 + 120) - 4)):
        side, drawn = TILE * 2**level, 0
        for row in range(-(-900 // side)):
            for column in range(-(-700 // side)):
                part = cv2.imdecode(np.frombuffer(picture.outlines(0, level, column, row), np.uint8), -1)
                drawn += int((part[..., 3] > 0).sum())
        assert drawn == expected
    assert len(picture.levels) == 2 and picture.levels[1].shape == (450, 350, 3)


def test_of_a_large_image_what_is_in_view_is_segmented():
    image = np.zeros((6000, 4000), np.uint8)
    picture = Picture(cv2.imencode(".jpg", np.dstack([image] * 3))[1].tobytes(), "a.jpg")
    assert picture.part((-10.4, 20.6, 110.4, 5000), 0.25) == (0, 21, 100, 5000)
    assert picture.part((0, 0, 1, 1), 0.125) == (0, 0, 4000, 6000)  # at 40X it is a quarter as large
    for view in ((0, 0, 4000, 6000), (4000, 0, 10, 10)):
        with pytest.raises(ValueError, match="zoom in"):
            picture.part(view, 0.25)
    assert PART < 6000 * 4000


def test_only_pages_of_this_server_may_ask(page_of):
    address = page_of.address
    status, headers, body = ask(address, "GET", "/")
    assert status == 200 and "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
    assert b"http://" not in body and b"https://" not in body
    assert ask(address, "GET", "/api/models", host="evil.example")[0] == 403
    assert ask(address, "GET", "/", host="evil.example:80")[0] == 403
    for origin in ("http://evil.example", "null", address.replace("http", "https")):
        assert ask(address, "POST", "/api/images", b"x", origin=origin)[0] == 403
    assert ask(address, "GET", "/api/nothing")[0] == 404


def test_beyond_this_machine_a_token_is_needed(tmp_path):
    token = "0123456789abcdefXYZ"
    with serving(server.Settings({"dark/1": tmp_path}, tmp_path, token)) as address:
        assert ask(address, "GET", "/")[0] == ask(address, "GET", "/?token=wrong")[0] == 403
        status, headers, _ = ask(address, "GET", f"/?token={token}", host="elsewhere.example")
        cookie = headers["Set-Cookie"]
        assert status == 302 and "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert ask(address, "GET", "/api/models", cookie=cookie.split(";")[0])[0] == 200
        assert ask(address, "GET", "/api/models", cookie="hou_synth_token=wrong")[0] == 403


def test_the_released_model_stands_first_unless_others_are_named(tmp_path):
    for name in ("mine/1", "mine/2", "lymphocyte/1"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "saved_model.pb").touch()
    first, *others = server.listed([], tmp_path)
    assert first == "/".join(released.model().parts[-2:]) and others == ["mine/1", "mine/2"]
    assert list(server.listed([tmp_path / "mine"], tmp_path)) == ["mine/2", "mine/1"]


@pytest.mark.parametrize(
    "options,word",
    [
        (["--host", "0.0.0.0"], "--token-file"),
        (["--host", "0.0.0.0", "--token-file", "short"], "16 letters"),
        (["--token-file", "nowhere"], "nowhere"),
        (["--port", "0"], "port"),
        (["--model", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_of_the_command_are_one_line(tmp_path, monkeypatch, capsys, options, word):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").write_text("abc\n")
    assert page.main(options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and word in line


def test_what_is_no_image_and_what_is_not_there(page_of, monkeypatch):
    status, _, body = ask(page_of.address, "POST", "/api/images?name=a.png", b"\x89PNG no image")
    assert status == 400 and "Expected a readable image" in json.loads(body)["error"]
    for path in ("/api/images/none/tiles/0/0/0", "/api/studies/..%2f../next?reader=a"):
        assert ask(page_of.address, "GET", path)[0] == 404
    assert ask(page_of.address, "GET", "/api/studies/none/next?reader=a")[0] == 404


def test_an_image_is_too_large_or_was_forgotten(page_of, tissue_image, monkeypatch):
    image = sent(page_of.address, tissue_image[0])["image"]
    assert ask(page_of.address, "GET", f"/api/images/{image}/tiles/0/0/0")[0] == 200
    for place in ("0/1/0", "1/0/0", "9/0/0", "0/0/-1", "0/0/x"):
        assert ask(page_of.address, "GET", f"/api/images/{image}/tiles/{place}")[0] in (400, 404)
    assert ask(page_of.address, "POST", f"/api/images/{image}/forget", b"")[0] == 200
    assert ask(page_of.address, "GET", f"/api/images/{image}/tiles/0/0/0")[0] == 404
    status, _, body = ask(page_of.address, "POST", "/api/images?name=a.png", bytes(server.UPLOAD_MAX + 1))
    assert status == 413 and "256 MB" in json.loads(body)["error"]


@pytest.mark.parametrize("change", [{"model": "other"}, {"seed_height": 2.0}, {"microns_per_pixel": 0.0}, {"more": 1}])
def test_wishes_that_are_refused(page_of, tissue_image, change):
    image = sent(page_of.address, tissue_image[0])["image"]
    wish = {"model": "dark/1", "normalise": True, "microns_per_pixel": 0.25, "view": [0, 0, 9, 9], **change}
    status, _, body = ask(page_of.address, "POST", f"/api/images/{image}/segment", wish)
    assert status == 400 and "Expected" in json.loads(body)["error"]


def real(folder, question, count=3):
    """A study with pictures that can be seen."""
    kinds = [study.KINDS[n % 3] if question == study.REALITY else None for n in range(count)]
    items = [study.Item(f"tile {n}", kind, 1.0 if kind == "refined" else None) for n, kind in enumerate(kinds)]

    def draw(stem, place):
        image = np.full((40, 40, 3), 20 * place + 9, np.uint8)
        cv2.imwrite(f"{stem}.png", image)
        for number, name in enumerate(study.MODELS):
            labels = np.zeros((40, 40), np.uint16)
            labels[5 : 15 + 10 * number, 5:15] = 1
            cv2.imwrite(f"{stem}_{name}_labels.png", labels)

    study.write(folder, question, 0, {"a": "one", "b": "two"}, items, draw)
    return study.read(folder)


def test_sides_are_those_of_the_reader_and_answers_are_kept_by_model(page_of):
    told = real(page_of.studies / "sides", study.OUTLINES, 12)
    for reader in ("anna", "ben"):
        left = study.Reading(told, reader).left
        for item in (0, 5):
            outlined = {}
            for side in ("left", "right"):
                path = f"/api/studies/sides/pictures/{item}/{side}?reader={reader}"
                drawn = cv2.imdecode(np.frombuffer(ask(page_of.address, "GET", path)[2], np.uint8), -1)
                outlined[side] = int((drawn == (0, 255, 0)).all(axis=2).sum())
            assert (outlined["left"] > outlined["right"]) == (left[item] == "b")  # whose nucleus is larger
            said = {"reader": reader, "item": item, "answer": "left", "seconds": 1e9}
            assert ask(page_of.address, "POST", "/api/studies/sides/answers", said)[0] == 200
        kept = {a.item: a for a in answers.every(page_of.studies / "sides") if a.reader == reader}
        assert {item: a.answer for item, a in kept.items()} == {item: left[item] for item in (0, 5)}
        assert kept[0].seconds == 3600


@pytest.mark.parametrize("change", [{"item": 3}, {"item": -1}, {"answer": "left"}, {"reader": " "}, {"seconds": "1"}])
def test_answers_that_are_refused(page_of, change):
    if not (page_of.studies / "refused").exists():
        real(page_of.studies / "refused", study.REALITY)
    said = {"reader": "anna", "item": 0, "answer": "real", "seconds": 1.0, **change}
    assert ask(page_of.address, "POST", "/api/studies/refused/answers", said)[0] == 400
    assert answers.every(page_of.studies / "refused") == []


def test_nothing_that_a_reader_gets_tells_the_kind(page_of):
    told, address = real(page_of.studies / "blind", study.REALITY, 9), page_of.address
    everything = []
    for _ in range(9):
        next_item = json.loads(ask(address, "GET", "/api/studies/blind/next?reader=anna")[2])
        assert set(next_item) == {"question", "total", "done", "item"}
        path = f"/api/studies/blind/pictures/{next_item['item']}/plain?reader=anna"
        status, headers, body = ask(address, "GET", path)
        assert status == 200 and not {"Last-Modified", "ETag"} & set(headers)
        everything.append(path.encode() + str(headers.items()).encode() + body)
        assert ask(address, "GET", "/api/studies/blind/result?reader=anna")[0] == 400
        said = {"reader": "anna", "item": next_item["item"], "answer": "real", "seconds": 1.0}
        ask(address, "POST", "/api/studies/blind/answers", said)
    for word in (b"initial", b"refined", b"tile ", b"weight"):
        assert not any(word in each for each in everything)
    assert len(told.items) == 9 and b"83 %" in ask(address, "GET", "/api/studies/blind/result?reader=anna")[2]
