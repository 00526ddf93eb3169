"""Nuclei of images and slides: `python -m hou_synth.segment IMAGE_OR_SLIDE...`."""

import argparse
import dataclasses
import errno
import glob
import os
import pathlib
import sys

import cv2
from tqdm import tqdm

import hou_synth
from hou_synth import engines, inference, lymphocytes, model, options, released, results
from hou_synth.io import command, image_files, locks, parquet
from hou_synth.model import Model
from hou_synth.slides import large_image, summary, tiled, whole_slide

TILES = ".tiles"  # the folder with the tiles of a slide is named <stem of the slide>.tiles
INCOMPLETE = 3  # exit code if all that could be read was segmented
FULL = (errno.ENOSPC, errno.EDQUOT)  # errors of a full disk, which the next image would meet too


class Incomplete(Exception):
    """A slide of which some tiles could not be read, while the rest is segmented."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What is done with every image and slide."""

    model: Model
    out: pathlib.Path
    microns_per_pixel: float | None = None
    normalise: bool = True
    overwrite: bool = False
    region: whole_slide.Place | None = None

    def request(self, path):
        """What the nuclei of an image depend on, see `results.image_request`."""
        resolution = self.microns_per_pixel or inference.MICRONS_PER_PIXEL
        return results.image_request(path, self.model, self.normalise, resolution)


def inputs(arguments):
    """Paths of the images and slides named on the command line; folders stand for those in them.

    Raises:
        ValueError: if something does not exist, a folder has no image, or two images share a stem.
    """
    paths = []
    for argument in map(pathlib.Path, arguments):
        members = {*image_files.find(argument), *whole_slide.find(argument)} if argument.is_dir() else ()
        if not members and not argument.is_file():
            raise ValueError(f"Expected an image or a slide, or a folder with some. Received: {argument}.")
        paths += sorted(members) or [argument]
    stems = {}
    for path in paths:
        if path.stem in stems:
            raise ValueError(f"Expected images with different stems. Received: {stems[path.stem]} and {path}.")
        stems[path.stem] = path
    return paths


def refuse_existing(slides, out):
    """Raises ValueError naming the first output of a slide that is there but that no folder of tiles belongs to."""
    for path in slides:
        for ending in () if (out / (path.stem + TILES)).is_dir() else results.OUTPUTS:
            output = out / (path.stem + ending)
            if output.exists():
                raise ValueError(f"Expected no older output, or --overwrite. Received: {output} exists.")


def segment_image(path, job):
    """Segments an image and writes its results."""
    image = image_files.image(path)
    if large_image.size_at_40x(image, job.microns_per_pixel) > large_image.LARGE:
        segment_large(path, image, job)
    else:
        found = job.model.found(image, job.microns_per_pixel, job.normalise)
        scores, classifier = found.scores(), job.model.classifier
        if classifier:
            scores |= classifier.scores(image, found.labels, job.microns_per_pixel, job.normalise)
        results.write(job.out / path.stem, image, found.labels, job.request(path), scores)


def segment_large(path, image, job):
    """Segments a large image tile by tile, or what is left of it, and writes the results of an image."""
    folder, large = job.out / (path.stem + TILES), large_image.LargeImage(path, image, job.microns_per_pixel)
    megapixels = large_image.size_at_40x(image, job.microns_per_pixel) / 1e6
    print(f"{path.name}: {megapixels:.0f} megapixels at 40X, segmented tile by tile", file=sys.stderr)
    if job.overwrite:
        tiled.clear(folder)
    look = tiled.begin(folder, large, job.model, job.normalise)
    segment_tiles(large, folder, look, job)
    labels, scores = large_image.label_map(folder, large, look.factor)
    results.write(job.out / path.stem, image, labels, job.request(path), scores)
    tiled.clear(folder)


def finished(path, job):
    """Whether the results of an image are complete; not if it cannot be read, which is told when its turn comes."""
    try:
        return results.finished(job.out / path.stem, job.request(path))
    except OSError:
        return False


def left(paths, slides, job):
    """The images and slides without those images whose results are complete, which is told.

    Raises:
        ValueError: if there are results of another request.
    """
    images = [path for path in paths if path not in slides]
    done = {path for path in images if finished(path, job)}
    if done:
        print(f"{len(done)} of {len(images)} images are segmented already", file=sys.stderr)
    return [path for path in paths if path not in done]


