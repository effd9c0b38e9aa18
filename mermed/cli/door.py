"""Door: the click group every command enters and leaves by, so errors end the same way everywhere."""

import sys
from typing import Any, NoReturn

import click

from mermed.errors import EXIT_INTERRUPTED, MermedError


class Door(click.Group):
    """A click group that turns a MermedError into its text on stderr and its exit code, without a traceback.

    Ctrl-C ends with 130. Any other exception is a defect of ours and keeps its traceback.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command; raises SystemExit with the error's exit code when it fails in a known way."""
        try:
            return super().invoke(ctx)
        except MermedError as error:
            leave(error)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(EXIT_INTERRUPTED)


def leave(error: MermedError) -> NoReturn:
    """Print the four parts of `error`, and its notes, on stderr and exit with its code."""
    title, *rest = [*str(error).splitlines(), *getattr(error, "__notes__", [])]
    click.echo(click.style("error: ", fg="red", bold=True) + title, err=True)
    for line in rest:
        click.echo(line, err=True)
    sys.exit(error.exit_code)
