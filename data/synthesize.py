"""Writes a data set of synthetic patches: `python -m data.synthesize --tiles DIR --count 1000 --out patches.h5`."""

import argparse
import contextlib
import os
import pathlib
import shutil
import sys
import time

import tqdm

from data import sheet, tile_options, tiles, workers
from data.sets import cluster, folders, hdf5, specification
from hou_synth import options
from hou_synth.io import command, files, locks

LAYOUTS = {"hdf5": hdf5, "release": folders}
ENDINGS = (".h5", ".hdf5")  # of a file
LARGEST = 512


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=command.program("data.synthesize"),
        description="Write synthetic patches with their truth; the same command goes on with what is there.",
    )
    tile_options.add_tiles(parser, "folder of tiles (default: the embedded tissue)")
    parser.add_argument("--count", type=int, required=True, help="patches; with --sheet, rows of each tissue type")
    parser.add_argument("--size", type=int, help="side of a patch (default: the preset's)")
    parser.add_argument("--seed", type=int, default=0, help="of the whole set [0]")
    made = parser.add_mutually_exclusive_group(required=True)
    made.add_argument("--out", help="HDF5 file, or folder of layout release")
    made.add_argument(
        "--sheet", metavar="PNG", help="draw tiles, their backgrounds, masks and patches of each type instead"
    )
    parser.add_argument("--layout", choices=LAYOUTS, default="hdf5", help="one file, or folders of PNGs [hdf5]")
    parser.add_argument("--workers", type=int, help="processes, 0 for none but this (default: one a core)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that works instead")
    parser.add_argument("--bank", help="tile bank (default: banks/ beside the output)")
    parser.add_argument("--rebuild", action="store_true", help="replace a --bank that is damaged or has other settings")
    options.add_configuration(parser, "cpu", ["synthesis"])
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Writes the data set; returns the exit code."""
    args = arguments(argv)
    tissue, settings = tile_options.named(args), options.configuration(args, "cpu")
    side = settings.schedule.patch if args.size is None else args.size
    check(args.count, side, args.seed, args.workers)
    if args.sheet:
        return look(args, tissue, settings.synthesis, side)
    check_name(args.out, args.layout)
    out = pathlib.Path(args.out).absolute()  # the workers of a cluster have their own folder
    layout = LAYOUTS[args.layout]
    print(f"{args.count} patches of {side}x{side}: about {_amount(args.count * patch_bytes(layout, side))} in {out}")
    begun = out.exists() or out.with_name(out.name + ".parts").exists()
    if not begun:
        room(out, layout, side, args.count, args.count)
    bank = tiles.prepare(tissue, settings.synthesis, args.bank, out.parent / "banks", args.rebuild)
    bank.fitting(side)
    where = str(bank.path.resolve())
    fingerprint = specification.fingerprint(bank)
    wanted = specification.Specification(settings, args.seed, side, args.count, where, fingerprint)
    store = layout.Store(out, wanted)
    missing = store.missing()
    if not missing and store.held == wanted.count:
        shutil.rmtree(store.parts, ignore_errors=True)  # of a run that was killed while it removed them
        print(f"finished already: {wanted.count} patches of {side}x{side} in {out}")
        return 0
    if begun:
        todo = sum(len(wanted.shard(start)) for start in missing)
        going_on(store, todo)
        room(out, layout, side, args.count, todo)
    with locks.exclusive(store.parts):
        store.begin()
        fill(store, missing, args.workers, args.scheduler)
    return 0


def look(args, tissue, config, side):
    """Draws the sheet, and tells how many tiles of each type there are and why some are left out.

    Args:
        args: parsed command line.
        tissue: `data.tile_options.TileFolder`.
        config: `Synthesis`.
        side: of a patch.

    Returns:
        The exit code.

    Raises:
        ValueError: if the file is there already.
    """
    files.refuse_existing(args.sheet)
    bank = tiles.prepare(tissue, config, args.bank, pathlib.Path(args.sheet).parent / "banks", args.rebuild)
    for kind in bank.types:
        print(f"{kind or 'tiles'}: {sum(tile.type == kind for tile in bank.tiles)} tiles")
    for name, reason in bank.left_out.items():
        print(f"left out: {name}: {reason}")
    sheet.draw(bank, args.sheet, config, side, args.count, args.seed)
    print(f"drawn: {args.sheet}")
    return 0


def check(count, side, seed, processes):
    """Raises ValueError for numbers that are out of range."""
    if count < 1:
        raise ValueError(f"Expected a count of at least 1. Received: {count}.")
    if not tiles.SIDE_MIN <= side <= LARGEST:
        raise ValueError(f"Expected a size of {tiles.SIDE_MIN} to {LARGEST} pixels. Received: {side}.")
    if seed < 0 or (processes or 0) < 0:
        raise ValueError(f"Expected a seed and workers of at least 0. Received: {seed} and {processes}.")


def check_name(out, layout):
    """Refuses a file of a data set that is named like another, and a folder that is named like a file."""
    named = pathlib.Path(out).suffix.lower() in ENDINGS
    if layout == "hdf5" and not named:
        raise ValueError(f"Expected an --out that ends in .h5 or .hdf5, or --layout release. Received: {out}.")
    if layout == "release" and named:
        raise ValueError(f"Expected a folder as --out for --layout release. Received: {out}.")


def patch_bytes(layout, side):
    """Bytes of a patch on disk."""
    return layout.PIXEL * side**2 + layout.PATCH


def going_on(store, todo):
    """Tells what is there already, if `todo` patches are still to be made."""
    if store.damage:
        print(f"{store.path} is damaged; intact: {store.damage}")
    if todo < store.specification.count:
        print(f"{store.specification.count - todo} of {store.specification.count} patches are there, going on")


def room(path, layout, side, count, todo):
    """Tells how much of the disk it takes to make `todo` of `count` patches.

    Raises:
        OSError: if the disk clearly has less room.
    """
    needed = patch_bytes(layout, side) * (todo + layout.Store.merges * count)
    free = shutil.disk_usage(next(p for p in path.resolve().parents if p.exists())).free
    print(f"{_amount(needed)} of disk until it is complete, {_amount(free)} are free", flush=True)
    if free < needed:
        raise OSError(f"Expected {_amount(needed)} of disk for {path}. Received: {_amount(free)} free.")


def _amount(size):
    """Bytes in words."""
    unit, name = next((u, n) for u, n in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")) if size >= u or n == "MB")
    return f"{size / unit:.1f} {name}"


def fill(store, missing, processes, scheduler):
    """Makes the missing patches, finishes the data set and tells its size and speed.

    Args:
        store: `hdf5.Store` or `folders.Store`, begun.
        missing: first patches of the shards to make.
        processes: that work; None for one a core.
        scheduler: address of a Dask cluster that works instead, or None.

    Raises:
        OSError: saying what is kept, if the disk is full or a process is killed.
    """
    started, made, count = time.monotonic(), 0, store.specification.count
    todo = sum(len(store.specification.shard(start)) for start in missing)
    if scheduler:
        results = cluster.unordered(store.write, missing, scheduler)
    else:
        results = workers.ordered(store.write, missing, os.cpu_count() if processes is None else processes)
    try:
        with (
            contextlib.closing(results),
            tqdm.tqdm(total=count, initial=count - todo, unit="patch", disable=None) as bar,
        ):
            for number in results:
                made += number
                bar.update(number)
        seconds = time.monotonic() - started
        store.finish()
    except OSError as error:
        raise _keeping(error, count - todo + made, count) from error
    size = store.size()
    print(f"{count} patches in {store.path}: {_amount(size)}, {size / count:.0f} bytes a patch", end="")
    print(f", {made / seconds:.1f} patches a second" if made else "")


def _keeping(error, kept, count):
    """The error, with what is kept."""
    text = (error.strerror or str(error)).rstrip(".")
    text += f"; kept: {kept} of {count} patches, with which the same command goes on"
    return OSError(error.errno, text, error.filename) if error.errno else OSError(text)


if __name__ == "__main__":
    sys.exit(main())
