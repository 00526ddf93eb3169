"""Every published number once, with its source.

"paper" is Hou et al., CVPR 2019; "release" is the authors' TensorFlow 1 program; "ours" is neither.
Lengths are pixels at 40X (0.25 microns per pixel). The defaults of every class are preset `paper`.
"""

import dataclasses
import json

from hou_synth.io import documents, files

VERSION = 9  # of the configuration's format, kept in config.json: a field that comes or changes raises it


def number(value, meaning):
    """A field of the configuration: its default, and what it is and where it comes from, which `--help-all` tells."""
    return dataclasses.field(default=value, metadata={"meaning": meaning})


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """Initial synthesis (paper Sec. 4.1): mask first, then textures of real tissue."""

    # Where the paper names a step but no number, the release's number stands.
    balance: bool = number(False, "tiles are brought to one white, by that of all tiles of their type; ours")
    by_type: bool = number(False, "tissue types are drawn by the root of their number of tiles; ours")
    margin: int = number(30, "canvas beyond the patch on each side; release 460 -> 400")
    count_base: float = number(20.0, "mean nuclei on 460x460 without density; release")
    count_density: float = number(30.0, "further nuclei per unit of density; release")
    count_spread: float = number(40.0, "standard deviation of the count on 460x460; release")
    count_max: int = number(256, "most nuclei on 460x460; release")
    density_unit: float = number(0.06, "share of pixels above Otsu that is density 1; release")
    density: float = number(0.0, "if positive, density of every patch; release 1, as its program overwrites its own")
    empty_probability: float = number(0.10, "of no nucleus at all when the density is at most 1; release")
    crowd: float = number(0.0, "probability of a patch that is crowded with small nuclei; ours")
    radius_low: float = number(8.5, "nuclear radius before the size bias; release")
    radius_high: float = number(13.0, "and at most; release")
    size_bias: float = number(1.2, "mean factor on the radii of a patch at density 0; release")
    size_bias_density: float = number(0.125, "added to it per unit of density; release")
    size_bias_spread: float = number(0.32, "its standard deviation; release")
    size_spread: float = number(0.0, "log-normal spread of single nuclei beyond radius_low..high; ours")
    lymphocytes: float = number(
        0.0, "if positive, nuclei are lymphocytes or others, and this share of patches has one at its centre; ours"
    )
    lymphocyte_low: float = number(12.0, "radius of a lymphocyte, about 7 microns in diameter; paper")
    lymphocyte_high: float = number(16.0, "and at most; paper")
    lymphocyte_tone_low: float = number(1.3, "density of one, as tone_low of other nuclei; ours (the paper: dark)")
    lymphocyte_tone_high: float = number(2.0, "and at most; ours")
    vertices_low: int = number(10, "vertices of a polygon; release")
    vertices_high: int = number(17, "and at most; release")
    irregularity_low: float = number(0.6, "jitter of the angle steps, clipped to 1; release")
    irregularity_high: float = number(2.6, "and at most; release")
    spikiness_low: float = number(0.04, "relative standard deviation of the vertex radii; release")
    spikiness_high: float = number(0.24, "and at most; release")
    smoothing: float = number(1.0, "Gaussian on the vertices' ring, in vertices, so corners round off; ours")
    elongation: float = number(
        0.0,
        "if positive, the log of the ratio of a nucleus's axes is |N(0, this)|, along a patch's direction; ours",
    )
    quadrilateral: float = number(
        0.674, "corners of the shared transform move inwards by U(0, this) canvases; release 310/460"
    )
    overlap: float = number(0.15, "largest covered share of a new nucleus; release (the paper: 'a number of pixels')")
    redraws: int = number(50, "attempts for one nucleus; release")
    drawn_area_min: int = number(47, "smallest nucleus in square pixels; release")
    tissue_redraws: int = number(
        0, "if positive, nuclei lie wholly on tissue, and so often one is redrawn until it does; release 500"
    )
    whole_centres: bool = number(False, "centres are those of nuclei before their patch is cut out; release")
    cell: int = number(35, "side of a cell of the tissue grid; release 460/13")
    tissue_std: float = number(8.0, "least mean channel std of a tissue cell, in grey levels; release")
    super_factor: float = number(1.08, "super-segmentation takes this times Otsu's share of pixels; release")
    super_grow: int = number(3, "dilation of the super-segmentation, so that no rim stays; ours (release 0)")
    sub_factor: float = number(0.92, "sub-segmentation takes this times Otsu's share; release")
    sub_top: float = number(99.0, "and leaves out pixels above this percentile; release")
    colour_max: float = number(100.0, "a nuclear colour brighter than this in all channels is none; release")
    red_max: float = number(255.0, "a nuclear colour with more red is none, as haematoxylin absorbs red; ours")
    inpaint_radius: int = number(3, "Telea; release")
    super_level: float = number(0.0, "if positive, local super-segmentation and background texture instead; ours")
    background_gain: float = number(0.009, "colour jitter of the background, relative; release")
    background_shift: float = number(0.6, "and in grey levels; release")
    background_haematoxylin: float = number(0.04, "U(0, this) optical density added; release")
    eosin_top: float = number(1.3, "eosin texture spans 0 to this; release")
    optical: bool = number(False, "texture multiplies the nuclear colour's optical density, not its intensity; ours")
    eosin_contrast: float = number(0.4, "if optical: contrast of the eosin texture around 1; ours")
    detail: float = number(0.0, "share of the tile's own fine structure added to the texture; ours")
    tone_low: float = number(0.6, "if optical: density of one nucleus, times U(tone_low, tone_high); ours")
    tone_high: float = number(1.4, "and at most; ours")
    covered: float = number(
        0.0, "if positive, U(this, 1) of the background's optical density stays in the palest of a nucleus; ours"
    )
    opacity_low: float = number(1.0, "opacity of one nucleus, U(opacity_low, 1); ours")
    texture_noise: float = number(0.0, "1 adds uniform noise of +-1.6/1.3/2.6 grey levels (R/G/B); release 1")
    texture_blur: float = number(0.0, "probability of a random 3x3 or 5x5 blur; release 0.5")
    field: float = number(0.0, "amplitude of the smooth random field on the texture; release 0.33")
    clear_small: float = number(15.0, "at most this percentile of a small nucleus is cleared; release")
    clear_base: float = number(10.0, "least and ...")
    clear_large: float = number(52.0, "... at most this percentile of a large one; release 10 + U(0, 42)")
    area_small: float = number(800.0, "mean nuclear area below which nuclei are small; release")
    area_large: float = number(2400.0, "and above which they are large; release")
    area_accumulated: bool = number(
        False, "that mean adds up the area of all nuclei so far, which makes most patches large; release"
    )
    vesicular: float = number(0.0, "if chromatin: share of nuclei with a pale centre behind a dark rim; ours")
    vesicular_area: float = number(150.0, "if they are larger than this; ours")
    chromatin: float = number(
        0.0, "if positive, most amplitude of a nucleus's grains; then no interior is cleared; ours"
    )
    membrane: bool = number(True, "the nuclear membrane stays when the interior is cleared; release")
    gap: float = number(0.0, "largest share of the opacity that is lost where two nuclei touch; ours")
    recall_cell: int = number(5, "cells of the mask that fills cleared interiors back; release")
    blur_max: int = number(9, "largest kernel of the boundary blur; release 3..9")
    blur_local: float = number(0.0, "probability that two rectangles get their own 5x5 blur; release 0.85")
    distractors: int = number(0, "at most this many small dark shapes on 460x460, background in the truth; release 99")
    distractor_low: float = number(1.2, "their radius; ours (release 6, before the transform)")
    distractor_high: float = number(3.5, "and at most; ours (release 11)")
    distractor_kept: float = number(0.0, "if positive, share of their pixels that is painted; release 0.15")
    between: int = number(0, "at most this many blurred polygons of an in-between colour; release 4")
    haze: float = number(0.0, "most of the nuclear density that lies on the background as a smooth haze; ours")
    halo: float = number(0.0, "and around the nuclei; ours")
    camera: float = number(
        0.0, "probability of a blur, and of noise, on the whole patch, which is then compressed; ours"
    )


