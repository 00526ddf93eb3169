"""A run of the lymphocyte classifier: phase by phase as `universal_training`, on tiles or on labelled places."""

from models import task
from train.judging import auroc
from train.loop import devices, limits, phases
from train.loop.lymphocyte_trainer import LymphocyteTrainer
from train.pictures import lymphocyte_sheet
from train.runs import record, universal_training
from train.runs.callbacks import spared
from train.runs.universal_run import Progress, Run
from train.serving import lymphocyte_model

SCORED = 512  # unseen patches behind the closing score
UNSEEN = 2**40  # index of the first of them


def check(settings, labelled):
    """Refuses a configuration that cannot be trained, before anything is made.

    Args:
        settings: `Config`.
        labelled: whether the run learns from labelled places.

    Raises:
        ValueError: for a network that is no classifier, patches without lymphocytes, or phases that have no tiles.
    """
    limits.check(settings, tuple(task.CLASSIFIERS))
    run = phases.phases(settings.schedule)
    if not labelled and not settings.synthesis.lymphocytes:
        raise ValueError("Expected --lymphocytes above 0, the share of patches with one. Received: 0.")
    if any(phase.taught for phase in run) or labelled and phases.adversarial(run):
        names = ", ".join(phase.name for phase in run)
        raise ValueError(f"Expected phases that a classifier {'with labels ' * labelled}can have. Received: {names}.")


def train(folder, settings, source, clock, weights=None):
    """Trains phase by phase from the last checkpoint on.

    Args:
        folder: of the run.
        settings: `Config`.
        source: `data.pipeline.Source` or `data.marked.Source`.
        clock: `Clock` that was started with the command.
        weights: file of Keras's weights of VGG16 without top layers to begin with; None for random ones.

    Returns:
        The `Run`.

    Raises:
        ValueError: for weights of something else.
        train.runs.checkpoints.Diverged: if a loss or a weight is not finite.
    """
    devices.seed(settings.schedule)
    schedule = phases.phases(settings.schedule)
    run = Run(folder, source.bank, LymphocyteTrainer(settings, phases.task_updates(schedule)))
    if weights:
        pretrained(run.trainer.task, weights)
    progress = Progress(folder, run.trainer, clock)
    progress.checkpoints.restore()
    while (number := int(progress.done)) < len(schedule):
        if int(progress.rounds) < schedule[number].rounds:
            universal_training.train_phase(run, source, schedule, number, progress)
        progress.done.assign(number + 1)
        progress.rounds.assign(0)
        progress.save()
        with spared():
            lymphocyte_sheet.draw(run.trainer, source, folder / f"{number + 1}_{schedule[number].name}.png", UNSEEN)
    return run


def pretrained(network, path):
    """Gives a VGG16 classifier Keras's weights.

    Raises:
        ValueError: if the network is another, or the file holds other weights.
    """
    if network.name != "vgg16_classifier":
        raise ValueError("Expected --weights with --network vgg16. Received: another network.")
    try:
        network.get_layer("vgg16").load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"Expected weights of VGG16 without top layers. Received: {path} ({error}).") from error


def finish(run, source, models, minutes):
    """Keeps the networks, exports the classifier, scores it on unseen patches and says what is next.

    Args:
        run: `Run`.
        source: that it learned from.
        models: folder of served models.
        minutes: that the run took.
    """
    networks = universal_training.keep_networks(run)
    result = {"minutes": minutes, **({"auroc": unseen_area(run.trainer, source)} if source.bank else {})}
    served = lymphocyte_model.write(run.folder, models / run.folder.name, networks["task"], result)
    told = [
        f"{record.MODEL} {served}",
        f"next:  python -m train.lymphocyte --evaluate DIR --model {served}",
    ]
    if source.bank:
        told.insert(0, f"AUROC on {SCORED} unseen synthetic patches (nothing on real tissue): {result['auroc']:.3f}")
    record.end(run.folder, result, told)


def unseen_area(trainer, source):
    """AUROC on patches that training never saw."""
    scores, positive, counted = lymphocyte_sheet.judged(trainer, source, UNSEEN, SCORED)
    return auroc.area(scores[counted], positive[counted])
