"""The whole method, phase by phase: `python -m train.universal --tiles DIR`."""

import argparse
import contextlib
import json
import os
import pathlib
import shlex
import sys

import keras
import numpy as np
import tensorflow as tf

from data import pipeline, tiles
from hou_synth import command, config, files, instances, metrics, options
from train import epochs, export, limits, phases, real, sheet
from train.callbacks import Checkpoint, Clock, Finite, save
from train.trainer import UniversalTrainer

CHECKPOINT_MINUTES = 3.0
SCORED = 32  # unseen synthetic patches behind the closing score


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.universal", description="Train a nucleus segmenter on unlabelled H&E tiles."
    )
    parser.add_argument("--tiles", help="folder of tiles at 40X (default: the embedded tissue)")
    real.add_data(parser, "--labelled")
    parser.add_argument("--out", help="run folder (default: runs/<preset>)")
    parser.add_argument("--bank", help="tile bank (default: banks/ beside the run folder)")
    parser.add_argument("--rebuild", action="store_true", help="replace a --bank that has other settings")
    parser.add_argument("--models", default="saved_models", help="where the SavedModel goes [saved_models]")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, if there is one")
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--workers", type=int, default=cores // 4, help=f"processes that synthesise; 0: threads [{cores // 4}]"
    )
    options.add_configuration(parser)
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Trains, exports, scores; returns the exit code."""
    clock = Clock()
    args = arguments(argv)
    settings = options.configuration(args, "cpu" if args.tiles else "quick")
    run = pathlib.Path(args.out or f"runs/{settings.preset}")
    check(settings, run, args.resume)
    if (run / "scores.json").exists():
        print(f"This run is finished.\n{(run / 'next.txt').read_text()}")
        return 0
    images = real.images(args, args.labelled) if args.labelled else []
    check_images(run, images)
    bank = prepare(args, settings, run)
    record(args, settings, run, bank, images)
    with contextlib.closing(pipeline.Source(bank, settings, args.workers, images)) as source:
        trainer = train(settings, run, source, clock)
    finish(settings, run, bank, trainer, pathlib.Path(args.models), clock.minutes())
    return 0


def check(settings, run, resume):
    """Refuses what cannot be trained, before anything is made.

    Raises:
        ValueError: for sizes that the networks cannot take, a run that exists, or one that is to be resumed
            with another configuration.
    """
    limits.check(settings)
    if not (run / "config.json").exists():
        return
    if not resume:
        raise ValueError(f"Expected an --out that does not hold a run. Received: {run}. Add --resume to go on with it.")
    differing = config.differences(config.load(run / "config.json"), settings)
    if differing:
        raise ValueError(f"Expected the configuration of the run in {run}. Received: {'; '.join(differing)}.")


def check_images(run, images):
    """Raises ValueError if a run that is to be resumed has learned from other labelled images."""
    earlier = json.loads((run / "run.json").read_text())["labelled"] if (run / "run.json").exists() else None
    if earlier not in (None, names := [image.name for image in images]):
        raise ValueError(f"Expected the labelled images of the run in {run}, {earlier}. Received: {names}.")


def prepare(args, settings, run):
    """The tile bank of the run, built or reused; the tiles left out are listed in `left_out.csv`."""
    bank = tiles.prepare(args.tiles, settings.synthesis, args.bank, run.parent / "banks", args.rebuild)
    run.mkdir(parents=True, exist_ok=True)
    bank.report(run / "left_out.csv")
    bank.fitting(settings.schedule.patch)
    print(f"{len(bank.tiles)} tiles of {len(bank.types)} tissue types in {bank.path}", end="")
    print(f"; {len(bank.left_out)} left out, see {run / 'left_out.csv'}" if bank.left_out else "")
    return bank


def record(args, settings, run, bank, images):
    """Writes what runs: `config.json`, and `run.json` with the data and the library versions."""
    config.save(settings, run / "config.json")
    about = {
        "command": "python -m train.universal " + shlex.join(sys.argv[1:]),
        "tiles": args.tiles or tiles.EMBEDDED,
        "tile_names": [tile.name for tile in bank.tiles],
        "bank": str(bank.path),
        "labelled": [image.name for image in images],
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__},
    }
    files.write_text(run / "run.json", json.dumps(about, indent=2) + "\n")


def train(settings, run, source, clock):
    """Trains phase by phase from the last checkpoint on.

    Args:
        settings: `Config`.
        run: folder.
        source: `data.pipeline.Source`.
        clock: `Clock` that was started with the command.

    Returns:
        The `UniversalTrainer`.

    Raises:
        train.callbacks.Diverged: if a loss is not finite.
        data.workers.WorkerDied: if a process that synthesises is killed.
    """
    keras.utils.set_random_seed(settings.schedule.seed)
    schedule = phases.phases(settings.schedule)
    trainer = UniversalTrainer(settings, phases.task_updates(schedule), phases.adversarial(schedule))
    done, progress = tf.Variable(0, dtype=tf.int64), tf.Variable(0, dtype=tf.int64)
    state = tf.train.Checkpoint(trainer=trainer, done=done, progress=progress, clock=clock)
    manager = tf.train.CheckpointManager(state, str(run / "checkpoints"), max_to_keep=2)
    if manager.latest_checkpoint:
        state.restore(manager.latest_checkpoint).assert_existing_objects_matched()
        print(f"going on from {manager.latest_checkpoint}")
    for number in range(int(done), len(schedule)):
        if int(progress) < schedule[number].rounds:
            train_phase(settings, run, source, trainer, schedule, number, (manager, progress, clock))
        done.assign(number + 1)
        progress.assign(0)
        save(manager, clock)
        sheet.contact_sheet(trainer, source.bank, settings, run / f"{number + 1}_{schedule[number].name}.png")
    return trainer


def train_phase(settings, run, source, trainer, schedule, number, saving):
    """The rest of one phase."""
    phase, (manager, progress, clock) = schedule[number], saving
    first, batch = int(progress), settings.schedule.batch
    start = phases.patches_before(schedule[:number], batch) + first * sum(phase.updates) * batch
    data = source.rounds(sum(phase.updates), start)
    print(f"phase {number + 1} of {len(schedule)}: {phase.name}, {phase.rounds} rounds of {phase.updates}")
    trainer.compile(updates=phase.updates, fill=phase.fill)
    callbacks = [
        Finite(phase.name, first),
        Checkpoint(manager, progress, clock, CHECKPOINT_MINUTES),
        keras.callbacks.TensorBoard(run / "logs" / f"{number + 1}_{phase.name}", write_graph=False, update_freq=20),
    ]
    try:
        trainer.fit(data, steps_per_epoch=phase.rounds - first, shuffle=False, callbacks=callbacks)
    except tf.errors.OpError as error:
        raise source.error or error from None


def finish(settings, run, bank, trainer, models, minutes):
    """Keeps the networks, exports the SavedModel, scores it on unseen synthetic patches and says what is next."""
    for name in ("refiner", "discriminator", "task"):
        epochs.keep(getattr(trainer, name), run / f"{name}.keras")
    served = export.export(trainer.task, models / run.name, [run / "config.json", run / "run.json"])
    scores = synthetic_scores(trainer, bank, settings)
    text = "\n".join(
        [
            f"score on {SCORED} unseen synthetic patches (says nothing about real tissue): "
            + ", ".join(f"{name} {value:.3f}" for name, value in scores.items()),
            f"model:          {served}",
            f"contact sheets: {run}/*.png",
            f"next:           python -m hou_synth.segment --model {served} --out segmented IMAGE...",
            "",
        ]
    )
    files.write_text(run / "next.txt", text)
    files.write_text(run / "scores.json", json.dumps({**scores, "minutes": minutes}, indent=2) + "\n")
    print(text, end="")


def synthetic_scores(trainer, bank, settings):
    """Mean measures of the task network on refined patches that training never saw."""
    examples, rows = sheet.unseen(bank, settings, SCORED), []
    for start in range(0, SCORED, settings.schedule.batch):
        batch = examples[start : start + settings.schedule.batch]
        image, reference = (np.stack([getattr(e, name) for e in batch]) for name in ("image", "reference"))
        maps = trainer.probabilities(trainer.patch(image, reference))
        both = zip(maps["segmentation"].numpy()[..., 0], maps["detection"].numpy()[..., 0], batch, strict=True)
        for segmentation, detection, example in both:
            found = instances.nuclei(segmentation, detection, settings.instances)
            rows.append(metrics.scores(found, example.labels.astype(np.int32)))
    return {name: float(np.mean([row[name] for row in rows])) for name in ("dice1", "dice", "aji", "pq")}


if __name__ == "__main__":
    sys.exit(main())