@dataclasses.dataclass(frozen=True)
class Networks:
    """Layer counts and widths (paper Sec. 5 and Fig. 5; release)."""

    # The paper names numbers of layers and refers to the authors' program for the rest.
    refiner_blocks: int = number(7, "residual blocks: 7 give the paper's 21 convolutions, release 5 (17)")
    refiner_size: int = number(5, "side of their kernels; release")
    identity: bool = number(
        False, "the refiner's last layer begins at zero, so that it returns its input at first; ours"
    )
    discriminator: str = number(
        "paper", "'paper': 15 convolutions, 3 pools; 'release': 21 and 6; 'early': an earlier reading of the release"
    )
    network: str = number(
        "unet",
        "the task network: 'unet', 39 convolutions in the release; 'cnn', the paper's 15; 'dcan', Chen et al. 2016; of "
        "lymphocytes 'classifier', the paper's 11, and 'vgg16'",
    )
    heads: int = number(2, "outputs of unet and cnn: 2, segmentation and detection; 1, segmentation is both; ours")
    unet_widths: tuple[int, ...] = number((16, 32, 64, 128, 256), "channels by level; release")
    unet_down: tuple[int, ...] = number((3, 4, 4, 5, 6), "convolutions by level going down; release")
    unet_up: tuple[int, ...] = number((5, 4, 4, 3), "and going up, deepest first; release")
    grow_wide: bool = number(
        True, "its transposed convolutions keep the channels, with leaky ReLU; release; else half of them, linear; ours"
    )
    classifier_widths: tuple[int, ...] = number((16, 32, 48, 64), "channels of the classifier between its pools; ours")
    cnn_widths: tuple[int, ...] = number((16, 32, 64), "channels at full, half and quarter resolution; ours")
    normalisation: bool = number(False, "batch normalisation in the task network; release off")
    reference: bool = number(True, "refiner and discriminator see a reference patch; paper, its Table 3 tries without")


