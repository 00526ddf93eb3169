"""The fast synthesis agrees with the plain reference within sampling error, and the comparison can fail."""

import dataclasses

import cv2
import numpy as np
import pytest
from scipy import stats

from data import synthetic, tiles
from hou_synth import config
from hou_synth.synthesis import initial_patch
from hou_synth.synthesis.stain import deconvolve
from tests import reference_synthesis

SIDE = 128
PATCHES = 120  # of the plain reference, one a source
FAST = 3  # patches of the fast code for each of them
DENSITY = 1.5  # of preset `release`, whose own is 1: small patches need more nuclei to compare
ALPHA = 0.01  # chance that equal codes fail a comparison, shared by its p-values
EFFECT = 0.3  # largest difference of two means, in standard deviations of a patch; equal codes differ by 0.1


def source(random, bank, settings, density=None):
    """Crops of random tiles, cut without the package's own cropping."""
    tile, *others = (bank.tiles[k] for k in random.integers(len(bank.tiles), size=3))
    corner = random.integers(np.subtract(tile.background.shape[:2], SIDE - 1))
    canvas = SIDE + 2 * settings.margin
    rows = -(-canvas // settings.cell)
    cells = np.empty((rows, rows), bool)
    for row, column in np.ndindex(cells.shape):
        place = corner - settings.margin + (np.array([row, column]) + 0.5) * settings.cell
        share = place / tile.background.shape[:2]
        cells[row, column] = tile.cells[
            tuple(np.clip(share * tile.cells.shape, 0, np.array(tile.cells.shape) - 1).astype(int))
        ]
    crops = {"background": cut(tile.background, corner)}
    for name, layer in {"eosin": others[0].eosin, "clearing": others[1].grain, "detail": tile.image}.items():
        crops[name] = cut(layer, random.integers(np.subtract(layer.shape[:2], SIDE - 1)))
    return initial_patch.Source(**crops, colour=tile.colour, density=density or tile.density, cells=cells)


def cut(layer, corner):
    y, x = corner
    return np.array(layer[y : y + SIDE, x : x + SIDE])


def described(patch, source=None):
    """Statistics of one patch, some against the source that it is painted with; nan where it has no such nucleus."""
    image, labels = patch.image, patch.labels
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
    haematoxylin, _ = deconvolve(image)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 1.5)
    areas, solidity = whole(labels)
    inside = labels > 0
    result = {
        "count": labels.max(),
        "centres": np.count_nonzero(patch.centres),
        "foreground": inside.mean(),
        "area": areas.mean() if len(areas) else np.nan,
        "area, spread / mean": areas.std() / areas.mean() if len(areas) > 2 else np.nan,
        "area / hull": solidity.mean() if len(areas) else np.nan,
        "contour touching": touching(labels),
    }
    if source is not None:
        result["dark specks outside"] = specks(grey, source.background, inside)
        result["grey / eosin, spread"] = ratio(grey, source.eosin, inside)
        result["near - far"] = around(grey, source.background, inside)
    result |= {"blocks": blocks(grey), **structure(grey, patch)}
    for name, values in {"grey": grey, "haematoxylin": haematoxylin, "fine": fine}.items():
        for where, mask in {"inside": inside, "outside": ~inside}.items():
            chosen = values[mask] if np.count_nonzero(mask) > 100 else np.array([np.nan])
            if name != "fine":
                result[f"{name} {where}, mean"] = chosen.mean()
            result[f"{name} {where}, std"] = chosen.std()
    return result


def structure(grey, patch):
    """Differences of mean grey levels inside the nuclei: of their middle, and of where two touch, to their contour."""
    depth = cv2.distanceTransform(((patch.labels > 0) & ~patch.contours).astype(np.uint8), cv2.DIST_L2, 5)
    labels, square = patch.labels.astype(np.float32), np.ones((3, 3), np.uint8)
    lowest = cv2.erode(np.where(labels > 0, labels, np.inf).astype(np.float32), square)
    shared = patch.contours & (lowest < cv2.dilate(labels, square))
    masks = {"middle - contour": depth > 4, "touching - contour": shared}
    contour = patch.contours & ~shared
    enough = {name: min(np.count_nonzero(mask), np.count_nonzero(contour)) > 20 for name, mask in masks.items()}
    return {name: grey[mask].mean() - grey[contour].mean() if enough[name] else np.nan for name, mask in masks.items()}


