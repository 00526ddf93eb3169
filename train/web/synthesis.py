"""Synthetic patches for the page: mask, initial patch, reference, and what a model with a refiner makes of them."""

import base64
import dataclasses
import tempfile

import cv2
import numpy as np
from aiohttp import web

from data import synthetic, tiles
from hou_synth import config, model
from train.pictures import plates, report
from train.web import server

ROUTES = web.RouteTableDef()
COUNT_MAX = 60  # patches at once; ours
TISSUES = 4  # of one mask under several styles, as in `train.figures`
PRESET = "cpu"  # of models that do not say what they were painted with


@dataclasses.dataclass(frozen=True)
class Wish:
    """What is to be painted: `tiles` is a folder of this machine, empty for the embedded tissue."""

    model: str
    tiles: str
    seed: int
    count: int


class Painter:
    """Paints as a model was taught: tiles, settings and, if it has them, refiner and weights."""

    def __init__(self, folder, tissue, banks):
        """Prepares the tiles.

        Args:
            folder: of the SavedModel.
            tissue: folder of tiles; None for the embedded tissue.
            banks: folder for what is prepared.
        """
        path = folder / "assets.extra" / model.CONFIG
        settings = config.load(path) if path.is_file() else config.preset(PRESET)
        self.synthesis, self.side, self.refine = settings.synthesis, settings.schedule.patch, refiner(folder)
        self.bank = tiles.prepare(tissue, self.synthesis, beside=banks)
        self.bank.fitting(self.side)

    def patches(self, seed, count):
        """Dicts of pictures, weight and tile of synthetic patches; refined and weight are None without a refiner."""
        made = [synthetic.example(self.bank, seed, index, self.side, self.synthesis) for index in range(count)]
        images, references = (np.stack([getattr(each, name) for each in made]) for name in ("image", "reference"))
        refined, weights = self.refined(images, references)
        return [
            {
                "mask": encoded(plates.outlined(np.zeros_like(each.image), each.labels)),
                "initial": encoded(each.image),
                "reference": encoded(each.reference),
                "refined": None if refined is None else encoded(refined[place]),
                "weight": None if weights is None else float(weights[place]),
                "tile": each.provenance["tile"],
            }
            for place, each in enumerate(made)
        ]

    def styles(self, seed):
        """One mask painted with several tissues, and each refined to several references (paper, Fig. 6).

        Returns:
            Rows of pictures; the first has the mask and the references, the others source, initial and refined.
        """
        made = [synthetic.example(self.bank, seed, index, self.side, self.synthesis) for index in range(report.SORTED)]
        labels, random = max((each.labels for each in made), key=np.max), np.random.default_rng(seed)
        rows, references = [], []
        for tile in report.spread(self.bank.fitting(self.side), TISSUES):
            source, other = synthetic.corners(random, tile.image.shape[:2], self.side)
            again = np.random.default_rng(seed)
            patch = synthetic.repainted(labels, tile, source, again, self.synthesis)
            rows.append([np.ascontiguousarray(synthetic.crop(tile.image, source, self.side)), patch.image])
            references.append(np.ascontiguousarray(synthetic.crop(tile.image, other, self.side)))
        shown = references if self.refine else []
        for row in rows if shown else ():
            row += list(self.refined(np.stack([row[1]] * len(shown)), np.stack(shown))[0])
        mask = plates.outlined(np.zeros((self.side, self.side, 3), np.uint8), labels)
        return [[encoded(mask), None, *map(encoded, shown)], *([encoded(picture) for picture in row] for row in rows)]

    def refined(self, images, references):
        """Refined patches and weights, as `train.serving.signatures.Refinement`; two None without a refiner."""
        if self.refine is None:
            return None, None
        parts = [self.refine(image[None], other[None]) for image, other in zip(images, references, strict=True)]
        return tuple(np.concatenate([part[name] for part in parts]) for name in ("refined", "weight"))


def refiner(folder):
    """Function from initial patches and references to `refined` and `weight`; None for a model without a refiner."""
    import tensorflow as tf  # here, as only this tab needs it

    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures.get("refine")
    if signature is None:
        return None

    def refine(images, references):
        return signature(synthetic=tf.constant(images), reference=tf.constant(references))

    refine.model = loaded  # whose variables live as long as it
    return refine


def encoded(picture):
    """A picture (s, s, 3) as the address of a PNG that carries it."""
    content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1]
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _painter(state, wish):
    """The `Painter` of a wish, the last one if it fits."""
    if not (0 <= wish.seed < 2**32 and 1 <= wish.count <= COUNT_MAX):
        raise ValueError(f"Expected a seed of at least 0 and 1 to {COUNT_MAX} patches. Received: {wish}.")
    if wish.model not in state.settings.models:
        raise ValueError(f"Expected a model of the list. Received: {wish.model!r}.")
    key = wish.model, wish.tiles.strip()
    if state.painter is None or state.painter[0] != key:
        if state.banks is None:
            state.banks = tempfile.TemporaryDirectory()
        folder = model.model_folder(state.settings.models[wish.model])
        state.painter = key, Painter(folder, key[1] or None, state.banks.name)
    return state.painter[1]


@ROUTES.post("/api/patches")
async def patches(request):
    """Synthetic patches."""
    wish, state = await server.body(request, Wish), request.app[server.STATE]
    return web.json_response(await state.compute(lambda: _painter(state, wish).patches(wish.seed, wish.count)))


@ROUTES.post("/api/styles")
async def styles(request):
    """One mask under several styles."""
    wish, state = await server.body(request, Wish), request.app[server.STATE]
    return web.json_response(await state.compute(lambda: _painter(state, wish).styles(wish.seed)))