@dataclasses.dataclass(frozen=True)
class Losses:
    """Weights of the losses (paper Eq. 6 and Sec. 4.2). All losses are sums over pixels."""

    l1: float = number(1e-5, "lambda1 of the elastic net; paper (release 1e-3)")
    l2: float = number(1e-4, "lambda2; paper (release 1e-2)")
    alpha: float = number(1.0, "of the regularisation; paper")
    beta: float = number(1.0, "of the realism; paper")
    gamma: float = number(1e-7, "of the hard examples; paper")
    realism: str = number(
        "summed",
        "'paper': log(1 - D), D the mean over the logit map; 'summed': the same of every local logit, summed over the "
        "map, as the release's rates want it, ours; 'release': -log D of every local logit, summed",
    )
    weighting: str = number(
        "clip", "importance weights: 'clip', 'normalise', 'calibrate', 'none', 'shuffle'; ours beyond clip"
    )
    weight_low: float = number(0.0, "importance weights are clipped to ...; paper none, release 0.2")
    weight_high: float = number(1e6, "... this; paper none, release 2")
    border: int = number(0, "pixels at a patch's border with little weight in the task loss; release 50")
    border_weight: float = number(0.01, "that weight; release")
    detection: str = number("centre", "detection target: 'centre' of a nucleus, release; or its 'core', ours")
    centre_dilation: int = number(3, "side of a nucleus's centre in the detection target; release")


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Phases, batches and optimisers (release; the paper gives none)."""

    patch: int = number(75, "side of a patch; paper 75 (and 200), release 400")
    batch: int = number(10, "patches in a batch; release")
    labelled_batch: int = number(
        22, "labelled patches in a task batch besides, where there are labelled images; release"
    )
    pool: int = number(4096, "refined patches kept; release 64000, which at 75x75 is 2.5 GB of memory")
    history: str = number(
        "refiner",
        "what is put into the pool: 'refiner': batches of refiner updates, whole until it is full and then by half, "
        "release; 'every': half a batch of every update, ours",
    )
    optimizer: str = number("momentum", "'momentum': SGD 0.95 as in the release; 'adam'")
    refiner_rate: float = number(3e-6, "learning rates for losses summed over pixels; release")
    discriminator_rate: float = number(3e-5, "of the discriminator; release")
    task_rate: float = number(3e-6, "of the task network; release")
    clip: float = number(50.0, "largest norm of one variable's gradient; release")
    refiner_steps: int = number(1000, "phase 1; release")
    discriminator_steps: int = number(1000, "phase 2")
    adversarial_rounds: int = number(1000, "phase 3: refiner_updates + discriminator_updates each")
    task_steps: int = number(1000, "phase 4")
    joint_rounds: int = number(10000, "phase 5: refiner, task and discriminator updates")
    final_steps: int = number(1000, "phase 6: task alone")
    self_rounds: int = number(0, "rounds of self-training, each with labels of the task network at its beginning; ours")
    self_steps: int = number(0, "and task updates in each")
    self_colours: bool = number(
        False, "labels of self-training are of tiles in several colours, background is what is it in all of them; ours"
    )
    refiner_updates: int = number(2, "in a round; release")
    discriminator_updates: int = number(1, "and of the discriminator")
    task_updates: int = number(6, "and of the task network")
    stain: float = number(0.0, "stain and brightness jitter of the task network's input; ours")
    decay: bool = number(False, "cosine decay of the task rate to a hundredth over the whole run; ours")
    mixed_precision: str = number("float32", "arithmetic inside the networks: 'float32', 'bfloat16' or 'float16'; ours")
    jit: bool = number(False, "compile the training steps with XLA; ours")
    deterministic: bool = number(
        False, "every step gives the same bits each time on a GPU too, where it is slower; CPUs do without it; ours"
    )
    scale: float = number(
        1.0, "the preset's steps and rounds of every phase, also of self-training, are this many times as many; ours"
    )
    seed: int = number(0, "of all that is random")


@dataclasses.dataclass(frozen=True)
class Instances:
    """From maps to nuclei (release)."""

    detection_sigma: float = number(1.0, "Gaussian on the detection map")
    detection_threshold: float = number(0.07, "of the detection map's blobs")
    segmentation_sigma: float = number(0.5, "Gaussian on the segmentation map")
    segmentation_threshold: float = number(0.33, "of the segmentation map")
    seed_area_max: int = number(65536, "a region without a seed up to this area gets one; release")
    compactness: float = number(
        1 / 255, "of the watershed on probabilities; above 0 its cuts straighten; release 1 on a map of 0 to 255"
    )
    seed_height: float = number(0.0, "if positive, seeds are the detection map's domes of this height, not blobs; ours")
    mean_min: float = number(0.0, "nuclei of a lower mean probability are discarded; ours")
    line: int = number(0, "width of the background between touching nuclei, 0 to 2 pixels; ours")
    area_min: int = number(20, "nuclei under this many pixels are discarded")
    transposed: bool = number(False, "whether the maps are the mean of those of an image and of its transpose; ours")
    typical_area: float = number(0.0, "if positive, images are enlarged until their nuclei's median area is this; ours")


@dataclasses.dataclass(frozen=True)
class Config:
    """One run: the resolved configuration that is written as config.json."""

    preset: str = "paper"
    synthesis: Synthesis = Synthesis()
    networks: Networks = Networks()
    losses: Losses = Losses()
    schedule: Schedule = Schedule()
    instances: Instances = Instances()


CHOICES = {
    "network": ("unet", "cnn", "dcan", "classifier", "vgg16"),
    "heads": (1, 2),
    "discriminator": ("paper", "release", "early"),
    "realism": ("paper", "summed", "release"),
    "detection": ("centre", "core"),
    "history": ("refiner", "every"),
    "optimizer": ("momentum", "adam"),
    "mixed_precision": ("float32", "bfloat16", "float16"),
    "weighting": ("clip", "normalise", "calibrate", "none", "shuffle"),
}
LENGTHS = (  # fields of the schedule that its `scale` multiplies
    *("refiner_steps", "discriminator_steps", "adversarial_rounds", "task_steps", "joint_rounds", "final_steps"),
    "self_steps",
)
GROUPS = ("synthesis", "networks", "losses", "schedule", "instances")
# What `save` writes: every field of every group, none by default.
_FORMS = {
    group: dataclasses.make_dataclass(group, [(f.name, f.type) for f in dataclasses.fields(getattr(Config, group))])
    for group in GROUPS
}
_WRITTEN = dataclasses.make_dataclass("Written", [("version", int), ("preset", str), *_FORMS.items()])
# Earlier versions lack fields that were not there yet. They mean today's defaults, but for these of version 1.
_VERSION_1 = {
    "networks": {"refiner_size": 3, "grow_wide": False},
    "losses": {"realism": "paper"},
    "schedule": {"history": "every"},
    "instances": {"seed_area_max": 6400, "compactness": 1.0},
}

_RELEASE_SYNTHESIS = {
    "texture_noise": 1.0,
    "texture_blur": 0.5,
    "field": 0.33,
    "smoothing": 0.0,
    "super_grow": 0,
    "blur_local": 0.85,
    "density": 1.0,
    "tissue_redraws": 500,
    "whole_centres": True,
    "area_accumulated": True,
    "distractors": 99,
    "distractor_low": 6.0,
    "distractor_high": 11.0,
    "distractor_kept": 0.15,
    "between": 4,
}

# Ours: backgrounds free of pale nuclei and of smooth fills, nuclei of the sizes, hues, tones, chromatin and crowding
# that real tiles show, haematoxylin outside of nuclei, and one camera for all. Judged by eye on real tiles and by
# the accuracy on kumar16, whose labels so chose among about a dozen settings.
_OUR_SYNTHESIS = {
    "balance": True,
    "by_type": True,
    "super_level": 0.4,
    "colour_max": 255.0,  # nuclei may be pale, but
    "red_max": 205.0,  # not without blue: leaves out tiles of eosin alone
    "sub_factor": 0.6,  # the darker part of the nuclear pixels, as tones vary around it
    "size_bias": 1.0,
    "size_bias_density": 0.0,
    "size_bias_spread": 0.4,
    "size_spread": 0.25,
    "crowd": 0.3,
    "count_max": 320,
    "spikiness_high": 0.16,
    "elongation": 0.5,  # nuclei of the tiles: ratio of the axes 1.3 to 1.5 in the median, of one in ten over 1.8 to 2.1
    "quadrilateral": 0.3,
    "optical": True,
    "tone_low": 1.2,
    "tone_high": 1.9,
    "covered": 0.5,
    "opacity_low": 0.95,
    "detail": 0.7,
    "texture_noise": 1.0,
    "texture_blur": 0.5,
    "chromatin": 0.25,
    "vesicular": 0.35,
    "gap": 0.8,
    "background_haematoxylin": 0.02,
    "field": 0.2,
    "blur_max": 7,
    "blur_local": 0.85,
    "distractors": 70,
    "between": 70,
    "haze": 0.8,
    "halo": 0.6,
    "camera": 0.5,
}

# Ours, for hours instead of weeks. The release's rates belong to momentum SGD on sums over pixels, and to tens of
# thousands of steps; Adam does not depend on the scale of a loss, and batch normalisation lets the task network take
# a high rate. Two convolutions a level halve the cost of the release's 39. The realism is the release's, which has a
# gradient for a refiner that does not yet deceive; being a sum over the logit map, it takes a beta of about one over
# its size, and the lambdas lie between the paper's and the release's. The refiner begins as the identity, so no steps
# are spent on teaching it to keep its input, and the discriminator learns first. It soon only guesses against a fast
# refiner, so that one is slow and has one update to its three. With the paper's gamma of 1e-7 the hard examples would
# have next to no gradient beside the realism. The larger a patch, the smaller the share of it that a logit sees, and
# the more the mean of the local probabilities evens out the weights, which the calibration makes good in part. From
# maps to nuclei: the labels of kumar16 chose most of it, see docs/maps_to_nuclei.md.
_OUR_TRAINING = {
    "refiner_size": 3,
    "grow_wide": False,
    "unet_down": (2, 2, 2, 2, 2),
    "unet_up": (2, 2, 2, 2),
    "normalisation": True,
    "realism": "release",
    "beta": 0.02,
    "gamma": 1e-4,
    "identity": True,
    "l1": 1e-4,
    "l2": 1e-3,
    "weighting": "calibrate",
    "weight_low": 0.1,  # 0.2 to 2 leaves more of the bias where p and g are a standard deviation apart
    "weight_high": 10.0,
    "detection": "core",
    "detection_sigma": 2.0,  # a core is wider than a centre
    "detection_threshold": 0.5,
    "segmentation_threshold": 0.5,
    "seed_area_max": 6400,
    "compactness": 0.0,  # this and the next four were chosen with the labels of kumar16
    "transposed": True,
    "typical_area": 400.0,  # about what most tissue has; images of nuclei from 256 on are left as they are
    "seed_height": 0.25,  # lower parts crowded nuclei better, higher keeps large ones whole
    "mean_min": 0.65,  # label-free networks score best at 0.8, supervised ones, which are less sure, at 0.6
    "line": 2,  # without labels, by train.thresholds
    "optimizer": "adam",
    "refiner_rate": 1e-4,
    "discriminator_rate": 2e-4,  # 5e-4 and 1e-3 spike and learn later
    "task_rate": 1e-3,
    "stain": 0.25,
    "decay": True,
    "patch": 80,
    "batch": 10,
    "labelled_batch": 10,  # as many as synthetic ones, which doubles the time of an update
    "pool": 1024,
    "history": "every",
    "refiner_steps": 0,
    "discriminator_steps": 300,
    "adversarial_rounds": 150,
    "task_steps": 400,
    "joint_rounds": 100,
    "final_steps": 800,
    "refiner_updates": 1,
    "discriminator_updates": 3,
}

# What each preset changes against the paper's numbers above.
PRESETS = {
    "paper": {},
    "release": {
        **_RELEASE_SYNTHESIS,
        "refiner_blocks": 5,
        "discriminator": "release",
        "l1": 1e-3,
        "l2": 1e-2,
        "realism": "release",
        "weight_low": 0.2,
        "weight_high": 2.0,
        "border": 50,
        "patch": 400,
        "pool": 1024,  # 64000 patches of 400x400 with reference and truth would take 72 GB; ours 1.1 GB
    },
    # Hou et al. 2017. Its abstract tells of initial synthesis, a GAN that refines towards reference styles, and
    # adversarial (hard) examples for the task network; neither of importance weights nor of a second output of that
    # network. All else is the paper's of 2019, and ours from maps to nuclei, where one map has to give the seeds too.
    "hou2017": {"weighting": "none", "heads": 1, "seed_height": 0.1, "detection_sigma": 2.0},
    "cpu": {**_OUR_SYNTHESIS, **_OUR_TRAINING},
    "thorough": {
        **_OUR_SYNTHESIS,
        **_OUR_TRAINING,
        "patch": 128,
        "batch": 4,
        "labelled_batch": 4,
        "beta": 0.007,  # of 289 logits instead of 121
        "discriminator_steps": 0,
        "adversarial_rounds": 0,
        "joint_rounds": 0,
        "final_steps": 0,
        "task_steps": 1500,  # 2500 are no better on real tissue, and 6000 worse
        "self_rounds": 2,
        "self_steps": 500,
        "seed_height": 0.5,  # this and mean_min without labels, by train.thresholds
        "mean_min": 0.75,
    },
    # Is a lymphocyte at a patch's centre? Judged by eye on synthetic patches beside those of crchisto's training
    # images, and by the accuracy on these, whose labels so chose among half a dozen settings.
    "lymphocyte": {
        **_OUR_SYNTHESIS,
        **_OUR_TRAINING,
        "lymphocytes": 0.5,
        "lymphocyte_low": 6.5,  # sections show less than the paper's 7 microns: 3 to 6, as few are cut at their widest
        "lymphocyte_high": 12.0,
        "elongation": 0.65,
        "distractors": 40,
        "between": 40,
        "haze": 0.6,
        "tone_low": 0.5,  # others are paler
        "tone_high": 1.4,
        "network": "classifier",
        "patch": 64,
        "beta": 0.2,  # of 9 logits, as in quick
        "batch": 32,
        "gamma": 0.1,  # of a loss that is no sum over pixels
        "discriminator_steps": 0,
        "adversarial_rounds": 0,
        "joint_rounds": 0,
        "final_steps": 0,
        "task_steps": 600,
    },
    # Only for a network that has learned already, which self-training adapts to tissue in a quarter of an hour. Its
    # rounds begin at half of the rate, so at 3e-4: a third of what a new network takes, as it has something to lose.
    # With the labels of `thorough`, instead of several colours, and six patches of tiles to two painted ones, a network
    # forgot pale nuclei that it did not find at first: its AJI on the pale set tnbc fell from .562 to .471 in three
    # rounds. Labels of tnbc and nuinsseg so chose.
    "adapt": {
        **_OUR_SYNTHESIS,
        **_OUR_TRAINING,
        "patch": 128,
        "batch": 4,
        "labelled_batch": 4,
        "beta": 0.007,  # this, seed_height and mean_min as in thorough
        "seed_height": 0.5,
        "mean_min": 0.75,
        "task_rate": 6e-4,
        "discriminator_steps": 0,
        "adversarial_rounds": 0,
        "joint_rounds": 0,
        "final_steps": 0,
        "task_steps": 0,
        "self_rounds": 3,
        "self_steps": 300,
        "self_colours": True,
    },
    "quick": {
        **_OUR_SYNTHESIS,
        **_OUR_TRAINING,
        "patch": 64,
        "beta": 0.2,  # of 9 logits instead of 121
        "batch": 8,
        "pool": 256,
        "refiner_blocks": 2,
        "unet_widths": (8, 16, 32, 64, 128),
        "discriminator_steps": 40,
        "adversarial_rounds": 20,
        "task_steps": 200,
        "joint_rounds": 20,
        "final_steps": 400,
    },
}


def preset(name, **changes):
    """Returns the configuration of a preset, with single numbers replaced.

    Args:
        name: one of `PRESETS`.
        **changes: field name of any group -> new value. `scale` multiplies those of `LENGTHS` that are not among them,
            rounded, and to 1 at least where the preset has any.

    Returns:
        A `Config`.

    Raises:
        ValueError: for an unknown preset, field or choice, or a scale that is not above 0.
    """
    if name not in PRESETS:
        raise ValueError(f"Expected a preset out of {', '.join(PRESETS)}. Received: {name!r}.")
    scale, whole = changes.get("scale", 1.0), {**dataclasses.asdict(Config.schedule), **PRESETS[name]}
    if scale <= 0:
        raise ValueError(f"Expected a scale above 0. Received: {scale}.")
    lengths = {length: max(round(scale * whole[length]), min(whole[length], 1)) for length in LENGTHS}
    changes = {**PRESETS[name], **lengths, **changes}
    groups = {}
    for group in GROUPS:
        default = getattr(Config, group)
        own = {f.name for f in dataclasses.fields(default)} & changes.keys()
        groups[group] = dataclasses.replace(default, **{key: changes.pop(key) for key in own})
    for field, choices in CHOICES.items():
        value = next(getattr(group, field) for group in groups.values() if hasattr(group, field))
        if value not in choices:
            raise ValueError(f"Expected {field} out of {', '.join(map(str, choices))}. Received: {value!r}.")
    if changes:
        raise ValueError(f"Expected the name of a configuration field. Received: {', '.join(changes)}.")
    return Config(preset=name, **groups)


def save(config, path):
    """Writes a configuration as JSON, atomically (temporary name, then rename)."""
    files.write_text(path, json.dumps({"version": VERSION, **dataclasses.asdict(config)}, indent=2) + "\n")


def load(path):
    """Reads a configuration written by `save`, of this version or an earlier one.

    Raises:
        ValueError: when the file is not such a configuration, or a later version wrote it.
    """
    record = _migrated(documents.read(path, dict[str, object]), path)
    written = documents.parse(json.dumps(record), _WRITTEN, path, extra="forbid")
    return Config(written.preset, *(_filled(group, getattr(written, group)) for group in GROUPS))


def thresholds(text, source):
    """Thresholds and sizes out of the text that `save` writes, whatever the rest of it is.

    Args:
        text: JSON, str or bytes.
        source: where it comes from, for the error.

    Returns:
        `Instances`.

    Raises:
        ValueError: when it has none, or others, or a later version wrote it.
    """
    record = _migrated(documents.parse(text, dict[str, object], source), source)
    group = json.dumps(record.get("instances"))
    return _filled("instances", documents.parse(group, _FORMS["instances"], f"{source}, instances", extra="forbid"))


def _migrated(record, source):
    """What `save` wrote, as it writes it today: earlier versions get the values and names of what they meant."""
    version = documents.parse(json.dumps(record.get("version", 1)), int, f"{source}, version")
    if not 1 <= version <= VERSION:
        raise ValueError(
            f"Expected a configuration of version 1 to {VERSION}, which this hou_synth reads. "
            f"Received: {source} of version {version}."
        )
    if version == VERSION:
        return record
    record, meant = dict(record), _VERSION_1 if version == 1 else {}
    for group in GROUPS:
        if isinstance(record.get(group), dict):
            default = dataclasses.asdict(getattr(Config, group))
            record[group] = {**default, **meant.get(group, {}), **record[group]}
            if version == 1 and record[group].get("discriminator") == "release":
                record[group]["discriminator"] = "early"
    return record


def _filled(group, written):
    """A group of the configuration with the fields that were written."""
    return type(getattr(Config, group))(**vars(written))


def differences(one, other):
    """Names the fields in which two configurations differ, as `field: a != b` strings."""
    rows = []
    for group in GROUPS:
        a, b = dataclasses.asdict(getattr(one, group)), dataclasses.asdict(getattr(other, group))
        rows += [f"{key}: {a[key]!r} != {b[key]!r}" for key in a if a[key] != b[key]]
    return rows
