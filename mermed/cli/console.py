"""The console of a long run: it falls silent when nobody reads it any more, and the run goes on."""

from rich.console import Console


class RunConsole(Console):
    """A rich console that a closed pipe silences; rich itself would end the program."""

    def on_broken_pipe(self) -> None:
        """Called when the reader of a pipe has gone, as after `2>&1 | head`."""
        self.quiet = True
