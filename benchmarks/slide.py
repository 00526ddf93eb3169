"""How fast a whole slide is, beside the network alone on the same pixels: `python -m benchmarks.slide`."""

import argparse
import pathlib
import resource
import sys
import tempfile
import time

import cv2
import numpy as np
import tifffile

import hou_synth
from hou_synth import engines
from hou_synth.io import command, image_files
from hou_synth.slides import summary, tiled, whole_slide

BLOCK, REDUCED = 256, 16  # side of the blocks of a made pyramid, and how much smaller its second level is
SAMPLE = 3  # tiles on which the network alone is timed; as many at even distances


@command.command
def main(argv=None):
    """Prints what each slide took; the last line sums up the last one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slide", description=__doc__)
    parser.add_argument("--slide", nargs="+", default=[], help="slides that OpenSlide reads")
    parser.add_argument("--tiles", help="folder of tiles at 40X of which pyramids are made, in a temporary folder")
    parser.add_argument("--side", nargs="+", type=int, default=[5000], help="sides of the pyramids, in pixels [5000]")
    parser.add_argument("--model", help="SavedModel [the released one]")
    parser.add_argument("--engine", choices=engines.ENGINES, default=engines.ENGINES[0], help="[tensorflow]")
    args = parser.parse_args(argv)
    if not args.slide and not args.tiles:
        raise ValueError("Expected --slide or --tiles. Received: neither.")
    model = hou_synth.load(args.model, args.engine)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for path in args.slide:
            report(model, whole_slide.Slide(path), folder)
        for side in args.side if args.tiles else ():
            path = pyramid(folder / f"{side}.tif", [image_files.image(p) for p in image_files.find(args.tiles)], side)
            report(model, whole_slide.Slide(path, 0.25), folder)
            path.unlink()
    return 0


def pyramid(path, images, side):
    """Writes a pyramid of two levels whose blocks are corners of images, and returns its path.

    Args:
        path: a `.tif`.
        images: list of uint8 RGB; those under 256 pixels are left out.
        side: of the square, in pixels; raised to whole blocks.
    """
    blocks = [np.ascontiguousarray(image[:BLOCK, :BLOCK]) for image in images if min(image.shape[:2]) >= BLOCK]
    if not blocks:
        raise ValueError(f"Expected tiles of at least {BLOCK} pixels. Received: {len(images)} smaller ones.")
    small = [cv2.resize(block, [BLOCK // REDUCED] * 2, interpolation=cv2.INTER_AREA) for block in blocks]
    count = -(-side // BLOCK)
    taken = np.random.default_rng(0).integers(0, len(blocks), (count, count))
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        options = {"tile": (BLOCK, BLOCK), "photometric": "rgb", "dtype": np.uint8, "compression": "zlib"}
        file.write((blocks[i] for i in taken.ravel()), shape=(count * BLOCK, count * BLOCK, 3), **options)
        reduced = np.concatenate([np.concatenate([small[i] for i in row], axis=1) for row in taken])
        file.write(reduced, subfiletype=1, **options)
    return path


def report(model, slide, folder):
    """Segments a slide into a folder and prints its speed, and the network's on a sample of its tiles."""
    tiles, stem = folder / f"{slide.path.stem}.tiles", folder / slide.path.stem
    before, started = processor(), time.perf_counter()
    look = tiled.begin(tiles, slide, model, True)
    tiled.segment(model, slide, tiles, look)
    count = summary.write(str(stem), tiles, slide, look.factor)
    seconds, work = time.perf_counter() - started, processor() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    megapixels = slide.width * slide.height * slide.scale**2 / 1e6
    network, network_work = (value * megapixels for value in alone(model, slide, look))
    area = slide.width * slide.height * (slide.microns_per_pixel / 1000) ** 2
    print(f"{slide.path.name}: {megapixels:.1f} megapixels at 40X, enlarged {look.factor}, {count} nuclei")
    print(f"whole: {seconds:.1f} s, {work:.1f} s of the processors; network: {network:.1f} s, {network_work:.1f} s")
    print(f"{seconds / area:.1f} s a square millimetre, {count / seconds:.1f} nuclei a second")
    speeds = f"megapixels_per_second={megapixels / seconds:.2f} peak_gb={peak:.1f}"
    print(f"network_share={network / seconds:.2f} {speeds}", flush=True)
    tiled.clear(tiles)


def alone(model, slide, look):
    """Seconds, and seconds of the processors, that the network takes for a megapixel at 40X of tissue.

    It is shown the tiles' cores, without their margins, as the slide's are: in both views, and enlarged if they are.
    """
    every = tiled.places(slide, look.factor)
    seconds = work = megapixels = 0.0
    for index in np.unique(np.linspace(0, len(every) - 1, SAMPLE).round().astype(int)):
        image = tiled.prepared(slide, every[index], look, margin=0)
        if image is None or image.shown is None:
            continue
        before, started = processor(), time.perf_counter()
        tiled.mapped(model, image.shown)
        seconds, work = seconds + time.perf_counter() - started, work + processor() - before
        megapixels += image.scanned.shape[0] * image.scanned.shape[1] / 1e6
    return (seconds / megapixels, work / megapixels) if megapixels else (0.0, 0.0)


def processor():
    """Seconds that the processors have worked for this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