def around(grey, background, inside):
    """How much more a patch differs from its background 4 to 8 pixels from nuclei than farther than 14: a halo."""
    distance = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 5)
    near, far = (distance > 4) & (distance < 8), distance > 14
    if not inside.any() or min(np.count_nonzero(near), np.count_nonzero(far)) < 100:
        return np.nan
    difference = grey - cv2.cvtColor(background, cv2.COLOR_RGB2GRAY)
    return difference[near].mean() - difference[far].mean()


def blocks(grey):
    """Steps between the 8x8 blocks of JPEG over the steps within them."""
    steps = np.abs(np.diff(grey, axis=1)).mean(0)
    return steps[7::8].mean() / steps[3::8].mean()


def whole(labels):
    """Areas of the nuclei that do not reach the border, and their areas over those of their convex hulls."""
    areas, solidity = [], []
    for nucleus in np.unique(labels[1:-1, 1:-1])[1:]:
        rows, columns = np.nonzero(labels == nucleus)
        if rows.min() > 0 and columns.min() > 0 and max(rows.max(), columns.max()) < SIDE - 1:
            hull = np.zeros(labels.shape, np.uint8)
            cv2.fillConvexPoly(hull, cv2.convexHull(np.column_stack([columns, rows]).astype(np.int32)), 1)
            areas.append(len(rows))
            solidity.append(len(rows) / hull.sum())
    return np.array(areas), np.array(solidity)


def touching(labels):
    """Share of contour pixels with another nucleus among their eight neighbours: grows with the overlap."""
    highest = cv2.dilate(labels, np.ones((3, 3), np.uint8))
    lowest = 65535 - cv2.dilate(np.where(labels > 0, 65535 - labels, 0).astype(np.uint16), np.ones((3, 3), np.uint8))
    contour = reference_synthesis.contours(labels)
    return (highest != lowest)[contour].mean() if contour.any() else np.nan


def specks(grey, background, inside):
    """Share of the pixels away from nuclei over 25 levels darker than the jittered background: distractors."""
    away = cv2.dilate(inside.astype(np.uint8), np.ones((13, 13), np.uint8)) == 0
    if np.count_nonzero(away) < 1000:
        return np.nan
    darker = (cv2.cvtColor(background, cv2.COLOR_RGB2GRAY) - grey)[away]
    return (darker - np.median(darker) > 25).mean()


