"""A model: a network, the thresholds that belong to it, and what it is called; from a SavedModel or behind a server."""

import dataclasses
import functools
import hashlib
import os
import pathlib
from collections.abc import Callable

from hou_synth import config, engines, inference, instances, released

CARD = "model_card.md"
CONFIG = "config.json"
SENT = 576  # largest side of a window that is sent to a server, which may join eight in a batch; ours
PARALLEL = 4  # requests at once to a server; ours
TIMEOUT = 60.0  # seconds for one of them; ours


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A network and what belongs to it.

    Attributes:
        network: callable from (b, h, w, 3) uint8 RGB to maps, see `hou_synth.inference`.
        thresholds: thresholds and sizes it was exported with, by which its maps become nuclei; an `Instances`.
        identity: text that names it and changes with its graph or weights.
        document: function from a name, such as "model_card.md", to the text the model has under it; "" for none.
        window: largest side of a window that it is given.
        parallel: calls of the network at once.
        failures: its exceptions that the next image would meet too.
        classifier: `hou_synth.lymphocytes.Classifier` that says which nuclei are lymphocytes, or None.
        close: ends calls that are still under way.
    """

    network: Callable
    thresholds: config.Instances = instances.DEFAULT
    identity: str = ""
    document: Callable = lambda name: ""
    window: int = inference.WINDOW
    parallel: int = 1
    failures: tuple[type, ...] = ()
    classifier: object = None
    close: Callable = lambda: None

    @property
    def microns_per_pixel(self):
        """Resolution at which the network sees images; images of another one are resampled to it."""
        return inference.MICRONS_PER_PIXEL

    @functools.cached_property
    def card(self):
        """The model card in Markdown: what the model is, was trained on and must not be used for; "" without one."""
        return self.document(CARD)

    @property
    def tiling(self):
        """How images are cut up for the network: options of `inference.probabilities`."""
        return {"window": self.window, "parallel": self.parallel}

    def segment(self, image, microns_per_pixel=None, normalise=True):
        """Labelled nuclei of an image, (h, w) int32 labels 1..n on its pixels, 0 = background; as `found`."""
        return self.found(image, microns_per_pixel, normalise).labels

    def found(self, image, microns_per_pixel=None, normalise=True):
        """Labelled nuclei of an image, with the network's scores of them.

        The whole image is in memory at once, with 60 bytes for each of its pixels at 40X and more; the command
        `hou_synth.segment` takes large images tile by tile.

        Args:
            image: (h, w, 3) uint8 RGB.
            microns_per_pixel: resolution of the image; None means 0.25 (40X).
            normalise: whether colours are moved to the fixed target first.

        Returns:
            An `inference.Found`, on the pixels of `image`.

        Raises:
            ValueError: for something else than such an image, a resolution that is not positive, or a network that
                does not return probabilities.
        """
        return inference.found(self.network, image, normalise, microns_per_pixel, self.thresholds, **self.tiling)


def load(path=None, engine=engines.ENGINES[0]):
    """The `Model` of a SavedModel, as `hou_synth.load`."""
    path = released.model() if path is None else path
    folder = model_folder(path)
    network, changed = engines.network(folder, engine)
    document = functools.partial(_document, folder)
    return Model(network, thresholds(path), " ".join(filter(None, (identity(path), changed))), document)


def served(server, name=released.NAME, timeout=TIMEOUT, authorities=None):
    """The `Model` behind TensorFlow Serving.

    Args:
        server: `http://HOST:PORT` or `https://...` (REST), or `grpc://HOST:PORT` or `grpcs://...` (with TLS).
        name: `NAME`, whose highest available version is taken, or `NAME/VERSION`.
        timeout: seconds for one request, until its answer is complete.
        authorities: PEM file of the certificate authorities to trust; None for the usual ones.

    Raises:
        ValueError: if the server, the model, the version or its signatures are not what is expected.
    """
    from hou_synth.serving import client  # here, so that a SavedModel needs none of what a server needs

    network = client.load(server, name, timeout=timeout, authorities=authorities)
    return Model(
        network,
        network.settings,
        network.identity,
        network.document,
        window=SENT,
        parallel=PARALLEL,
        failures=(client.Unserved,),
        close=network.close,
    )


def model_folder(path):
    """The SavedModel under a path: itself, or its subfolder with the highest version number."""
    if not os.fspath(path):
        raise ValueError("Expected a SavedModel folder. Received: an empty name.")
    path = pathlib.Path(path)
    versions = [p for p in path.glob("*/saved_model.pb") if p.parent.name.isdecimal()]
    if (path / "saved_model.pb").is_file():
        return path
    if not versions:
        run = ", a run: its model lies in saved_models, and train.export writes it anew"
        about = run if (path / CONFIG).is_file() else ""
        raise ValueError(f"Expected a SavedModel folder, <name> or <name>/<version>. Received: {path}{about}.")
    return max((p.parent for p in versions), key=lambda folder: int(folder.name))


def thresholds(path):
    """Thresholds and sizes that a model was exported with.

    Args:
        path: as for `load`.

    Returns:
        The `Instances` of the configuration in the model's `assets.extra`; the default without one.

    Raises:
        ValueError: if there is no SavedModel, or its configuration cannot be read.
    """
    folder = model_folder(path)
    text = _document(folder, CONFIG)
    return config.thresholds(text, folder / "assets.extra" / CONFIG) if text else instances.DEFAULT


def identity(path):
    """Text that names a SavedModel and changes with its graph or weights: "name/version sha256:...".

    Args:
        path: as for `load`.

    Raises:
        ValueError: if there is no SavedModel.
    """
    folder = model_folder(path).resolve()
    digest = hashlib.sha256()
    for file in [folder / "saved_model.pb", *sorted((folder / "variables").glob("*"))]:
        digest.update(file.read_bytes())
    return f"{folder.parent.name}/{folder.name} sha256:{digest.hexdigest()[:16]}"


def _document(folder, name):
    """Text of a file in the `assets.extra` of a SavedModel; "" if it has none."""
    file = folder / "assets.extra" / name
    try:
        return file.read_text(encoding="utf-8") if file.is_file() else ""
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected a text in UTF-8. Received: {file} ({error}).") from error
