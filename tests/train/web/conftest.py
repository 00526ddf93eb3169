"""The page served by a thread, and a browser that looks at it."""

import asyncio
import contextlib
import dataclasses
import shutil
import threading
import types

import numpy as np
import pytest
from aiohttp import web

from hou_synth import config, model
from train.web import server


@contextlib.contextmanager
def serving(settings):
    """Context with the address of the page."""
    loop, started, told = asyncio.new_event_loop(), threading.Event(), {}

    async def start():
        told["runner"] = runner = web.AppRunner(server.application(settings))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        told["port"] = runner.addresses[0][1]

    def run():
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(told["runner"].cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    try:
        yield f"http://127.0.0.1:{told['port']}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@pytest.fixture(scope="session")
def chromium():
    """A browser, Debian's chromium; skips the test without one."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no chromium: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def darkness(images):
    """A network whose nuclei are what absorbs green."""
    dark = np.clip((170.0 - images[..., 1:2]) / 60, 0, 1).astype(np.float32)
    return {"segmentation": dark, "detection": dark}


THRESHOLDS = dataclasses.replace(config.preset("thorough").instances, typical_area=0.0)
MODEL = model.Model(darkness, THRESHOLDS, "dark/1 sha256:0")


@pytest.fixture(scope="session")
def page_of(tmp_path_factory):
    """The page with a model `dark/1` and no study but those that tests make: `address` and `studies`."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "models/dark/1").mkdir(parents=True)
    (folder / "models/dark/1/saved_model.pb").touch()
    settings = server.Settings(server.listed([folder / "models/dark"], folder / "models"), folder / "studies")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "load", lambda path: MODEL)
        with serving(settings) as address:
            yield types.SimpleNamespace(address=address, studies=folder / "studies")
