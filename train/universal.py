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
from hou_synth import config, metrics, options
from hou_synth.io import command, files
from train.judging import comparison, criterion, scores, unseen
from train.loop import devices, limits, phases
from train.loop.trainer import UniversalTrainer
from train.pictures import contact_sheet
from train.runs import epochs, kept_state, labelled_run, self_training, universal_run
from train.runs.callbacks import Checkpoint, Clock, Curves, Finite, save, spared
from train.runs.checkpoints import Checkpoints
from train.runs.history import Rounds
from train.serving import saved_model

CHECKPOINT_MINUTES = 3.0
SCORED = 32  # unseen synthetic patches behind the closing score


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m train.universal", description="Train a nucleus segmenter on unlabelled H&E tiles."
    )
    parser.add_argument("--tiles", help="folder of tiles at 40X (default: the embedded tissue)")
    labelled_run.add_data(parser, "--labelled")
    parser.add_argument("--out", help="run folder (default: runs/<preset>)")
    parser.add_argument("--bank", help="tile bank (default: banks/ beside the run folder)")
    parser.add_argument("--rebuild", action="store_true", help="replace a --bank that has other settings")
    parser.add_argument("--models", default="saved_models", help="where the SavedModel goes [saved_models]")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, if there is one")
    cores = os.cpu_count() or 1
    parser.add_argument(
        "--workers", type=int, default=cores // 4, help=f"processes that synthesise; 0: threads [{cores // 4}]"
    )
    parser.add_argument(
        "--strategy", choices=devices.STRATEGIES, default="one", help="one device, all of the machine's, or TF_CONFIG's"
    )
    options.add_configuration(parser)
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Trains, exports, scores; returns the exit code."""
    args = arguments(argv)
    strategy = devices.strategy(args.strategy)  # first of all that TensorFlow does
    clock = Clock()
    settings = options.configuration(args, "thorough" if args.tiles else "quick")
    devices.check(strategy, settings.schedule, bool(args.labelled or settings.schedule.self_rounds))
    with devices.folder(strategy, pathlib.Path(args.out or f"runs/{settings.preset}"), args.resume) as run:
        return whole(args, settings, run, strategy, clock)


def whole(args, settings, run, strategy, clock):
    """The whole method in a folder; returns the exit code."""
    check(settings, run, args.resume)
    if (run / "scores.json").exists():
        print(f"This run is finished.\n{(run / 'next.txt').read_text()}")
        return 0
    images = labelled_run.images(args, args.labelled) if args.labelled else []
    check_images(run, images)
    bank = prepare(args, settings, run)
    record(args, settings, run, bank, images)
    with contextlib.closing(pipeline.Source(bank, settings, args.workers, images)) as source:
        trainer = train(settings, run, source, clock, strategy)
    models = pathlib.Path(args.models) if strategy.extended.should_checkpoint else run.parent / "models"
    finish(settings, run, bank, trainer, models, clock.minutes())
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
        **universal_run.surroundings(),
    }
    files.write_text(run / "run.json", json.dumps(about, indent=2) + "\n")


def train(settings, run, source, clock, strategy=None):
    """Trains phase by phase from the last checkpoint on.

    Args:
        settings: `Config`.
        run: folder.
        source: `data.pipeline.Source`.
        clock: `Clock` that was started with the command.
        strategy: `tf.distribute.Strategy`; None for the default device.

    Returns:
        The `UniversalTrainer`.

    Raises:
        train.runs.checkpoints.Diverged: if a loss or a weight is not finite.
        data.workers.WorkerDied: if a process that synthesises is killed.
        OSError: if the state at the end of the run cannot be written.
    """
    keras.utils.set_random_seed(settings.schedule.seed)
    schedule = phases.phases(settings.schedule)
    about = phases.task_updates(schedule), phases.adversarial(schedule)
    trainer = UniversalTrainer(settings, *about, strategy)
    done, progress = tf.Variable(0, dtype=tf.int64), tf.Variable(0, dtype=tf.int64)
    checkpoints = Checkpoints(run / "checkpoints", trainer=trainer, done=done, progress=progress, clock=clock)
    checkpoints.restore()
    for number in range(int(done), len(schedule)):
        if int(progress) < schedule[number].rounds:
            train_phase(settings, run, source, trainer, schedule, number, (checkpoints, progress, clock))
        with spared():
            if schedule[number].updates[2]:
                kept_state.consider(trainer, source.bank, settings, run, schedule[number].name)
        done.assign(number + 1)
        progress.assign(0)
        with contextlib.nullcontext() if number + 1 == len(schedule) else spared():
            save(checkpoints, clock)
        with spared():
            contact_sheet.contact_sheet(
                trainer, source.bank, settings, run / f"{number + 1}_{schedule[number].name}.png"
            )
            contrast(trainer, source.bank, settings, run / "contrast.json", schedule[number].name)
    if phase := kept_state.best(trainer, run):
        print(f"kept: the task network after phase {phase}")
    return trainer


def contrast(trainer, bank, settings, path, phase):
    """Keeps and tells the contrast of haematoxylin across nuclear borders: where it falls, the truth is lost."""
    if not trainer.refined:
        return
    found = comparison.contrast(trainer, unseen.examples(bank, settings, SCORED))
    earlier = json.loads(path.read_text()) if path.exists() else {}
    files.write_text(path, json.dumps({**earlier, phase: found}, indent=2) + "\n")
    told = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
    print(f"after phase {phase}: haematoxylin across nuclear borders of {SCORED} unseen patches: {told}")


def train_phase(settings, run, source, trainer, schedule, number, saving):
    """The rest of one phase."""
    phase, (checkpoints, progress, clock) = schedule[number], saving
    first, batch = int(progress), settings.schedule.batch
    start = phases.patches_before(schedule[:number], batch) + first * sum(phase.updates) * batch
    known = (
        self_training.labelled(trainer, source.bank, settings, run / phase.name, phase.taught) if phase.taught else []
    )
    data = source.rounds(sum(phase.updates), start, known)
    print(f"phase {number + 1} of {len(schedule)}: {phase.name}, {phase.rounds} rounds of {phase.updates}")
    trainer.compile(updates=phase.updates, fill=phase.fill)
    callbacks = [
        Finite(phase.name, first),
        Rounds(run / "history" / f"{number + 1}_{phase.name}.csv", first),
        Checkpoint(checkpoints, progress, clock, CHECKPOINT_MINUTES),
        Curves(run / "logs" / f"{number + 1}_{phase.name}", first),
    ]
    try:
        trainer.fit(data, steps_per_epoch=phase.rounds - first, shuffle=False, callbacks=callbacks)
    except tf.errors.OpError as error:
        raise source.error or error from None


def finish(settings, run, bank, trainer, models, minutes):
    """Keeps the networks, exports the SavedModel, scores it on unseen synthetic patches and says what is next."""
    networks = trainer.plain()
    for name, network in networks.items():
        epochs.keep(network, run / f"{name}.keras")
    universal_run.remember(trainer, run)
    result = {**synthetic_scores(trainer, bank, settings), "minutes": minutes}
    refinement = universal_run.refinement(trainer, networks)
    served = saved_model.write(run, models / run.name, networks["task"], refinement, result=result)
    text = "\n".join(
        [
            f"score on {SCORED} unseen synthetic patches (says nothing about real tissue): " + scores.text(result),
            f"model:          {served}",
            f"contact sheets: {run}/*.png",
            f"next:           python -m hou_synth.segment --model {served} --out segmented IMAGE...",
            "",
        ]
    )
    files.write_text(run / "next.txt", text)
    files.write_text(run / "scores.json", json.dumps(result, indent=2) + "\n")
    print(text, end="")


def synthetic_scores(trainer, bank, settings):
    """Mean measures of the task network on refined patches that training never saw."""
    examples = unseen.examples(bank, settings, SCORED)
    nuclei = criterion.nuclei(unseen.maps(trainer, examples, settings.schedule.batch), settings.instances)
    truths = (example.labels.astype(np.int32) for example in examples)
    return scores.mean([metrics.scores(*pair) for pair in zip(nuclei, truths, strict=True)])


if __name__ == "__main__":
    sys.exit(main())
