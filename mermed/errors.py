"""The exceptions of MerMED, each with the exit code a command ends with.

MermedError (1)
├── ConfigError (2)       a setting, option or input layout is wrong
├── ContractError (4)     bytes do not follow the shard contract
├── SampleError (3)       one input file or one sample cannot be used
├── IntegrityError (4)    bytes are not the bytes that were written
│   └── ChangedError (4)  the collection is no longer the one the run began with
├── ResumeError (2)       a checkpoint does not fit this run
├── DivergenceError (1)   the loss or a gradient is not finite
└── EnvironmentError_ (5) the machine lacks something: an extra, memory, a device
"""

from collections.abc import Mapping

EXIT_OK = 0
EXIT_TOO_MANY_BAD = 3
EXIT_PREEMPTED = 75
EXIT_INTERRUPTED = 130


class MermedError(Exception):
    """An error in four parts: what happened, where, what was expected against what was found, and the next step.

    `where` maps a noun to its value, such as `{"shard": "us-train-000003.tar", "key": "us_9f21"}`. Neither it nor any
    other part may hold a patient identifier or a secret.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: Mapping[str, object] | None = None,
        expected: object = None,
        found: object = None,
        next_step: str | None = None,
    ) -> None:
        self.what = what
        self.where = dict(where or {})
        self.expected = expected
        self.found = found
        self.next_step = next_step
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append("  where     " + ", ".join(f"{noun} {value}" for noun, value in self.where.items()))
        if self.expected is not None:
            lines.append(f"  expected  {self.expected}")
        if self.found is not None:
            lines.append(f"  found     {self.found}")
        if self.next_step:
            lines.append(f"  next      {self.next_step}")
        return "\n".join(lines)

    def add_place(self, **where: object) -> None:
        """Tell the error, on its way up, where it happened: `error.add_place(shard=..., key=...); raise`."""
        self.where = {**where, **self.where}
        self.args = (self._text(),)

    def reason(self) -> str:
        """The error in one line, for a table cell: the `what` with expected against found."""
        against = f" (expected {self.expected}, found {self.found})" if self.expected is not None else ""
        return self.what + against


class ConfigError(MermedError):
    """A setting, an option or the layout of an input is wrong; nothing was done."""

    exit_code = 2


class ContractError(MermedError):
    """Bytes do not follow the shard contract of `shards/README.md`."""

    exit_code = 4


class SampleError(MermedError):
    """One input file or one sample cannot be used; the others can."""

    exit_code = 3


class IntegrityError(MermedError):
    """Bytes differ from those that were written: cut, changed or stale."""

    exit_code = 4


class ChangedError(IntegrityError):
    """The collection is no longer the one the run began with; unlike a damaged sample, it is never passed over."""


class ResumeError(MermedError):
    """A checkpoint does not fit the run that wants to go on from it."""

    exit_code = 2


class DivergenceError(MermedError):
    """The loss or a gradient stopped being finite; the weights were not updated with it."""

    exit_code = 1


class EnvironmentError_(MermedError):
    """The machine lacks something the command needs."""

    exit_code = 5


def missing_extra(extra: str, needed_for: str) -> EnvironmentError_:
    """The one-line answer to a missing optional dependency: which extra, and how to install it."""
    return EnvironmentError_(
        f"{needed_for} needs the extra '{extra}', which is not installed", next_step=f"pip install 'mermed[{extra}]'"
    )