def segment_slide(path, job):
    """Segments a slide, or what is left of it, and writes its results; nothing to do if they are complete.

    Raises:
        Incomplete: after all is written, if tiles could not be read.
    """
    stem_path, folder = job.out / path.stem, job.out / (path.stem + TILES)
    endings = (*summary.OUTPUTS, *([summary.LYMPHOCYTES] if job.model.classifier else []))
    outputs = [pathlib.Path(f"{stem_path}{ending}") for ending in endings]
    slide = whole_slide.Slide(path, job.microns_per_pixel, job.region)
    if job.overwrite:
        tiled.clear(folder)
        for output in outputs:
            output.unlink(missing_ok=True)
    look = tiled.begin(folder, slide, job.model, job.normalise)
    for output in outputs:  # what a killed start may have left half written
        for partial in output.parent.glob(f"{glob.escape(output.name)}.*.part"):
            partial.unlink()
    if tiled.finished(folder):
        return
    unreadable = segment_tiles(slide, folder, look, job)
    summary.write(stem_path, folder, slide, look.factor, bool(job.model.classifier))
    if unreadable:
        raise Incomplete(f"{len(unreadable)} of {len(tiled.places(slide, look.factor))} tiles could not be read.")
    tiled.finish(folder, outputs)


def segment_tiles(slide, folder, look, job):
    """Computes the tiles of a slide or a large image that its folder does not hold yet; returns the unreadable ones."""
    for partial in folder.glob("*.part"):  # what a killed start may have left half written
        partial.unlink()
    try:
        return tiled.segment(job.model, slide, folder, look)
    except (ValueError, OSError, MemoryError, KeyboardInterrupt):
        print(tiled.kept(folder, slide, look), file=sys.stderr)
        raise


