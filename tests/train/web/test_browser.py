"""The page in a real browser: every tab, by mouse and by keyboard alone, wide and narrow."""

import json

import cv2
import numpy as np
import pytest

from hou_synth import instances
from tests.train.web.conftest import serving
from tests.train.web.test_server import real
from train.studies import answers, study
from train.web import server

WIDTHS = (1280, 390)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


@pytest.fixture
def browsing(chromium, page_of):
    """Function that opens a page of its own at an anchor; nothing may be asked of another machine, nothing may fail."""
    contexts, wrong, own = [], [], []

    def opened(tab="", width=1280, address=page_of.address):
        own.append(address)
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}))
        page = contexts[-1].new_page()
        page.on("request", lambda request: wrong.append(request.url) if foreign(request.url) else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda line: wrong.append(line.text) if "Content Security" in line.text else None)
        page.goto(f"{address}/#{tab}")
        return page

    def foreign(url):
        return not url.startswith((*own, "data:", "blob:"))

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="session")
def tile(tmp_path_factory, tissue_image):
    path = tmp_path_factory.mktemp("tile") / "tile.png"
    cv2.imwrite(str(path), tissue_image[0][..., ::-1])
    return path


def passes(page):
    """Nothing that axe finds wrong, and nothing wider than the window."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"runOnly": RULES}).response["violations"]
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found] == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def segmented(page, tile):
    page.set_input_files("#file", tile)
    page.get_by_text("256 x 256 pixels").wait_for()
    page.get_by_label("Normalise colours").uncheck()
    page.get_by_role("button", name="Segment", exact=True).click()
    page.get_by_text("25 nuclei.").wait_for()


def green(page):
    """Pixels of the canvas that have the colour of outlines."""
    page.wait_for_timeout(600)
    return page.evaluate("""() => {
        const { width, height } = document.getElementById("canvas");
        const data = document.getElementById("canvas").getContext("2d").getImageData(0, 0, width, height).data;
        let count = 0;
        for (let i = 0; i < data.length; i += 4) count += data[i] < 60 && data[i + 1] > 200 && data[i + 2] < 60;
        return count;
    }""")


@pytest.mark.parametrize("width", WIDTHS)
def test_an_image_is_segmented_seen_and_looked_into(browsing, tile, tmp_path, width):
    page = browsing(width=width)
    passes(page)
    segmented(page, tile)
    passes(page)
    assert green(page) > 200
    page.get_by_label("Show outlines").uncheck()
    assert green(page) == 0
    box = page.locator("#canvas").bounding_box()
    page.get_by_label("Nucleus number").fill("3")
    page.get_by_label("Nucleus number").press("Enter")
    page.get_by_text("Nucleus 3", exact=True).wait_for()
    page.locator("#canvas").click(position={"x": box["width"] / 2, "y": box["height"] / 2})  # which it is centred on
    assert page.locator("#row caption").inner_text() == "Nucleus 3" and page.locator("#row tr").count() == len(
        instances.COLUMNS
    )
    with page.expect_download() as awaited:
        page.get_by_role("button", name="GeoJSON").click()
    assert awaited.value.suggested_filename == "tile.geojson"
    awaited.value.save_as(tmp_path / "tile.geojson")
    assert len(json.loads((tmp_path / "tile.geojson").read_text())["features"]) == 25


def test_thresholds_are_moved_by_keys(browsing, tile):
    page = browsing()
    segmented(page, tile)
    slider = page.get_by_label("Mean probability")
    slider.focus()
    slider.press("End")
    page.get_by_text("0 nuclei.", exact=True).wait_for()
    page.get_by_role("button", name="The model's own").click()
    page.get_by_text("25 nuclei.").wait_for()


def test_a_broken_file_is_told_and_the_page_goes_on(browsing, tile, tmp_path):
    (tmp_path / "broken.png").write_bytes(tile.read_bytes()[:500])
    page = browsing()
    page.set_input_files("#file", tmp_path / "broken.png")
    page.get_by_role("alert").get_by_text("Expected a readable image").wait_for()
    passes(page)
    segmented(page, tile)
    assert page.locator("#error").inner_text() == ""


def test_a_large_image_is_seen_in_parts_and_what_is_in_view_is_segmented(browsing, tissue_image, tmp_path):
    image = np.tile(tissue_image[0], (8, 47, 1))[:2000, :12000]
    cv2.imwrite(str(tmp_path / "large.jpg"), image[..., ::-1])
    page = browsing()
    page.set_input_files("#file", tmp_path / "large.jpg")
    page.get_by_text("12000 x 2000 pixels").wait_for()
    page.get_by_label("Normalise colours").uncheck()
    page.get_by_role("button", name="Segment", exact=True).click()
    page.get_by_role("alert").get_by_text("zoom in").wait_for()
    page.locator("#canvas").focus()
    for _ in range(9):
        page.keyboard.press("+")
    page.get_by_role("button", name="Segment", exact=True).click()
    page.get_by_text("that were in view").wait_for()
    assert green(page) > 200


def press(page, key):
    """Presses a key of a study when the pictures are there."""
    page.locator("#pictures:not([aria-busy=true])").wait_for()
    page.keyboard.press(key)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_study_by_keys_alone_with_a_reload_in_the_middle(browsing, page_of, width):
    name = f"keys {width}"
    real(page_of.studies / name, study.REALITY, 6)
    page = browsing(width=width)
    page.locator("#tab-segment").focus()
    page.keyboard.press("ArrowLeft")  # round to the last tab
    page.locator("#study option").first.wait_for(state="attached")
    page.keyboard.press("Tab")
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type("anna")
    passes(page)
    page.keyboard.press("Enter")
    for done, key in [(1, "1"), (2, "2"), (3, "2")]:
        page.get_by_text(f"{done - 1} of 6", exact=True).wait_for()
        press(page, key)
    page.get_by_text("3 of 6", exact=True).wait_for()
    passes(page)
    page.reload()
    page.get_by_text("3 of 6", exact=True).wait_for()
    press(page, "Backspace")
    for done in range(2, 6):
        page.get_by_text(f"{done} of 6", exact=True).wait_for()
        press(page, "1")
    page.get_by_text("All are answered").wait_for()
    page.get_by_text("called real").first.wait_for()
    passes(page)
    given = [answer.answer for answer in answers.every(page_of.studies / name)]
    assert given == ["real", "synthetic", *["real"] * 4]
    html = page.content()
    assert "tile 0" not in html


def test_two_readers_at_once(browsing, page_of):
    told = real(page_of.studies / "two", study.OUTLINES, 4)
    pages = {name: browsing("studies") for name in ("anna", "ben")}
    for name, page in pages.items():
        page.locator("#study").select_option("two")
        page.get_by_label("Your name").fill(name)
        page.get_by_role("button", name="Begin").click()
        page.get_by_text("0 of 4", exact=True).wait_for()
    passes(pages["anna"])
    press(pages["anna"], "o")
    pages["anna"].get_by_role("button", name="Show outlines (O)").wait_for()
    for done in range(4):
        for page in pages.values():
            page.get_by_text(f"{done} of 4", exact=True).wait_for()
            page.locator("#pictures:not([aria-busy=true])").wait_for()
            page.get_by_role("button", name="Left is better").click()
    for page in pages.values():
        page.get_by_text("sign test").wait_for()
    for name in pages:
        given = {
            answer.item: answer.answer for answer in answers.every(page_of.studies / "two") if answer.reader == name
        }
        assert given == dict(enumerate(study.Reading(told, name).left))


@pytest.mark.parametrize("width", WIDTHS)
def test_patches_are_painted_and_sorted_by_weight(browsing, exported, bank, tmp_path, width):
    with serving(server.Settings({"tiny/1": exported.version}, tmp_path)) as address:
        page = browsing("synthesise", width, address)
        page.get_by_label("Folder of tiles").fill(str(bank.path.parent))
        page.get_by_label("Patches").fill("5")
        page.get_by_role("button", name="Paint").click()
        page.get_by_text("5 patches.").wait_for(timeout=90_000)
        page.get_by_label("Order").select_option("highest")
        weights = [float(text.split()[-1]) for text in page.locator("#gallery p").all_inner_texts()]
        assert len(weights) == 5 and weights == sorted(weights, reverse=True)
        assert page.locator("#gallery img").count() == 20
        page.get_by_role("button", name="One mask").click()
        page.get_by_text("One mask under several styles.").wait_for()
        assert page.locator("#styled img").count() == 1 + 2 + 2 * (2 + 2)  # mask, references; two tissues
        passes(page)
        page.get_by_label("Folder of tiles").fill(str(tmp_path / "none"))
        page.get_by_role("button", name="Paint").click()
        page.get_by_role("alert").get_by_text("Expected a folder of tiles").wait_for()
