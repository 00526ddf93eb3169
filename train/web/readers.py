"""What the page asks about reader studies. What a picture is, and whose outlines are on which side, stays here."""

import asyncio
import dataclasses
import math

import cv2
from aiohttp import web

from hou_synth import results as outputs
from hou_synth.io import image_files
from train.studies import answers, results, study
from train.web import server

ROUTES = web.RouteTableDef()
SIDES = ("left", "right")
SECONDS_MAX = 3600.0  # longer looks count as this


@dataclasses.dataclass(frozen=True)
class Said:
    """An answer as the page gives it: of outlines, the better side."""

    reader: str
    item: int
    answer: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Reader:
    """Who asks."""

    reader: str


def _studies(request):
    """Name -> folder of the studies that there are."""
    folder = request.app[server.STATE].settings.studies
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{study.FILE}"))}


def _folder(request):
    """The folder of the study that a request is about."""
    studies, name = _studies(request), request.match_info["study"]
    if name not in studies:
        raise KeyError(f"a study {name!r}")
    return studies[name]


@ROUTES.get("/api/studies")
async def listed(request):
    """The studies: name, question, number of items."""
    found = []
    for name, folder in _studies(request).items():
        told = study.read(folder)
        found.append({"name": name, "question": told.question, "items": len(told.items)})
    return web.json_response(found)


@ROUTES.get("/api/studies/{study}/next")
async def following(request):
    """What a reader is to look at next, and how far it is; item null at the end."""
    return web.json_response(await asyncio.to_thread(_next, _folder(request), request.query.get("reader", "")))


def _next(folder, reader):
    """As `following`."""
    told, reader = study.read(folder), study.named(reader)
    done = {given.item for given in answers.every(folder) if given.reader == reader}
    left = [item for item in study.Reading(told, reader).order if item not in done]
    return {"question": told.question, "total": len(told.items), "done": len(done), "item": left[0] if left else None}


@ROUTES.get("/api/studies/{study}/pictures/{item}/{view}")
async def picture(request):
    """The picture of an item: as it is (`plain`), or with the outlines that a reader has on a side."""
    folder, view = _folder(request), request.match_info["view"]
    reader, item = study.named(request.query.get("reader", "")), server.number(request, "item")
    return web.Response(body=await asyncio.to_thread(_png, folder, reader, item, view), content_type="image/png")


def _png(folder, reader, item, view):
    """As `picture`: pixels alone, without anything that the file says besides."""
    told = study.read(folder)
    if item >= len(told.items) or view not in ("plain", *(SIDES if told.question == study.OUTLINES else ())):
        raise KeyError("a picture that the study has not")
    stem = study.stem(folder, item)
    drawn = image_files.image(stem.with_suffix(".png"))
    if view in SIDES:
        name = _models(told, reader, item)[view]
        labels = image_files.read(image_files.partner(stem.with_name(f"{stem.name}_{name}.png")))
        drawn = outputs.overlay(drawn, labels)
    return cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes()


def _models(told, reader, item):
    """Side -> model whose outlines a reader has on it."""
    left = study.Reading(told, reader).left[item]
    return dict(zip(SIDES, (left, next(name for name in study.MODELS if name != left)), strict=True))


@ROUTES.post("/api/studies/{study}/answers")
async def answer(request):
    """Keeps an answer; tells what is next."""
    folder, said = _folder(request), await server.body(request, Said)
    return web.json_response(await asyncio.to_thread(_answered, folder, said))


def _answered(folder, said):
    """As `answer`."""
    told, reader = study.read(folder), study.named(said.reader)
    given = said.answer
    if told.question == study.OUTLINES and 0 <= said.item < len(told.items):
        given = _models(told, reader, said.item).get(given, "alike" if given == "alike" else "")
    if not 0 <= said.item < len(told.items) or given not in study.ANSWERS[told.question] or math.isnan(said.seconds):
        raise ValueError(f"Expected an answer to the study. Received: {said.answer!r} of item {said.item}.")
    answers.give(folder, reader, said.item, given, min(max(said.seconds, 0.0), SECONDS_MAX))
    return _next(folder, reader)


@ROUTES.post("/api/studies/{study}/back")
async def back(request):
    """Takes the last answer of a reader back; tells what is next."""
    folder, reader = _folder(request), study.named((await server.body(request, Reader)).reader)
    last = [given.item for given in answers.every(folder) if given.reader == reader][-1:]
    await asyncio.to_thread(answers.take_back, folder, reader)
    return web.json_response(_next(folder, reader) | ({"item": last[0]} if last else {}))


@ROUTES.get("/api/studies/{study}/result")
async def result(request):
    """The result, for a reader who has answered everything."""
    folder = _folder(request)
    if _next(folder, request.query.get("reader", ""))["item"] is not None:
        raise ValueError("Expected a reader who has answered everything. Received: one who has not.")
    return web.json_response({"text": await asyncio.to_thread(results.text, folder)})
