"""Command-line options derived from the configuration: one option a field."""

import argparse
import dataclasses
import inspect
import re

from hou_synth import config


def add_configuration(parser, groups=config.GROUPS):
    """Adds `--preset` and one option for every field of the configuration's groups to an argparse parser."""
    parser.add_argument("--preset", help=f"one of {', '.join(config.PRESETS)}")
    for name in groups:
        default = getattr(config.Config, name)
        group = parser.add_argument_group(name, inspect.getdoc(default).splitlines()[0])
        known = meanings(type(default))
        for field in dataclasses.fields(default):
            value = getattr(default, field.name)
            bare = {"nargs": "?", "const": True} if isinstance(value, bool) else {}
            group.add_argument(
                "--" + field.name.replace("_", "-"),
                type=_parser(value),
                default=argparse.SUPPRESS,
                metavar=type(value).__name__.upper(),
                help=f"{known.get(field.name, field.name)} [{value}]".replace("%", "%%"),
                **bare,
            )


def configuration(arguments, default):
    """The configuration that parsed arguments ask for.

    Args:
        arguments: `argparse.Namespace`.
        default: preset that stands when none is named.

    Returns:
        A `Config`.

    Raises:
        ValueError: for an unknown preset or a value out of its range.
    """
    names = {f.name for group in config.GROUPS for f in dataclasses.fields(getattr(config.Config, group))}
    changes = {key: value for key, value in vars(arguments).items() if key in names}
    return config.preset(arguments.preset or default, **changes)


def given(arguments):
    """The options of the configuration that a command line names, as words for another command's line.

    Args:
        arguments: `argparse.Namespace`.

    Returns:
        List of str.
    """
    names = ["preset"] + [f.name for group in config.GROUPS for f in dataclasses.fields(getattr(config.Config, group))]
    named = {name: getattr(arguments, name, None) for name in names}
    return [word for name, value in named.items() if value is not None for word in _words(name, value)]


def _words(name, value):
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return ["--" + name.replace("_", "-"), text]


def meanings(group):
    """Field -> the comment behind it in the source, which says what it is and where it comes from."""
    return dict(re.findall(r"^    (\w+): .*?  # (.*)$", inspect.getsource(group), re.MULTILINE))


def _parser(value):
    """Function from text to a value of the type of `value`."""
    if isinstance(value, bool):
        return _truth
    if isinstance(value, tuple):
        return _integers
    return type(value)


def _truth(text):
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, received {text!r}")
    return text.lower() == "true"


def _integers(text):
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected integers such as 16,32,64, received {text!r}") from None
