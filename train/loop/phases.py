"""The schedule: which networks are updated how often, phase by phase (release)."""

import dataclasses
from typing import NamedTuple


class Updates(NamedTuple):
    """Network updates in a round."""

    refiner: int
    discriminator: int
    task: int


@dataclasses.dataclass(frozen=True)
class Phase:
    """One phase of training.

    Attributes:
        name: what is trained.
        rounds: training rounds.
        updates: of the networks in a round.
        fill: whether the refiner's output goes into the image history.
        taught: number of the round of self-training, from 1; 0 in the phases before.
    """

    name: str
    rounds: int
    updates: Updates
    fill: bool
    taught: int = 0


def phases(schedule):
    """The phases of a run; those without rounds or without updates are left out.

    The image history fills from the last tenth of the first phase on [release].

    Args:
        schedule: `Schedule`.

    Returns:
        list of `Phase`.
    """
    refiner, discriminator, task = (
        schedule.refiner_updates,
        schedule.discriminator_updates,
        schedule.task_updates,
    )
    history = -(-schedule.refiner_steps // 10)
    candidates = [
        Phase("refiner", schedule.refiner_steps - history, Updates(1, 0, 0), False),
        Phase("history", history, Updates(1, 0, 0), True),
        Phase("discriminator", schedule.discriminator_steps, Updates(0, 1, 0), True),
        Phase("adversarial", schedule.adversarial_rounds, Updates(refiner, discriminator, 0), True),
        Phase("task", schedule.task_steps, Updates(0, 0, 1), True),
        Phase("joint", schedule.joint_rounds, Updates(refiner, discriminator, task), True),
        Phase("final", schedule.final_steps, Updates(0, 0, 1), True),
        *(
            Phase(f"self{number}", schedule.self_steps, Updates(0, 0, 1), True, number)
            for number in range(1, schedule.self_rounds + 1)
        ),
    ]
    return [phase for phase in candidates if phase.rounds > 0 and any(phase.updates)]


def patches_before(phases_before, batch):
    """Number of synthetic patches that some phases consume: where the next one's data begin."""
    return sum(phase.rounds * sum(phase.updates) * batch for phase in phases_before)


def task_updates(run):
    """Number of updates of the task network in a list of phases."""
    return sum(phase.rounds * phase.updates.task for phase in run)


def self_updates(run):
    """Number of those that belong to the rounds of self-training."""
    return task_updates([phase for phase in run if phase.taught])


def refines(run):
    """Whether a list of phases trains a refiner; without one, the task network learns from initial patches."""
    return any(phase.rounds and phase.updates.refiner for phase in run)


def weighs(run):
    """Whether a list of phases trains a discriminator; without one, all patches have the same weight."""
    return any(phase.rounds and phase.updates.discriminator for phase in run)


def adversarial(run):
    """Whether a list of phases trains a refiner or a discriminator."""
    return refines(run) or weighs(run)
