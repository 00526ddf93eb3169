"""What the networks and the schedule of a configuration can take."""

from models import task
from models.classifier import SMALLEST
from models.discriminator import smallest_patch
from train.loop import phases

LARGEST_PATCH = 512


def check(settings, choices=tuple(task.SEGMENTERS)):
    """Refuses a configuration that cannot be trained, before anything is made.

    Args:
        settings: `Config`.
        choices: names of the task networks that can be.

    Raises:
        ValueError: for sizes that the networks cannot take.
    """
    networks, schedule = settings.networks, settings.schedule
    if networks.network not in choices:
        raise ValueError(f"Expected --network out of {', '.join(choices)} here. Received: {networks.network}.")
    side, least, levels = schedule.patch, smallest_patch(networks), len(networks.unet_widths)
    least = max(least, SMALLEST) if networks.network in task.CLASSIFIERS else least
    if not least <= side <= LARGEST_PATCH:
        raise ValueError(
            f"Expected a patch of {least} to {LARGEST_PATCH} pixels, which the networks can take. Received: {side}."
        )
    if 2 * settings.losses.border >= side:
        raise ValueError(
            f"Expected a border under half of the patch's {side} pixels. Received: {settings.losses.border}."
        )
    if not 2 <= schedule.batch <= schedule.pool:
        raise ValueError(f"Expected a batch of 2 to {schedule.pool}, the pool. Received: {schedule.batch}.")
    if (len(networks.unet_down), len(networks.unet_up)) != (levels, levels - 1):
        raise ValueError(
            f"Expected unet_down for {levels} levels and unet_up for {levels - 1}, as unet_widths has {levels}. "
            f"Received: {networks.unet_down} and {networks.unet_up}."
        )


def check_beginning(schedule, trained):
    """Refuses phases that do not suit what a run begins with.

    Args:
        schedule: `Schedule`.
        trained: whether it begins with a trained network, which rounds of self-training alone adapt.

    Raises:
        ValueError: for other phases of a trained network, or self-training of a new one.
    """
    run = phases.phases(schedule)
    names = ", ".join(phase.name for phase in run) or "none"
    if trained and not (run and all(phase.taught for phase in run)):
        raise ValueError(f"Expected rounds of self-training alone, as preset adapt has them. Received phases: {names}.")
    if not trained and run and run[0].taught:
        raise ValueError(
            "Expected phases before self-training, which needs a network that knows nuclei; train.adapt begins with "
            f"one. Received phases: {names}."
        )
