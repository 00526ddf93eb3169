"""What every command line of the package does with a user's mistake: one line and exit code 2."""

import functools
import sys

MISTAKE = 2  # exit code of a mistake, as argparse's own
INTERRUPTED = 130  # 128 + SIGINT, the shells' convention


def complain(error):
    """Prints an error as one line `error: ...` on stderr.

    Args:
        error: an exception or a text.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"error: {text}", file=sys.stderr)


def run(function, argv=None):
    """Runs the body of a command and returns its exit code.

    Args:
        function: takes `argv` and returns an exit code, or None for 0.
        argv: list of arguments, or None for the command line's own.

    Returns:
        The function's exit code; 2 after a `ValueError` or `OSError`, which becomes one line on stderr; 130
        after Ctrl-C. Other exceptions are mistakes of ours and pass through.
    """
    try:
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
