"""A page to look, compare and judge, in a browser: `python -m train.page`."""

import argparse
import pathlib
import sys

from hou_synth.io import command

HOST, PORT = "127.0.0.1", 8600


def arguments(argv):
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=command.program("train.page"),
        description="Serve a page that segments images, shows synthetic patches and asks the readers of studies, to "
        "browsers of this machine.",
    )
    parser.add_argument("--model", nargs="+", default=[], metavar="PATH", help="SavedModels (default: the released)")
    folders = {"--models": ("saved_models", "whose models are offered too"), "--studies": ("studies", "of studies")}
    for option, (default, about) in folders.items():
        path = pathlib.Path(default)
        parser.add_argument(option, type=pathlib.Path, default=path, metavar="DIR", help=f"folder {about} [{default}]")
    parser.add_argument("--port", type=int, default=PORT, help=f"[{PORT}]")
    parser.add_argument("--host", default=HOST, help=f"address to serve at; beyond this machine with --token [{HOST}]")
    parser.add_argument(
        "--token-file", type=pathlib.Path, metavar="FILE", help="a text that browsers must know, as ?token=... once"
    )
    return parser.parse_args(argv)


@command.command
def main(argv=None):
    """Serves the page until Ctrl-C; returns the exit code."""
    args = arguments(argv)

    from aiohttp import web

    from train.web import server

    if not 0 < args.port < 2**16:
        raise ValueError(f"Expected a port from 1 to 65535. Received: {args.port}.")
    settings = server.Settings(server.listed(args.model, args.models), args.studies, token(args))
    app = server.application(settings)
    asked = "/?token=..." if settings.token else ""
    print(f"http://{args.host}:{args.port}{asked} until Ctrl-C", flush=True)
    web.run_app(app, host=args.host, port=args.port, print=None, access_log=None, shutdown_timeout=1.0)
    return 0


def token(args):
    """The text that browsers must know; None for browsers of this machine alone.

    Raises:
        ValueError: if others are to be served without one, or it is too short to be safe.
    """
    from train.web import server

    if args.token_file is None:
        if args.host not in server.LOCAL:
            raise ValueError(f"Expected --token-file for other machines than this. Received: --host {args.host} alone.")
        return None
    text = args.token_file.read_text(encoding="utf-8").strip()
    if len(text) < server.TOKEN_MIN or not (text.isascii() and text.isalnum()):
        raise ValueError(
            f"Expected a token of at least {server.TOKEN_MIN} letters and digits. Received: {args.token_file}."
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
