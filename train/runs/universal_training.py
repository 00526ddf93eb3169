"""The training loop of the whole method: phase by phase, checkpointed, watched, and finished with a served model."""

import contextlib
import hashlib

import numpy as np
import tensorflow as tf

from data import tiles
from data.sets.stored import Stored
from hou_synth import metrics
from hou_synth.io import command
from train.judging import comparison, criterion, scores, unseen
from train.loop import devices, phases
from train.loop.trainer import UniversalTrainer
from train.pictures import contact_sheet
from train.runs import epochs, kept_state, record, self_training, universal_run
from train.runs.callbacks import Checkpoint, Curves, Finite, spared
from train.runs.history import Rounds
from train.runs.universal_run import Progress, Run
from train.serving import saved_model

CHECKPOINT_MINUTES = 3.0
SCORED = 32  # unseen synthetic patches behind the closing score


def prepared(tissue, settings, path, folder, rebuild=False):
    """The tile bank of a run, built or reused.

    Args:
        tissue: `data.tile_options.TileFolder`.
        settings: `Config`.
        path: of the bank; None for one in `banks/` beside the run.
        folder: of the run.
        rebuild: whether a bank of other settings is replaced.

    Returns:
        `data.tiles.Bank`.

    Raises:
        ValueError: if there is no tile that a patch fits.
    """
    bank = tiles.prepare(tissue, settings.synthesis, path, folder.parent / "banks", rebuild)
    bank.fitting(settings.schedule.patch)
    return bank


def stored(path, settings, bank):
    """Initial patches on disk that a run learns from.

    Args:
        path: file of `data.synthesize`; None for fresh patches.
        settings: `Config`.
        bank: `data.tiles.Bank`.

    Returns:
        `data.sets.stored.Stored`; None for fresh patches.

    Raises:
        ValueError: if the run cannot learn from them.
    """
    if path is None:
        return None
    return Stored(path, bank, settings, paired=phases.weighs(phases.phases(settings.schedule)))


def begin(folder, settings, bank, tissue, images=(), **further):
    """Writes what runs, and the tiles that were left out; or finds that the run there learns from the same.

    Args:
        folder: of the run.
        settings: `Config`.
        bank: `data.tiles.Bank`.
        tissue: `data.tile_options.TileFolder`.
        images: list of `data.labelled.reader.Labelled` that join the task batches.
        **further: what else `run.json` says of what the run learns from.

    Raises:
        ValueError: if the run there has learned from other tiles, other labelled images or something else.
    """
    data = {
        "tile_names": [tile.name for tile in bank.tiles],
        record.DIGEST: digest(bank),
        "labelled": [image.name for image in images],
        **further,
    }
    known = {"tile_table": tissue.table, "tile_resolution": tissue.microns_per_pixel}
    known = {key: value for key, value in known.items() if value}
    record.begin(folder, settings, data, tiles=tissue.path or tiles.EMBEDDED, bank=str(bank.path), **known)
    bank.report(folder / "left_out.csv")
    print(f"{len(bank.tiles)} tiles of {len(bank.types)} tissue types in {bank.path}", end="")
    print(f"; {len(bank.left_out)} left out, see {folder / 'left_out.csv'}" if bank.left_out else "")


def digest(bank):
    """SHA-256 of the names and pixels of a bank's tiles, as hexadecimal digits."""
    total = hashlib.sha256()
    for tile in bank.tiles:
        total.update(f"{tile.name} {tile.image.shape}".encode())
        total.update(tile.image)
        bank.free_pages(len(tile.image))
    return total.hexdigest()


def train(folder, settings, source, clock, strategy=None, start=None):
    """Trains phase by phase from the last checkpoint on.

    A run that begins with a trained network ends with the first round of self-training after which it is not better.

    Args:
        folder: of the run.
        settings: `Config`.
        source: `data.pipeline.Source`.
        clock: `Clock` that was started with the command.
        strategy: `tf.distribute.Strategy`; None for the default device.
        start: trained task network to begin with; None for a new one.

    Returns:
        The `Run`.

    Raises:
        train.runs.checkpoints.Diverged: if a loss or a weight is not finite.
        data.workers.WorkerDied: if a process that synthesises is killed.
        OSError: if the state at the end of the run cannot be written.
    """
    devices.seed(settings.schedule)
    schedule = phases.phases(settings.schedule)
    about = phases.task_updates(schedule), phases.adversarial(schedule)
    run = Run(folder, source.bank, UniversalTrainer(settings, *about, strategy))
    progress = Progress(folder, run.trainer, clock)
    progress.checkpoints.restore()
    if start is not None and not (int(progress.done) or int(progress.rounds)):
        run.trainer.task.set_weights(start.get_weights())
        kept_state.consider(run, kept_state.START)
    while (number := int(progress.done)) < len(schedule):
        if int(progress.rounds) < schedule[number].rounds:
            train_phase(run, source, schedule, number, progress)
        end_phase(run, schedule, number, progress, last=start is not None)
    if phase := kept_state.best(run.trainer, folder):
        print(f"kept: the task network {kept_state.place(phase)}")
    return run


