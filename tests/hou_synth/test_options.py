import argparse
import dataclasses

import pytest

from hou_synth import config, options

NAMES = [f.name for group in config.GROUPS for f in dataclasses.fields(getattr(config.Config, group))]


def parsed(*argv):
    parser = argparse.ArgumentParser()
    options.add_configuration(parser, "paper")
    return options.configuration(parser.parse_args(argv), "paper")


def test_without_options_the_default_preset_stands():
    assert parsed() == config.preset("paper")
    assert parsed("--preset", "release") == config.preset("release")


def test_every_field_can_be_overridden():
    for group in config.GROUPS:
        for field in dataclasses.fields(getattr(config.Config, group)):
            value = getattr(getattr(config.Config, group), field.name)
            text = "true" if value is False else "1,2" if isinstance(value, tuple) else "77"
            text = "false" if value is True else text
            if field.name in config.CHOICES:
                text = next(str(choice) for choice in config.CHOICES[field.name] if choice != value)
            changed = getattr(parsed("--" + field.name.replace("_", "-"), text), group)
            assert getattr(changed, field.name) != value, field.name


def test_a_number_out_of_few_is_told():
    with pytest.raises(ValueError, match=r"^Expected heads out of \d, \d\. Received: 77\.$"):
        parsed("--heads", "77")


def printed(capsys, option):
    with pytest.raises(SystemExit) as stopped:
        parsed(option)
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_help_all_tells_meaning_source_and_default_by_group(capsys):
    text = " ".join(printed(capsys, "--help-all").split())
    assert "of the hard examples; paper [1e-07]" in text
    assert "losses: Weights of the losses (paper Eq. 6 and Sec. 4.2)" in text
    assert all(f" --{name.replace('_', '-')} " in text for name in NAMES)


def test_help_names_help_all_instead_of_the_numbers(capsys):
    text = printed(capsys, "--help")
    assert not any(f"--{name.replace('_', '-')} " in text for name in NAMES)
    assert "losses" not in text and len(text.splitlines()) < 15
    assert "--help-all" in text.splitlines()[-1]


def test_every_field_has_a_meaning():
    for group in config.GROUPS:
        for field in dataclasses.fields(getattr(config.Config, group)):
            assert len(field.metadata["meaning"]) > 3, field.name


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "", "1,5"])
def test_every_float_refuses_what_is_no_finite_number(text, capsys):
    for group in config.GROUPS:
        for field in dataclasses.fields(getattr(config.Config, group)):
            if isinstance(field.default, float):
                option = "--" + field.name.replace("_", "-")
                with pytest.raises(SystemExit) as stopped:
                    parsed(f"{option}={text}")
                said = capsys.readouterr().err.splitlines()[-1]
                assert stopped.value.code == 2 and f"{option}: expected a finite number, received {text!r}" in said


@pytest.mark.parametrize("argv", [("--gama", "1"), ("--batch", "many"), ("--unet-widths", "a,b"), ("--decay", "maybe")])
def test_wrong_options_exit_with_two(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        parsed(*argv)
    assert stopped.value.code == 2 and argv[0] in capsys.readouterr().err


def test_unknown_preset_is_named():
    with pytest.raises(ValueError, match="papr"):
        parsed("--preset", "papr")


def test_unknown_choice_is_named():
    with pytest.raises(ValueError, match="realism.*'wasserstein'"):
        parsed("--realism", "wasserstein")


def test_given_options_are_words_for_another_command():
    parser = argparse.ArgumentParser()
    options.add_configuration(parser, "paper")
    argv = ["--preset", "quick", "--unet-widths", "4,8", "--decay", "false", "--gamma", "0.5"]
    words = options.given(parser.parse_args(argv))
    assert options.configuration(parser.parse_args(words), "cpu") == options.configuration(
        parser.parse_args(argv), "cpu"
    )
    assert len(words) == len(argv) and options.given(parser.parse_args([])) == []
