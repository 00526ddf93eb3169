import argparse
import dataclasses

import pytest

from hou_synth import config, options


def parsed(*argv):
    parser = argparse.ArgumentParser()
    options.add_configuration(parser)
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
            text = config.CHOICES[field.name][1] if isinstance(value, str) else text
            changed = getattr(parsed("--" + field.name.replace("_", "-"), text), group)
            assert getattr(changed, field.name) != value, field.name


def test_help_tells_meaning_source_and_default(capsys):
    with pytest.raises(SystemExit):
        parsed("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "of the hard examples; paper [1e-07]" in text


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
    options.add_configuration(parser)
    argv = ["--preset", "quick", "--unet-widths", "4,8", "--decay", "false", "--gamma", "0.5"]
    words = options.given(parser.parse_args(argv))
    assert options.configuration(parser.parse_args(words), "cpu") == options.configuration(
        parser.parse_args(argv), "cpu"
    )
    assert len(words) == len(argv) and options.given(parser.parse_args([])) == []
