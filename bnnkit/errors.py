"""What can go wrong, and what a person can do about it.

Every error a user can cause is a `BnnkitError`: a message that says *where: what is wrong; what was needed*,
an optional hint that names one action, and the exit code the command line ends with. Anything else that is
raised is a bug and keeps its traceback.
"""

from __future__ import annotations


class BnnkitError(Exception):
    """Base of all expected errors; `hint` is one action, `exit_code` what the CLI returns."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class GateError(BnnkitError):
    """The work finished, but a demanded property does not hold (`--min-acc`, a mismatch)."""

    exit_code = 1


class UsageError(BnnkitError):
    """An argument is wrong: unknown name, impossible value, contradicting options."""

    exit_code = 2


class MissingError(BnnkitError):
    """The environment lacks something: a dataset, a GPU, the compiled extension, disk space."""

    exit_code = 3


class MismatchError(BnnkitError):
    """An artefact does not fit: corrupt or truncated file, checkpoint of another model, changed options."""

    exit_code = 4


class InterruptedRunError(BnnkitError):
    """Stopped by Ctrl-C or SIGTERM after the state was saved."""

    exit_code = 130
