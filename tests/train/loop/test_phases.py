from hou_synth import config
from train.loop import phases


def test_release_schedule():
    run = phases.phases(config.preset("release").schedule)
    assert [(phase.name, phase.rounds, phase.updates) for phase in run] == [
        ("refiner", 900, (1, 0, 0)),
        ("history", 100, (1, 0, 0)),
        ("discriminator", 1000, (0, 1, 0)),
        ("adversarial", 1000, (2, 1, 0)),
        ("task", 1000, (0, 0, 1)),
        ("joint", 10000, (2, 1, 6)),
        ("final", 1000, (0, 0, 1)),
    ]
    assert [phase.fill for phase in run] == [False] + [True] * 6


def test_phases_without_rounds_are_left_out():
    alone = config.preset("paper", refiner_steps=0, discriminator_steps=0, adversarial_rounds=0, joint_rounds=0)
    run = phases.phases(alone.schedule)
    assert [phase.name for phase in run] == ["task", "final"]
    assert not phases.adversarial(run) and phases.adversarial(phases.phases(config.preset("paper").schedule))


def test_patches_and_task_updates_by_hand():
    run = phases.phases(config.preset("paper").schedule)
    assert phases.task_updates(run) == 1000 + 6 * 10000 + 1000
    assert phases.patches_before(run[:4], 10) == (900 + 100 + 1000 + 3 * 1000) * 10


def test_rounds_of_self_training_come_last():
    run = phases.phases(config.preset("thorough").schedule)
    assert [(phase.name, phase.taught) for phase in run] == [("task", 0), *((f"self{n}", n) for n in (1, 2))]
    steps = config.preset("thorough").schedule.self_steps
    assert phases.self_updates(run) == 2 * steps and phases.task_updates(run) == run[0].rounds + 2 * steps
