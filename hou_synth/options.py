"""Command-line options derived from the configuration: one option a field."""

import argparse
import dataclasses
import inspect
import math

from hou_synth import config


def add_configuration(parser, default, groups=config.GROUPS):
    """Adds `--preset`, one option for every field of the configuration's groups, and `--help-all`, to a parser.

    The hundred numbers of the method are listed by `--help-all` alone, grouped as in `config`.

    Args:
        parser: `argparse.ArgumentParser`.
        default: text that says which preset stands when none is named.
        groups: names out of `config.GROUPS`.
    """
    parser.add_argument("--preset", help=f"one of {', '.join(config.PRESETS)} [{default}]")
    told = []  # (group or option, attribute, text) of what `--help` hides
    for name in groups:
        numbers = getattr(config.Config, name)
        group = parser.add_argument_group(name, argparse.SUPPRESS)
        told.append((group, "description", inspect.getdoc(numbers).splitlines()[0]))
        for field in dataclasses.fields(numbers):
            value = getattr(numbers, field.name)
            bare = {"nargs": "?", "const": True} if isinstance(value, bool) else {}
            option = group.add_argument(
                "--" + field.name.replace("_", "-"),
                type=_parser(value),
                default=argparse.SUPPRESS,
                metavar=type(value).__name__.upper(),
                help=argparse.SUPPRESS,
                **bare,
            )
            told.append((option, "help", f"{field.metadata['meaning']} [{value}]".replace("%", "%%")))
    parser.add_argument(
        "--help-all", action=_Everything, told=told, help="show the numbers of the method too, and exit"
    )
    parser.epilog = "The numbers of the method are options too: --help-all lists them."


class _Everything(argparse.Action):
    """Prints the help with what `--help` hides."""

    def __init__(self, option_strings, dest, told, help):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)
        self.told = told

    def __call__(self, parser, namespace, values, option_string=None):
        for described, attribute, text in self.told:
            setattr(described, attribute, text)
        parser.epilog = (
            "In brackets stand the numbers of preset paper; ours: neither the paper's nor its authors' program's."
        )
        parser.print_help()
        parser.exit()


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


def _parser(value):
    """Function from text to a value of the type of `value`."""
    if isinstance(value, bool):
        return _truth
    if isinstance(value, tuple):
        return _integers
    return finite if isinstance(value, float) else type(value)


def finite(text):
    """A number out of an option's text; argparse refuses what is none, and NaN and infinity."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a finite number, received {text!r}")
    return value


def _truth(text):
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, received {text!r}")
    return text.lower() == "true"


def _integers(text):
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected integers such as 16,32,64, received {text!r}") from None
