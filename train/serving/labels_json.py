"""What a program must know to use an exported model: labels.json."""

import dataclasses

from hou_synth import inference, normalise

FORMAT = 1  # of labels.json
SEGMENTATION = "probability that a pixel belongs to a nucleus"
DETECTION = {
    "core": "probability that a pixel belongs to the inner part of a nucleus, which no other nucleus touches",
    "centre": "probability that a pixel is the centre of a nucleus, or beside it",
}
FUSED = "probability that a pixel belongs to a nucleus and not to its contour"
ONE = "the same as segmentation: the network has one output"
SIGNATURES = {
    "serving_default": {
        "inputs": {"images": ("uint8", (None, None, None, 3), "RGB, any height and width, 0 to 255")},
        "outputs": {
            "segmentation": ("float32", (None, None, None, 1), "0 to 1"),
            "detection": ("float32", (None, None, None, 1), "0 to 1"),
        },
    },
    "encoded": {
        "inputs": {
            "image_bytes": ("string", (None,), "whole PNG or JPEG files, 8-bit RGB; on white where transparent")
        },
        "outputs": {
            "segmentation": ("float32", (None, None, None, 1), "0 to 1; 0 beyond an image smaller than the largest"),
            "detection": ("float32", (None, None, None, 1), "the same"),
            "height": ("int32", (None,), "pixels of each image"),
            "width": ("int32", (None,), "pixels of each image"),
        },
    },
    "document": {
        "inputs": {"names": ("string", (None,), "config.json, run.json, labels.json or model_card.md")},
        "outputs": {"texts": ("string", (None,), "UTF-8")},
    },
    "refine": {
        "inputs": {
            "synthetic": ("uint8", (None, None, None, 3), "RGB patch"),
            "reference": ("uint8", (None, None, None, 3), "RGB patch of real tissue, of the same shape"),
        },
        "outputs": {
            "refined": ("uint8", (None, None, None, 3), "RGB patch"),
            "weight": ("float32", (None,), "importance of the patch in training, within losses.weight_low and _high"),
        },
    },
}


def labels(settings, refines):
    """What a program must know to use the model, as `labels.json` says it.

    Args:
        settings: `Config`.
        refines: whether the model has `refine`.
    """
    return {
        "format": FORMAT,
        "microns_per_pixel": inference.MICRONS_PER_PIXEL,
        "colours": {
            "order": "RGB",
            "range": [0, 255],
            "normalisation": {
                "method": "Reinhard, on the tissue pixels of a whole image in CIE LAB, by the client",
                "target_mean": [round(float(channel), 2) for channel in normalise.TARGET_MEAN],
                "target_std": [round(float(channel), 2) for channel in normalise.TARGET_STD],
                "white_above": normalise.WHITE,
                "left_alone_if_more_white_than": normalise.WHITE_MAX,
            },
        },
        "maps": {
            "segmentation": {"range": [0, 1], "meaning": SEGMENTATION},
            "detection": {"range": [0, 1], "meaning": detection(settings)},
        },
        "label_map": {"0": "background", "1..n": "nucleus; each number is one nucleus, of any kind of cell"},
        "thresholds": dataclasses.asdict(settings.instances),
        "signatures": {
            name: {side: {key: _tensor(*spec) for key, spec in tensors.items()} for side, tensors in sides.items()}
            for name, sides in SIGNATURES.items()
            if refines or name != "refine"
        },
    }


def detection(settings):
    """What the map `detection` of a model says, by the `Config` of its run."""
    if settings.networks.network == "dcan":
        return FUSED
    return ONE if settings.networks.heads == 1 else DETECTION[settings.losses.detection]


def _tensor(dtype, shape, about):
    return {"dtype": dtype, "shape": list(shape), "meaning": about}
