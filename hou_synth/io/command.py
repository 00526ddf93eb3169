"""What every command line of the package does with its name, its output and a user's mistake."""

import functools
import os
import re
import sys

from hou_synth.io import quiet

MISTAKE = 2  # exit code of a mistake, as argparse's own
INTERRUPTED = 130  # 128 + SIGINT, the shells' convention
GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"  # TensorFlow's: take a GPU's memory as it is needed, not all of it at once
PROGRAM, MODULE = "hou-synth", "python -m hou_synth"  # of which each command is a part


def program(module):
    """How a command was called, for its usage: `hou-synth segment`, or `python -m hou_synth.segment`.

    Args:
        module: the command's own, which is named unless it was called as a part of `hou-synth`.
    """
    return sys.argv[0] if sys.argv[0].startswith((f"{PROGRAM} ", f"{MODULE} ")) else f"python -m {module}"


def verbosity():
    """Keras's `verbose`: 1, a bar, on a terminal; 2, a line an epoch without control codes, in a file or a pipe."""
    return 1 if sys.stdout.isatty() else 2


def complain(error):
    """Prints an error as one line `error: ...` on stderr, its control characters escaped, without a number of errno.

    Args:
        error: an exception or a text, also of a server's or a file's making.
    """
    text = " ".join(re.sub(r"^\[Errno \d+\] ", "", str(error)).split()) or type(error).__name__
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    print(f"error: {plain}", file=sys.stderr)


def run(function, argv=None):
    """Runs the body of a command, and returns its exit code.

    TensorFlow, if the body imports it, logs nothing, and leaves what it does not need of a GPU's memory to others;
    unless the user's environment says otherwise.

    Args:
        function: takes `argv` and returns an exit code, or None for 0.
        argv: list of arguments, or None for the command line's own.

    Returns:
        The function's exit code; 2 after a `ValueError` or `OSError`, which becomes one line on stderr; 130
        after Ctrl-C. Other exceptions are mistakes of ours and pass through.
    """
    quiet.tensorflow()
    os.environ.setdefault(GROWTH, "true")
    try:
        if "" in (sys.argv[1:] if argv is None else argv):  # a script's variable that is not set; pathlib's "."
            raise ValueError("Expected arguments that are not empty. Received: an empty name.")
        return function(argv) or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, OSError) as error:
        complain(error)
        return MISTAKE


def command(function):
    """Decorator that makes `main(argv=None)`, which returns an exit code, out of a command's body."""

    @functools.wraps(function)
    def main(argv=None):
        return run(function, argv)

    return main
