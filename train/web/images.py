"""What the page asks about images: one is sent, seen, segmented, looked into, and its results are taken."""

import asyncio
import dataclasses

from aiohttp import web

from hou_synth import inference
from train.web import server
from train.web.segmentation import TILE, Picture, Request

ROUTES = web.RouteTableDef()
DOWNLOADS = ("geojson", "csv", "labels")


@dataclasses.dataclass(frozen=True)
class Wish:
    """How an image is to be segmented; thresholds that are None are the model's."""

    model: str
    normalise: bool
    microns_per_pixel: float
    view: tuple[float, float, float, float]
    seed_height: float | None = None
    mean_min: float | None = None


def _picture(request):
    """The image that a request is about; KeyError if it was forgotten."""
    pictures, identity = request.app[server.STATE].pictures, request.match_info["image"]
    if identity not in pictures:
        raise KeyError("an image that was forgotten; choose it again")
    pictures.move_to_end(identity)
    return pictures[identity]


def _version(request, picture):
    """Number of the nuclei that a request is about."""
    version = server.number(request, "version")
    if version >= len(picture.nuclei) or picture.nuclei[version] is None:
        raise KeyError("nuclei of other thresholds, which were forgotten")
    return version


@ROUTES.post("/api/images")
async def send(request):
    """Keeps an image in memory."""
    data = await request.read()
    picture = await asyncio.to_thread(Picture, data, request.query.get("name", ""))
    height, width = picture.size
    identity = request.app[server.STATE].keep(picture)
    return web.json_response({"image": identity, "width": width, "height": height, "levels": len(picture.levels)})


@ROUTES.post("/api/images/{image}/forget")
async def forget(request):
    """Forgets an image, if it is there."""
    request.app[server.STATE].pictures.pop(request.match_info["image"], None)
    return web.json_response({})


@ROUTES.get("/api/images/{image}/tiles/{level}/{column}/{row}")
async def tile(request):
    """A part of an image."""
    picture, place = _picture(request), [server.number(request, name) for name in ("level", "column", "row")]
    _check(picture, *place)
    return web.Response(body=await asyncio.to_thread(picture.tile, *place), content_type="image/jpeg")


@ROUTES.get("/api/images/{image}/outlines/{version}/{level}/{column}/{row}")
async def outlines(request):
    """The outlines in a part of an image."""
    picture, place = _picture(request), [server.number(request, name) for name in ("level", "column", "row")]
    _check(picture, *place)
    drawn = await asyncio.to_thread(picture.outlines, _version(request, picture), *place)
    return web.Response(body=drawn, content_type="image/png")


def _check(picture, level, column, row):
    """Refuses a part that the image has not."""
    sides = picture.levels[level].shape[:2] if level < len(picture.levels) else (0, 0)
    if row * TILE >= sides[0] or column * TILE >= sides[1]:
        raise KeyError("a part beyond the image")


@ROUTES.post("/api/images/{image}/segment")
async def segment(request):
    """Segments an image, or makes nuclei by other thresholds."""
    picture, wish, state = _picture(request), await server.body(request, Wish), request.app[server.STATE]
    inference.scale(wish.microns_per_pixel)
    asked = {"seed_height": wish.seed_height, "mean_min": wish.mean_min}
    changes = {name: value for name, value in asked.items() if value is not None}
    if not all(0 <= value <= 1 for value in changes.values()):
        raise ValueError(f"Expected thresholds from 0 to 1. Received: {changes}.")
    part = picture.part(wish.view, wish.microns_per_pixel)

    def computed():
        model = state.model(wish.model)
        version = picture.segment(model, Request(wish.model, wish.normalise, wish.microns_per_pixel, part), changes)
        nuclei = picture.nuclei[version]
        thresholds = {name: getattr(nuclei.settings, name) for name in asked}
        return {"version": version, "count": int(nuclei.labels.max()), "part": part, **thresholds}

    return web.json_response(await state.compute(computed))


@ROUTES.get("/api/images/{image}/nuclei/{version}")
async def nucleus(request):
    """The row and the outline of the nucleus of a label, or at a pixel; null for none."""
    picture = _picture(request)
    version = _version(request, picture)
    if "label" in request.query:
        label = server.number(request, "label")
    else:
        label = picture.label(version, server.number(request, "x"), server.number(request, "y"))
    return web.json_response(await asyncio.to_thread(picture.nucleus, version, label))


@ROUTES.get("/api/images/{image}/files/{version}/{kind}")
async def download(request):
    """The results as a file."""
    picture, kind = _picture(request), request.match_info["kind"]
    if kind not in DOWNLOADS:
        raise KeyError(f"a file of kind {kind}")
    return server.attachment(*await asyncio.to_thread(picture.file, _version(request, picture), kind))