def arguments(argv):
    """Parsed command line.

    Raises:
        ValueError: for options that do not fit.
    """
    parser = argparse.ArgumentParser(
        prog=command.program("hou_synth.segment"),
        description="Segment the nuclei of H&E images and whole slides. A slide (.svs, .ndpi, .mrxs, .scn, .bif, "
        ".vms, .svslide, .czi, .dcm; a .tif or .tiff that a scanner wrote, or that is tiled and has several levels "
        "or over 100 million pixels) is segmented tile by tile; the same command goes on where it was stopped.",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_SLIDE", help="file, or a folder of them")
    parser.add_argument(
        "--model",
        help="SavedModel: saved_models/<name> or <name>/<version>, a program: name only one that you trust; with "
        f"--server the NAME or NAME/VERSION it serves (default: the released {released.NAME})",
    )
    parser.add_argument(
        "--out",
        default="segmented",
        help="folder for the results, into which one command at a time writes [segmented]",
    )
    parser.add_argument(
        "--server", metavar="URL", help="TensorFlow Serving: http(s)://host:8501 or grpc(s)://host:8500"
    )
    parser.add_argument(
        "--engine",
        choices=engines.ENGINES,
        default=engines.ENGINES[0],
        help="what runs the network; openvino is faster where the processor has bfloat16 [tensorflow]",
    )
    parser.add_argument(
        "--ca", metavar="FILE", help="PEM file of the certificate authorities that an encrypted --server is trusted by"
    )
    parser.add_argument(
        "--parallel", type=int, help=f"calls of the network at once, by default 1, with --server {model.PARALLEL}"
    )
    parser.add_argument(
        "--timeout", type=options.finite, help=f"seconds for one request to --server, by default {model.TIMEOUT:.0f}"
    )
    parser.add_argument(
        "--microns-per-pixel",
        type=options.finite,
        help="resolution of the images, by default 0.25 (40X), and of the slides, in place of what they tell",
    )
    parser.add_argument(
        "--region",
        nargs=4,
        type=int,
        metavar=("X", "Y", "WIDTH", "HEIGHT"),
        help="the part of each slide that is segmented, in its pixels",
    )
    parser.add_argument("--parquet", action="store_true", help="write each table of nuclei as Parquet too")
    parser.add_argument("--no-normalise", action="store_true", help="leave the colours as they are")
    parser.add_argument(
        "--lymphocytes",
        action="store_true",
        help="tell of each nucleus how probable it is that it is a lymphocyte; of slides draw their density too",
    )
    parser.add_argument(
        "--classifier", metavar="PATH", help=f"SavedModel that tells it (default: the released {released.LYMPHOCYTE})"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace older results, begin slides anew")
    args = parser.parse_args(argv)
    args.out = pathlib.Path(args.out)
    if args.timeout is not None and not (args.server and args.timeout > 0):
        raise ValueError(f"Expected --timeout of over 0 seconds, and --server. Received: {args.timeout}.")
    if args.ca and not args.server:
        raise ValueError(f"Expected --ca with --server. Received: --ca {args.ca} alone.")
    if args.region and (min(args.region[:2]) < 0 or min(args.region[2:]) < 1):
        raise ValueError(f"Expected --region X Y WIDTH HEIGHT of at least 0 0 1 1. Received: {args.region}.")
    if args.classifier and not args.lymphocytes:
        raise ValueError(f"Expected --lymphocytes with --classifier. Received: --classifier {args.classifier} alone.")
    if args.parallel is not None and args.parallel < 1:
        raise ValueError(f"Expected --parallel of at least 1. Received: {args.parallel}.")
    return args


def every(paths, slides, job):
    """Segments images and slides. What the next would meet too is raised at once.

    Returns:
        How many could not be segmented, and how many slides only in part.
    """
    failures = parts = 0
    for path in tqdm(paths, unit="image", disable=None if len(paths) > len(slides) else True):
        try:
            (segment_slide if path in slides else segment_image)(path, job)
        except Incomplete as error:
            command.complain(f"{path.name}: {error}")
            parts += 1
        except (ValueError, OSError) as error:
            if isinstance(error, job.model.failures) or getattr(error, "errno", None) in FULL:
                raise
            command.complain(f"{path.name}: {error}")
            failures += 1
        except (MemoryError, cv2.error) as error:
            if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
                raise
            command.complain(f"{path.name}: Expected enough memory for it. Received: {error or 'out of memory'}")
            failures += 1
    return failures, parts


def told(paths, out):
    """Text that says where the overlays are."""
    return f"overlay: {out / (paths[0].stem if len(paths) == 1 else '*')}_overlay.png"


@command.command
def main(argv=None):
    """Segments images and slides and writes the results; returns the exit code."""
    if argv is None:  # called from outside, not by a program that may need Keras
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # TensorFlow then begins without Keras, a second sooner
    args = arguments(argv)
    paths = inputs(args.images)
    slides = {path for path in paths if whole_slide.is_slide(path)}
    if args.region and len(slides) < len(paths):
        raise ValueError(f"Expected slides alone with --region. Received: {min(set(paths) - slides)}.")
    if not args.overwrite:
        refuse_existing(slides, args.out)
    if args.parquet:
        parquet.library()  # which is told before hours of work
    if args.server:
        name = released.NAME if args.model is None else args.model
        loaded = model.served(args.server, name, args.timeout or model.TIMEOUT, args.ca)
    else:
        loaded = hou_synth.load(args.model, args.engine)
    if args.parallel:
        loaded = dataclasses.replace(loaded, parallel=args.parallel)
    region = whole_slide.Place(*args.region) if args.region else None
    if args.lymphocytes:
        loaded = dataclasses.replace(loaded, classifier=lymphocytes.load(args.classifier))
    job = Job(loaded, args.out, args.microns_per_pixel, not args.no_normalise, args.overwrite, region)
    try:
        with locks.exclusive(job.out):
            failures, parts = every(paths if job.overwrite else left(paths, slides, job), slides, job)
            for path in paths if args.parquet else ():
                table = job.out / f"{path.stem}.csv"
                if table.is_file():
                    parquet.write(table.with_suffix(".parquet"), table)
    finally:
        loaded.close()
    if failures < len(paths):
        print(told(paths, args.out))
    if failures:
        return command.MISTAKE
    return INCOMPLETE if parts else 0


if __name__ == "__main__":
    sys.exit(main())