def ratio(grey, eosin, inside):
    """Spread of grey levels over the eosin that they are painted with, between nuclei and within: field, tones."""
    core = (cv2.erode(inside.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0) & (eosin > 20)
    if np.count_nonzero(core) < 100:
        return np.nan
    low, middle, high = np.percentile(grey[core] / eosin[core], (10, 50, 90))
    return (high - low) / middle


def fast(sources, settings, each=FAST):
    """(patches, each) statistics of the fast code, by name."""
    made = []
    for number, one in enumerate(sources):
        for k in range(each):
            patch = initial_patch.initial(np.random.default_rng([2, number, k]), one, settings)
            made.append(described(patch, one))
    return {name: np.array([row[name] for row in made]).reshape(-1, each) for name in made[0]}


def compared(reference, made):
    """Rows (name, plain mean, fast mean, difference in standard deviations, p of the means, p of the distributions).

    Patches are independent given their source, so the means are compared by a paired t-test over the sources.
    The distributions share their sources, so Kolmogorov-Smirnov on single patches errs to the safe side.
    """
    rows = []
    for name, values in reference.items():
        other = np.nanmean(np.where(np.isnan(made[name]).all(1, keepdims=True), 0.0, made[name]), axis=1)
        use = ~np.isnan(values) & ~np.isnan(made[name]).all(1)
        effect = (other[use].mean() - values[use].mean()) / values[use].std()
        means = stats.ttest_rel(values[use], other[use]).pvalue
        spreads = stats.ks_2samp(values[use], made[name][use][~np.isnan(made[name][use])]).pvalue
        rows.append((name, values[use].mean(), other[use].mean(), effect, means, spreads))
    return rows


def differing(rows):
    """Names of the statistics that disagree."""
    limit = ALPHA / (2 * len(rows))
    return [name for name, _, _, effect, p, q in rows if min(p, q) < limit or abs(effect) > EFFECT]


def table(rows):
    lines = [f"{'':24}{'plain':>10}{'fast':>10}{'d / sd':>8}{'p mean':>9}{'p KS':>9}"]
    lines += [f"{name:24}{a:10.4f}{b:10.4f}{effect:8.2f}{p:9.4f}{q:9.4f}" for name, a, b, effect, p, q in rows]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("banks")


@pytest.fixture(scope="module", params=["release", "cpu"])
def reference(request, folder):
    """Settings, sources, and the statistics of the plain reference on them.

    Every other source has the density of usual tissue instead of the embedded one's, which is crowded.
    """
    settings = config.preset(request.param).synthesis
    if settings.density:
        settings = dataclasses.replace(settings, density=DENSITY)
    bank = tiles.build(tiles.embedded_sources(), folder / f"{request.param}.h5", settings, progress=False)
    random = np.random.default_rng(1)
    sources = [source(random, bank, settings, density=1.5 if k % 2 else None) for k in range(PATCHES)]
    made = [reference_synthesis.initial(np.random.default_rng([1, k]), one, settings) for k, one in enumerate(sources)]
    rows = [described(patch, one) for patch, one in zip(made, sources, strict=True)]
    return settings, bank, sources, {name: np.array([row[name] for row in rows], float) for name in rows[0]}


def test_fast_agrees_with_plain(reference):
    settings, _, sources, expected = reference
    rows = compared(expected, fast(sources, settings))
    assert not differing(rows), f"{differing(rows)} disagree:\n{table(rows)}"


CHANGES = {  # what a change must show in, by preset
    "release": [
        ({"size_bias": 1.6}, "area"),
        ({"overlap": 0.4}, "contour touching"),
        ({"distractor_kept": 0.5}, "dark specks outside"),
        ({"density": 4.0}, "count"),
        ({"area_accumulated": False}, "middle - contour"),
    ],
    "cpu": [
        ({"size_bias": 1.4}, "area"),
        ({"overlap": 0.4}, "contour touching"),
        ({"crowd": 1.0}, "count"),
        ({"tone_low": 0.4, "tone_high": 2.7}, "grey inside, std"),
        ({"vesicular": 0.0}, "middle - contour"),
        ({"gap": 0.0}, "touching - contour"),
        ({"haze": 0.0}, "haematoxylin outside, mean"),
        ({"halo": 0.0}, "near - far"),
        ({"camera": 0.0}, "blocks"),
    ],
}


@pytest.mark.slow
def test_a_changed_number_is_found(reference):
    settings, _, sources, expected = reference
    for change, shown in CHANGES["cpu" if settings.optical else "release"]:
        rows = compared(expected, fast(sources, dataclasses.replace(settings, **change), each=2))
        assert shown in differing(rows), f"{change} is not found in {shown}:\n{table(rows)}"


def test_nuclei_of_another_size_are_found(reference):
    """The one change of both presets; all others are slow."""
    settings, _, sources, expected = reference
    rows = compared(expected, fast(sources, dataclasses.replace(settings, size_bias=settings.size_bias + 0.4), each=1))
    assert "area" in differing(rows), table(rows)


def test_truth_is_that_of_the_plain_reference(reference):
    settings, _, sources, _ = reference
    for number, one in enumerate(sources[:20]):
        patch = initial_patch.initial(np.random.default_rng([3, number]), one, settings)
        assert (patch.contours == reference_synthesis.contours(patch.labels)).all()
        if not settings.whole_centres:
            assert (patch.centres == reference_synthesis.centres(patch.labels)).all()
        assert (patch.labels == reference_synthesis.renumbered(patch.labels)).all()


def test_examples_are_patches_of_such_sources(reference):
    settings, bank, _, _ = reference
    random = np.random.default_rng(4)
    one = [initial_patch.initial(random, source(random, bank, settings), settings) for _ in range(PATCHES)]
    other = [synthetic.example(bank, 5, index, SIDE, settings) for index in range(PATCHES)]
    one, other = ([described(patch) for patch in patches] for patches in (one, other))
    for name in one[0]:
        a, b = (np.array([row[name] for row in rows]) for rows in (one, other))
        p = stats.ks_2samp(a[~np.isnan(a)], b[~np.isnan(b)]).pvalue
        assert p > ALPHA / len(one[0]), f"{name} differs: {np.nanmean(a):.4f}, {np.nanmean(b):.4f}, p {p:.5f}"