def train_phase(run, source, schedule, number, progress):
    """The rest of one phase.

    Args:
        run: `Run`.
        source: `data.pipeline.Source`.
        schedule: list of `Phase`.
        number: of the phase in it, from 0.
        progress: `Progress`.
    """
    phase, first, batch = schedule[number], int(progress.rounds), run.settings.schedule.batch
    start = phases.patches_before(schedule[:number], batch) + first * sum(phase.updates) * batch
    data = source.rounds(sum(phase.updates), start, self_training.labelled(run, phase) if phase.taught else [])
    updates = ", ".join(f"{count} {network}" for network, count in phase.updates._asdict().items() if count)
    print(f"phase {number + 1} of {len(schedule)}: {phase.name}, {phase.rounds} rounds; updates a round: {updates}")
    run.trainer.compile(updates=phase.updates, fill=phase.fill)
    callbacks = [
        Finite(phase.name, first),
        Rounds(run.folder / "history" / f"{number + 1}_{phase.name}.csv", first),
        Checkpoint(progress.checkpoints, progress.rounds, progress.clock, CHECKPOINT_MINUTES),
        Curves(run.folder / "logs" / f"{number + 1}_{phase.name}", first),
    ]
    try:
        steps, shown = phase.rounds - first, command.verbosity()
        run.trainer.fit(data, steps_per_epoch=steps, shuffle=False, callbacks=callbacks, verbose=shown)
    except tf.errors.OpError as error:
        raise source.error or error from None


def end_phase(run, schedule, number, progress, last):
    """Judges, saves and draws the state after a phase.

    Args:
        run: `Run`.
        schedule: list of `Phase`.
        number: of the phase in it, from 0.
        progress: `Progress`.
        last: whether it was the last phase if this state is not kept.
    """
    phase = schedule[number]
    with spared():
        if phase.updates.task:
            kept_state.consider(run, phase.name)
    last = last and kept_state.kept(kept_state.scores(run.folder)) != phase.name
    progress.done.assign(len(schedule) if last else number + 1)
    progress.rounds.assign(0)
    with contextlib.nullcontext() if int(progress.done) == len(schedule) else spared():
        progress.save()
    with spared():
        contact_sheet.contact_sheet(run, run.folder / f"{number + 1}_{phase.name}.png")
        contrast(run, phase.name)


def contrast(run, phase):
    """Keeps and tells the contrast of haematoxylin across nuclear borders: where it falls, the truth is lost.

    Args:
        run: `Run`.
        phase: name of the last phase.
    """
    if not run.trainer.refined:
        return
    values = comparison.contrast(run.trainer, unseen.examples(run.bank, run.settings, SCORED))
    record.write(run.folder / record.CONTRAST, {**record.contrasts(run.folder), phase: values})
    told = ", ".join(f"{name} {value:.4f}" for name, value in values.items())
    print(f"after phase {phase}: haematoxylin across nuclear borders of {SCORED} unseen patches: {told}")


def keep_networks(run):
    """Keeps a run's networks in its folder, and what its importance weights depend on; returns them by name."""
    networks = run.trainer.plain()
    for name, network in networks.items():
        epochs.keep(network, run.folder / f"{name}.keras")
    universal_run.remember(run.trainer, run.folder)
    return networks


def finish(run, models, minutes):
    """Keeps the networks, exports the SavedModel, scores it on unseen synthetic patches and says what is next.

    Args:
        run: `Run`.
        models: folder of served models.
        minutes: that the run took.
    """
    networks = keep_networks(run)
    result = {**synthetic_scores(run), **kept_state.outcome(kept_state.scores(run.folder)), "minutes": minutes}
    refinement = universal_run.refinement(run.trainer, networks)
    served = saved_model.write(run.folder, models / run.folder.name, networks["task"], refinement, result=result)
    told = [
        f"score on {SCORED} unseen synthetic patches (says nothing about real tissue): {scores.text(result)}",
        f"{record.MODEL}          {served}",
        f"contact sheets: {run.folder}/*.png",
        f"next:           python -m hou_synth.segment --model {served} --out segmented IMAGE...",
    ]
    record.end(run.folder, result, told)


def synthetic_scores(run):
    """Mean measures of the task network on refined patches that training never saw."""
    examples = unseen.examples(run.bank, run.settings, SCORED)
    nuclei = criterion.nuclei(unseen.maps(run.trainer, examples), run.settings.instances)
    truths = (example.labels.astype(np.int32) for example in examples)
    return scores.mean([metrics.scores(*pair) for pair in zip(nuclei, truths, strict=True)])
