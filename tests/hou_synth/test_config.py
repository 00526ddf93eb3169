import dataclasses
import json

import pytest

from hou_synth import config


def test_saved_configuration_is_read_back_equal(tmp_path):
    written = config.preset("release", gamma=1e-3, unet_widths=(4, 8))
    config.save(written, tmp_path / "config.json")
    assert config.load(tmp_path / "config.json") == written


def test_paper_preset_holds_the_paper_numbers():
    paper = config.preset("paper")
    assert (paper.losses.alpha, paper.losses.beta, paper.losses.gamma) == (1.0, 1.0, 1e-7)
    assert (paper.losses.l1, paper.losses.l2) == (1e-5, 1e-4)
    assert paper.schedule.patch == 75 and paper.networks.refiner_blocks == 7
    assert paper.synthesis.distractors == 0


def test_release_preset_holds_the_release_numbers():
    release = config.preset("release")
    assert (release.losses.l1, release.losses.l2) == (1e-3, 1e-2)
    assert (release.losses.weight_low, release.losses.weight_high) == (0.2, 2.0)
    assert release.schedule.patch == 400 and release.networks.refiner_blocks == 5
    assert (release.synthesis.distractors, release.synthesis.between) == (99, 4)


@pytest.mark.parametrize("arguments", [("papr", {}), ("paper", {"gama": 1})])
def test_unknown_preset_or_field_is_named(arguments):
    name, changes = arguments
    with pytest.raises(ValueError, match="papr|gama"):
        config.preset(name, **changes)


def test_differences_name_the_field():
    one, other = config.preset("paper"), config.preset("paper", batch=3)
    assert config.differences(one, one) == []
    assert config.differences(one, other) == ["batch: 10 != 3"]


def test_field_names_are_unique_over_all_groups():
    names = [f.name for group in config.GROUPS for f in dataclasses.fields(getattr(config.Config, group))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("text", ["{", "{}", '{"version": 1, "synthesis": {"no_such": 1}}', "[]"])
def test_a_file_that_is_no_configuration_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
        config.load(tmp_path / "config.json")


def test_thresholds_survive_other_versions_of_the_rest():
    own = config.preset("cpu", area_min=33).instances
    text = json.dumps({"synthesis": {"gone": 1.0}, "instances": dataclasses.asdict(own)})
    assert config.thresholds(text, "config.json") == own
    for broken in ("{", "[]", '{"synthesis": {}}', '{"instances": {"gone": 1}}'):
        with pytest.raises(ValueError, match=r"Received: config\.json"):
            config.thresholds(broken, "config.json")
