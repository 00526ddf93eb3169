"""Realism of synthetic patches by measures that no training optimises: Frechet distance, contrast at the border."""

import numpy as np
from scipy import ndimage

from hou_synth.synthesis import stain

RING = 3.0  # pixels on either side of a nucleus's border
_LEAST = 8  # pixels of a ring, under which a nucleus is left out


def frechet(features, others):
    """Frechet distance between two sets of features, taken as normal distributions.

        F = |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2)      [Dowson and Landau 1982; Heusel 2017]

    It is biased upwards for small sets; only distances between sets of equal sizes can be compared.

    Args:
        features: (n, d).
        others: (m, d).

    Returns:
        A float, at least 0.
    """
    both = np.asarray(features, np.float64), np.asarray(others, np.float64)
    first, second = (np.cov(vectors, rowvar=False).reshape(vectors.shape[1], -1) for vectors in both)
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    crossed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    apart = np.square(both[0].mean(0) - both[1].mean(0)).sum()
    return max(0.0, float(apart + np.trace(first) + np.trace(second) - 2 * crossed))


def halves(types, tiles, count, seed=0):
    """Random halves of a set of patches, split by tile: patches of one tile look alike.

    The tiles of every tissue type go to the two halves in turn, so that both have as many, give or take one.

    Args:
        types: tissue type of each patch.
        tiles: tile of each patch.
        count: how many splits.
        seed: of the splits.

    Returns:
        (count, n) bool, whether a patch is in the first half.
    """
    random, every = np.random.default_rng(seed), sorted(set(zip(types, tiles, strict=True)))
    result = []
    for _ in range(count):
        order = sorted((every[number] for number in random.permutation(len(every))), key=lambda pair: pair[0])
        first = {tile for _, tile in order[int(random.integers(2)) :: 2]}
        result.append([tile in first for tile in tiles])
    return np.array(result)


def distances(real, made, splits):
    """Frechet distances from made patches to real ones, and between real ones, over the same halves.

    Made patches of one half are compared with real patches of the other, and the other way round. So every
    distance is between patches of different tiles, and between sets of the same sizes: what two halves of the
    real patches differ by is what patches as real as these would show. Features are divided by their deviation
    over the real patches first.

    Args:
        real: (n, d) features of real patches.
        made: dict of name -> (n, d) features of patches of the same tiles, in the same order.
        splits: (k, n) bool, see `halves`.

    Returns:
        Dict of name, and `halves` for the real patches -> (k,) distances.
    """
    scale = np.maximum(np.std(real, axis=0), 1e-6)
    real, made = real / scale, {"halves": real / scale} | {name: vectors / scale for name, vectors in made.items()}
    return {
        name: np.array([(frechet(vectors[a], real[~a]) + frechet(vectors[~a], real[a])) / 2 for a in splits])
        for name, vectors in made.items()
    }


def contrasts(image, labels):
    """Contrast of haematoxylin across the border of each nucleus: mean of a ring inside less that of one outside.

    The rings hold the pixels within 3 pixels of the border between nuclei and background; a pixel outside
    belongs to the nearest nucleus alone, so no ring reaches into another nucleus.

    Args:
        image: (h, w, 3) uint8 RGB.
        labels: (h, w) instance labels, 0 is background.

    Returns:
        (nuclei,) float64 in the units of `stain.deconvolve`, in the order of the labels; nuclei with under 8
        pixels in a ring are left out.
    """
    if not labels.any() or labels.all():
        return np.zeros(0)
    away, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    inside = (labels > 0) & (ndimage.distance_transform_edt(labels > 0) <= RING)
    outside = (labels == 0) & (away <= RING)
    owner, haematoxylin = labels[tuple(nearest)], stain.deconvolve(image)[0]
    (many, inner), (more, outer) = (_sums(haematoxylin, owner, ring, labels.max()) for ring in (inside, outside))
    kept = np.minimum(many, more) >= _LEAST
    return inner[kept] / many[kept] - outer[kept] / more[kept]


def _sums(values, owner, ring, last):
    """Pixels of a ring, and the sum of their values, for every label from 0 to the last."""
    labels = owner[ring].astype(np.int64)
    return np.bincount(labels, minlength=last + 1), np.bincount(labels, values[ring], last + 1)


def resampled(tiles, count=400, seed=0):
    """Bootstrap by tile: how often each patch is drawn when as many tiles are drawn with replacement.

    Args:
        tiles: tile of each patch.
        count: of repetitions.
        seed: of the draws.

    Returns:
        (count, n) int64.
    """
    every, place = np.unique(tiles, return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(every), np.full(len(every), 1 / len(every)), count)
    return drawn[:, place]
