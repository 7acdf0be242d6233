"""The commands: each is loaded, with all that it needs, when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cyrsync import __version__
from cyrsync.cli.exit_codes import epilogue

#: The module of each command NAME, in which it is NAME_command; in the order of `--help`.
_MODULES = {
    "sync": "sync",
    "run": "run",
    "config": "config",
    "list": "list",
    "inspect": "inspect",
    "verify": "verify",
    "check": "check",
    "promote": "promote",
    "history": "history",
    "restore": "restore",
    "prune": "prune",
    "hold": "prune",
    "forget": "prune",
    "status": "status",
    "rsync": "app",
}
NAMES = tuple(_MODULES)


@cache
def load(name: str) -> Any:
    """Return a command as it is declared. Raise KeyError for what is none."""
    module = importlib.import_module(f"cyrsync.cli.{_MODULES[name]}")
    declared = typer.Typer(add_completion=False)
    added = declared.command(name, epilog=epilogue(name), add_help_option=name != "rsync")
    added(getattr(module, f"{name}_command"))
    return typer.main.get_command(declared)


class _Commands(Mapping[str, Any]):
    """The commands by name."""

    def __getitem__(self, name: str) -> Any:
        return load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


class _Program(TyperGroup):
    """cyrsync itself: a group of commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": _Commands()})


app = typer.Typer(
    cls=_Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keep a replica of a Cyrus IMAP spool: find what changed at almost no cost, and send only that.",
    epilog=epilogue(),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from cyrsync.rsync.features import version  # what no command needs here is not loaded by all

        print(f"cyrsync {__version__} (rsync {version()})")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the versions and exit."),
    ] = False,
) -> None:
    pass
