"""What a network could learn instead of nuclei: `python -m benchmarks.shortcuts --labelled DIR...`.

Real nuclei left in the background, fills that look filled, nuclei that look painted. Label maps are read to measure.
"""

import argparse
import pathlib
import sys
import tempfile

import cv2
import numpy as np

from data import synthetic, tiles
from hou_synth import config
from hou_synth.io import command, image_files
from hou_synth.synthesis import stain, texture

WINDOW = 16  # side of a window in pixels
INSIDE = 0.75  # share of a nuclear window that nuclei cover
SIGMA = 2.0  # of the Gaussian that is subtracted
WINDOWS = 12000  # of each kind
SIDE = 200  # of a synthetic patch
EPOCHS = 12


@command.command
def main(argv=None):
    """Prints coverage and accuracies of each labelled folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shortcuts", description=__doc__)
    parser.add_argument("--labelled", nargs="+", required=True, help="folders of images with label maps")
    parser.add_argument("--preset", default="cpu", help="preset of the synthesis [cpu]")
    args = parser.parse_args(argv)
    settings = config.preset(args.preset).synthesis
    print("folder covered nuclei_covered other_masked filled_accuracy painted_accuracy", flush=True)
    for folder in map(pathlib.Path, args.labelled):
        images = [
            (path, image_files.image(path), image_files.read(image_files.partner(path)))
            for path in image_files.find(folder)
        ]
        figures = [*coverage(images, settings), filled(images, settings), painted(images, folder, settings)]
        print(folder.name, *(f"{figure:.3f}" for figure in figures), flush=True)
    return 0


def mask(image, settings):
    """Super-segmentation of an image."""
    return texture.nuclear_regions(image, stain.deconvolve(image)[0], settings)[2]


def coverage(images, settings):
    """Shares: of nuclear pixels covered, of nuclei covered to 90 %, of the other tissue's pixels masked."""
    nuclear, whole, other = [], [], []
    for _, image, truth in images:
        covered = mask(image, settings)
        nuclear.append(covered[truth > 0].mean())
        areas, inside = np.bincount(truth.ravel()), np.bincount(truth.ravel(), covered.ravel())
        present = np.flatnonzero(areas)[1:]
        whole.append(np.mean(inside[present] >= 0.9 * areas[present]))
        other.append(covered[(truth == 0) & (image.mean(-1) < texture.WHITE)].mean())
    return np.mean(nuclear), np.mean(whole), np.mean(other)


def filled(images, settings):
    """Accuracy of telling filled from untouched background."""
    random, made = np.random.default_rng(0), [[], []]
    for _, image, _ in images:
        nuclei = mask(image, settings)
        try:
            background = texture.tissue(image, settings).background
        except ValueError:
            continue
        for kind, where in enumerate((~nuclei, nuclei)):
            made[kind].append(windows(random, background, where, 1.0, WINDOWS // len(images)))
    return accuracy(*made)


def painted(images, folder, settings):
    """Accuracy of telling painted from real nuclei, both on the tissue of the same images."""
    random, real, synthesised = np.random.default_rng(0), [], []
    with tempfile.TemporaryDirectory() as place:
        bank = tiles.build(tiles.folder_sources(folder), pathlib.Path(place) / "bank.h5", settings, progress=False)
        for number, (_, image, truth) in enumerate(images):
            real.append(windows(random, image, truth > 0, INSIDE, WINDOWS // len(images)))
            several = [synthetic.example(bank, number, index, SIDE, settings) for index in range(25)]
            few = WINDOWS // len(images) // len(several) + 1
            synthesised.append(np.concatenate([windows(random, e.image, e.labels > 0, INSIDE, few) for e in several]))
    return accuracy(real, synthesised)


def windows(random, image, where, share, count):
    """(n, WINDOW, WINDOW, 3) float32 high-passed windows that `where` covers to at least a share; n up to the count."""
    values = image.astype(np.float32)
    fine = (values - cv2.GaussianBlur(values, (0, 0), SIGMA)) / 16.0
    inside = cv2.blur(where.astype(np.float32), (WINDOW, WINDOW), borderType=cv2.BORDER_CONSTANT)
    half = WINDOW // 2
    rows, columns = np.nonzero(inside[half:-half, half:-half] >= share - 1e-4)
    chosen = random.permutation(len(rows))[:count]
    cut = [fine[y : y + WINDOW, x : x + WINDOW] for y, x in zip(rows[chosen], columns[chosen], strict=True)]
    return np.array(cut, np.float32).reshape(-1, WINDOW, WINDOW, 3)


def accuracy(first, second):
    """Share of windows told right by a small network, trained on the other half of the images; chance is 0.5."""
    import keras  # here, so that the help does not wait for it

    rights = []
    for half in (0, 1):
        keras.utils.set_random_seed(half)
        network = classifier()
        (x, y), (seen_x, seen_y) = (
            balanced(first[half::2], second[half::2]),
            balanced(first[1 - half :: 2], second[1 - half :: 2]),
        )
        network.fit(x, y, batch_size=128, epochs=EPOCHS, verbose=0)
        rights.append(np.mean((network.predict(seen_x, batch_size=1024, verbose=0)[:, 0] > 0) == seen_y))
    return np.mean(rights)


def balanced(first, second):
    """Windows and their kinds, as many of the first as of the second."""
    first, second = np.concatenate(first), np.concatenate(second)
    count = min(len(first), len(second))
    return np.concatenate([first[:count], second[:count]]), np.repeat([0, 1], count)


def classifier():
    """A small convolutional network on a window."""
    import keras

    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((WINDOW, WINDOW, 3)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1),
        ]
    )
    network.compile(keras.optimizers.Adam(2e-3), keras.losses.BinaryCrossentropy(from_logits=True))
    return network


if __name__ == "__main__":
    sys.exit(main())
