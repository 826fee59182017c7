"""The ``edgeosr`` command: its subcommands, and what the process does when one of them fails.

Exit codes: 0 done; 1 input, data or environment (any ``EdgeosrError``); 2 a wrong option or command;
70 a defect of edgeosr; 130 interrupted, as 128 + any signal that ends it; 141 the reader of a pipe has left.
"""

from collections.abc import Callable
from functools import partial
from inspect import cleandoc
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperGroup

from edgeosr import __version__
from edgeosr.cli.bench import bench
from edgeosr.cli.build import build
from edgeosr.cli.command import Command
from edgeosr.cli.demo import demo
from edgeosr.cli.evaluate import evaluate
from edgeosr.cli.export import export
from edgeosr.cli.inspect import inspect
from edgeosr.cli.predict import predict
from edgeosr.cli.selftest import selftest
from edgeosr.cli.train import train
from edgeosr.cli.verify import verify
from edgeosr.printed import printable
from edgeosr.program.ending import output_failures, tell_interrupted
from edgeosr.program.run import run_program


class Commands(TyperGroup):
    """The subcommands; Ctrl-C in one of them ends with a line instead of silence.

    What the command line's own parser says of an argument is made fit to be printed.
    """

    def make_context(self, *arguments: Any, **named: Any) -> Any:
        """Read the command line; prints the help or the version if it asks for them."""
        try:
            with output_failures():
                return super().make_context(*arguments, **named)
        except KeyboardInterrupt:
            raise typer.Exit(tell_interrupted()) from None

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            with output_failures():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(tell_interrupted()) from None
        except Exception as error:
            # The parser's errors, whose class older versions of typer take from click.
            if isinstance(getattr(error, "message", None), str):
                error.message = printable(error.message)  # type: ignore[attr-defined]  # see above
            raise


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"edgeosr {__version__}")
        raise typer.Exit


def edgeosr(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Image classifiers for edge cameras that can say "I don't know".

    Examples:
        edgeosr train --data photos/     train on a folder of images, one sub-folder a class
        edgeosr export                   calibrate the newest run and write a bundle
        edgeosr predict camera.jpg       ask the newest bundle

    No data at hand? edgeosr demo
    """


def help_from(function: Callable[..., None]) -> str:
    """Return the docstring as help, its examples line by line (a backspace tells typer not to wrap)."""
    return cleandoc(function.__doc__ or "").replace("\n\nExamples:\n", "\n\n\b\nExamples:\n")


def leave_reading_to(function: Callable[..., None]) -> None:
    """Have the parser take a path that may not be read: it does not say what to do, and who reads it does."""
    for hint in get_type_hints(function, include_extras=True).values():
        for option in getattr(hint, "__metadata__", ()):
            if hasattr(option, "readable"):
                option.readable = False


app.callback(help=help_from(edgeosr))(edgeosr)
for command in (train, export, build, evaluate, predict, bench, inspect, verify, selftest, demo):
    leave_reading_to(command)
    app.command(cls=Command, help=help_from(command))(command)


def main() -> None:
    """Run the command line and exit the process."""
    run_program(partial(app, prog_name="edgeosr"))


if __name__ == "__main__":
    main()
