"""The command `chatapp`: `chatapp run` serves; all of Flask's commands and our own (cli.py) are there too."""

from __future__ import annotations

import os
import sys

import click
from flask import Flask
from flask.cli import FlaskGroup

from chatapp import create_app
from chatapp.kernel import config


def _app() -> Flask:
    os.umask(0o077)
    try:
        return create_app()
    except config.ConfigurationError as error:
        sys.exit(f"The product cannot start:\n{error}")


@click.group(cls=FlaskGroup, create_app=_app, load_dotenv=False)
def main() -> None:
    """Serve the chat and look after it. Settings come from the environment and a `.env` file in this folder."""


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Serve the chat with gunicorn, which takes the arguments. HOST and PORT say where."""
    server = [sys.executable, "-m", "gunicorn", "-c", str(config.FILES / "gunicorn.conf.py")]
    os.execv(sys.executable, [*server, *arguments])  # noqa: S606


if __name__ == "__main__":
    main()
