import dataclasses
import json
import math

import pytest

from hou_synth import config
from tests.paths import ROOT

VERSION_1 = ROOT / "tests" / "hou_synth" / "configurations"  # as the program of that time wrote them


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
    assert release.instances.seed_area_max == 65536
    assert (release.synthesis.distractors, release.synthesis.between) == (99, 4)


def test_scale_multiplies_the_lengths_that_are_not_given():
    scaled = config.preset("paper", scale=0.0804, task_steps=7).schedule
    assert [getattr(scaled, length) for length in config.LENGTHS] == [80, 80, 80, 7, 804, 80, 0]
    assert scaled.scale == 0.0804 and scaled.refiner_updates == 2  # updates in a round, not a length
    least = config.preset("thorough", scale=1e-9).schedule
    assert [getattr(least, length) for length in config.LENGTHS] == [0, 0, 0, 1, 0, 0, 1]
    assert (least.self_rounds, config.preset("thorough", scale=2).schedule.self_steps) == (2, 1000)


def test_scaled_lengths_are_written_and_not_scaled_again(tmp_path):
    scaled = config.preset("quick", scale=0.5)
    config.save(scaled, tmp_path / "config.json")
    written = json.loads((tmp_path / "config.json").read_text())["schedule"]
    assert (written["scale"], written["task_steps"]) == (0.5, 100)
    assert config.load(tmp_path / "config.json") == scaled


@pytest.mark.parametrize("scale", [0, -1.0])
def test_a_scale_is_above_nothing(scale):
    with pytest.raises(ValueError, match=rf"Expected a scale above 0. Received: {scale}."):
        config.preset("paper", scale=scale)


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


@pytest.fixture
def altered(tmp_path):
    """Function that gives the path of a configuration with one field of its instances set to something."""

    def write(field, value):
        config.save(config.preset("cpu"), tmp_path / "config.json")
        record = json.loads((tmp_path / "config.json").read_text())
        record["instances"][field] = value
        (tmp_path / "config.json").write_text(json.dumps(record))
        return tmp_path / "config.json"

    return write


@pytest.mark.parametrize(
    "text", ["", "{", "{}", '{"version": 1, "synthesis": {"no_such": 1}}', "[]", "null", "[" * 9999]
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json"):
        config.load(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("area_min", "20", "valid integer, not '20'"),
        ("area_min", True, "valid integer, not True"),
        ("area_min", 20.5, "valid integer, not 20.5"),
        ("area_min", None, "valid integer, not None"),
        ("transposed", 1, "valid boolean, not 1"),
        ("mean_min", "0.5", "valid number, not '0.5'"),
        ("gone", 1, "nexpected keyword argument, not 1"),
    ],
)
def test_a_field_of_another_type_is_named(altered, field, value, told):
    path = altered(field, value)
    with pytest.raises(ValueError, match=rf"Received: .*config\.json \(instances\.{field}: .*{told}"):
        config.load(path)
    with pytest.raises(ValueError, match=rf"Received: .*config\.json, instances \({field}: .*{told}"):
        config.thresholds(path.read_bytes(), path)


def test_nan_is_no_number(altered):
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match=r"Expected JSON of .* Received: .*config\.json"):
            config.load(altered("mean_min", value))


def test_every_field_of_this_version_has_to_be_there(altered):
    record = json.loads(altered("area_min", 20).read_text())
    del record["instances"]["typical_area"]
    path = altered("area_min", 20)
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"config\.json \(instances\.typical_area: field required"):
        config.load(path)
    with pytest.raises(ValueError, match=r"config\.json, instances \(typical_area: field required"):
        config.thresholds(path.read_bytes(), path)
    del record["instances"]
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"instances: field required"):
        config.load(path)


def test_a_run_of_version_1_is_one_of_its_preset():
    then = {"balance": False, "by_type": False, "colour_max": 110.0, "red_max": 255.0, "covered": 0.0}
    then |= {"tone_low": 0.8, "tone_high": 1.5, "elongation": 0.0, "distractors": 40, "between": 40, "haze": 0.6}
    assert config.load(VERSION_1 / "quick_1.json") == config.preset("quick", **then)


def test_saved_networks_say_all_that_they_are(tmp_path):
    config.save(config.preset("release"), tmp_path / "config.json")
    found = config.load(tmp_path / "config.json").networks
    assert (found.refiner_size, found.grow_wide, found.discriminator) == (5, True, "release")


def test_fields_that_version_1_left_out_mean_what_they_meant_then(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"version": 1, "preset": "paper", **{group: {} for group in config.GROUPS}}))
    assert config.load(path) == config.load(VERSION_1 / "paper_1.json")
    assert config.thresholds(path.read_bytes(), path) == config.load(path).instances


@pytest.mark.parametrize("version", [config.VERSION + 1, 10**30, 0, -1])
def test_configurations_of_other_versions_are_refused(altered, version):
    path = altered("area_min", 20)
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": version, "later": {}}))
    told = rf"Expected .* version 1 to {config.VERSION}, .* Received: .*config\.json of version {version}\."
    for read in (config.load, lambda path: config.thresholds(path.read_bytes(), path)):
        with pytest.raises(ValueError, match=told) as error:
            read(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("version", ["1", True, 1.5, None])
def test_a_version_is_a_whole_number(altered, version):
    path = altered("area_min", 20)
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": version}))
    with pytest.raises(ValueError, match=r"config\.json, version \(.*valid integer"):
        config.load(path)


def test_thresholds_survive_other_versions_of_the_rest():
    own = config.preset("cpu", area_min=33).instances
    text = json.dumps({"version": 1, "synthesis": {"gone": 1.0}, "instances": dataclasses.asdict(own)})
    assert config.thresholds(text, "config.json") == own
    for broken in ("{", "[]", '{"synthesis": {}}', '{"instances": {"gone": 1}}'):
        with pytest.raises(ValueError, match=r"Received: config\.json"):
            config.thresholds(broken, "config.json")


def test_an_older_release_keeps_its_synthesis(tmp_path):
    config.save(config.preset("release"), tmp_path / "config.json")
    record = json.loads((tmp_path / "config.json").read_text())
    later = [
        *("density", "tissue_redraws", "whole_centres", "area_accumulated"),
        *("distractor_low", "distractor_high", "distractor_kept"),
    ]
    for field in later:
        del record["synthesis"][field]
    (tmp_path / "config.json").write_text(json.dumps({**record, "version": 2}))
    assert config.load(tmp_path / "config.json").networks == config.preset("release").networks
    read = config.load(tmp_path / "config.json").synthesis
    assert [getattr(read, field) for field in later] == [0.0, 0, False, False, 1.2, 3.5, 0.0]
