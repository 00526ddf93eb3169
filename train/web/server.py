"""The server of the page: who may ask, what is answered, and how errors are told."""

import asyncio
import collections
import dataclasses
import hmac
import importlib.resources
import pathlib
import secrets
import sys
from base64 import b64encode
from concurrent import futures
from hashlib import sha256
from urllib.parse import quote

from aiohttp import web

from hou_synth import model, released
from hou_synth.io import documents

LOCAL = ("127.0.0.1", "localhost", "::1")
TOKEN_MIN = 16  # characters; ours
UPLOAD_MAX = 256 * 2**20  # bytes of an image that is sent; ours
BODY_MAX = 2**16  # bytes of any other request
MEMORY = 4 * 10**8  # pixels of images that are kept; the oldest are forgotten; ours
COOKIE = "hou_synth_token"
SCRIPTS = ("page.js", "segment.js", "synthesise.js", "studies.js")
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the page was started with.

    Attributes:
        models: name -> path of the SavedModels in the list; the first is chosen.
        studies: folder of studies.
        token: that a browser has to know; None if only this machine is served.
    """

    models: dict[str, pathlib.Path]
    studies: pathlib.Path
    token: str | None = None


class State:
    """What is in memory: models that were used, and images that were sent."""

    def __init__(self, settings):
        """Loads nothing yet."""
        self.settings, self.loaded, self.pictures = settings, {}, collections.OrderedDict()
        self.painter, self.banks = None, None  # the last one; a folder of prepared tiles that ends with this process
        self.network = futures.ThreadPoolExecutor(1)  # one network computes at a time

    def model(self, name):
        """A model of the list; ValueError for another name."""
        if name not in self.settings.models:
            raise ValueError(f"Expected a model out of {', '.join(self.settings.models)}. Received: {name!r}.")
        if name not in self.loaded:
            self.loaded[name] = model.load(self.settings.models[name])
        return self.loaded[name]

    async def compute(self, function, *arguments):
        """What a function that uses a network returns, which waits for its turn."""
        return await asyncio.get_running_loop().run_in_executor(self.network, function, *arguments)

    def keep(self, picture):
        """Keeps an image under a new name that cannot be guessed; forgets the oldest ones if there is no room."""
        identity = secrets.token_urlsafe(16)
        self.pictures[identity] = picture
        while len(self.pictures) > 1 and sum(p.size[0] * p.size[1] for p in self.pictures.values()) > MEMORY:
            self.pictures.popitem(last=False)
        return identity


STATE = web.AppKey("state", State)


def listed(paths, folder):
    """Name -> path of the models that the page offers.

    Args:
        paths: that were named; the released model stands first without any.
        folder: whose SavedModels are offered too.

    Raises:
        ValueError: if a path holds no SavedModel.
    """
    chosen = [model.model_folder(path) for path in paths or [released.model()]]
    found = [path.parent for path in sorted(folder.glob("*/*/saved_model.pb"))] if folder.is_dir() else []
    found = [
        path for path in found if path.parent.name != released.LYMPHOCYTE
    ]  # which classifies, and outlines nothing
    return {"/".join(path.resolve().parts[-2:]): path for path in (*chosen, *found)}


def document():
    """The page, one document that needs no other, and the policy by which a browser loads nothing else."""
    own = importlib.resources.files(__package__)
    style, script = own.joinpath("page.css").read_text(), "".join(own.joinpath(name).read_text() for name in SCRIPTS)
    page = own.joinpath("page.html").read_text().replace("/* style */", style).replace("/* script */", script)
    sources = {
        "default-src": "'none'",
        "script-src": _hashed(script),
        "style-src": _hashed(style),
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        **dict.fromkeys(("base-uri", "form-action", "frame-ancestors"), "'none'"),
    }
    return page, "; ".join(f"{name} {source}" for name, source in sources.items())


def _hashed(text):
    """What a content security policy calls a script or a style by."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def application(settings):
    """The `aiohttp.web.Application` of the page."""
    from train.web import images, readers, synthesis  # here, as they need this module

    app = web.Application(middlewares=[_guarded, _told], client_max_size=UPLOAD_MAX)
    app[STATE] = State(settings)
    page, policy = document()

    async def front(request):
        return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": policy})

    async def models(request):
        return web.json_response(list(settings.models))

    app.router.add_get("/", front)
    app.router.add_get("/api/models", models)
    app.add_routes([*images.ROUTES, *readers.ROUTES, *synthesis.ROUTES])
    return app


@web.middleware
async def _guarded(request, handler):
    """Lets only those in who may ask: pages of this server, in browsers of this machine or that know the token."""
    token, host = request.app[STATE].settings.token, request.url.host
    if token is None and host not in LOCAL:  # another name for this machine: a page elsewhere that asks in disguise
        raise web.HTTPForbidden(text="Expected the page of this machine.")
    if token is not None and request.path == "/" and "token" in request.query:
        if _same(request.query["token"], token):
            answer = web.HTTPFound("/")
            answer.set_cookie(COOKIE, token, httponly=True, samesite="Strict")
            raise answer
    if token is not None and not _same(request.cookies.get(COOKIE, ""), token):
        raise web.HTTPForbidden(text="Expected the address with ?token=... that the page was started with.")
    origin = request.headers.get("Origin")
    if request.method not in ("GET", "HEAD") and origin != f"{request.scheme}://{request.host}":
        raise web.HTTPForbidden(text="Expected a request of this page.")
    answer = await handler(request)
    answer.headers.update(HEADERS)
    return answer


def _same(given, token):
    return hmac.compare_digest(given.encode(), token.encode())


@web.middleware
async def _told(request, handler):
    """Errors as one line of JSON: mistakes of the user as they are, others by their kind alone."""
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge:
        message, status = f"Expected at most {UPLOAD_MAX // 2**20} MB. Received: more.", 413
    except web.HTTPException:
        raise
    except KeyError as error:
        message, status = f"Expected what is there. Received: {error.args[0]}.", 404
    except (ValueError, OSError) as error:
        message, status = " ".join(str(error).split()), 400
    except MemoryError:
        message, status = "Expected an image that fits into memory. Received: a larger one.", 413
    except Exception as error:  # a mistake of ours: the page goes on, and whoever started it is told
        print(f"error: {request.method} {request.path}: {error!r}", file=sys.stderr)
        message, status = f"Something went wrong here: {type(error).__name__}.", 500
    return web.json_response({"error": message}, status=status)


async def body(request, form):
    """The JSON of a request as a dataclass; ValueError for anything else."""
    content = await request.content.read(BODY_MAX + 1)
    if len(content) > BODY_MAX:
        raise ValueError(f"Expected at most {BODY_MAX} bytes. Received: more.")
    return documents.parse(content, form, "the request", "forbid")


def number(request, name):
    """A whole number of at least 0 in a request's path or query."""
    text = request.match_info.get(name) or request.query.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ValueError(f"Expected a whole number as {name}. Received: {text!r}.")
    return int(text)


def attachment(name, content):
    """An answer that a browser keeps as a file."""
    told = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    headers = {"Content-Disposition": told, "Content-Type": "application/octet-stream"}
    return web.Response(body=content, headers=headers)
