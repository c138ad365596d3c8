"""The `bnnkit` command: the list of commands, the global flags, and the boundary where errors become exit codes.

A command is one module in `bnnkit_cli.commands` and one name in `COMMANDS`; where the name is a keyword of Python,
module and function end with "_". Command modules import torch, and every bnnkit module that does, inside their
functions, so that `--help` stays fast.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import keyword
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from bnnkit.allocation import kept_memory
from bnnkit.atomic import DISK_FULL, NOT_WRITABLE
from bnnkit.errors import BnnkitError, InterruptedRunError, UsageError
from bnnkit_cli import output

COMMANDS = (
    "train", "eval", "calibrate", "decompose", "inject", "sweep", "report", "pack", "export", "import",
    "bench", "data", "models", "recipes", "doctor",
)  # fmt: skip
ALIASES = {"inject-faults": "inject"}
"""Second names of commands, which the help does not list."""

GLOBAL_FLAGS = ("--version", "--quiet", "-q", "--verbose", "-v", "-vv")
EPILOG = "--quiet, -v, -vv and --version may also be given here."
EXIT_ENVIRONMENT = 3
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

# Typer carries click's exceptions either from click itself or from a private copy, depending on its release; this
# is the usage error of whichever it is.
ParseError: type[Exception] = typer.BadParameter.__mro__[1]


class CommandGroup(TyperGroup):
    """A group of commands that answers an unknown name with the one that was probably meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that `args` begins with, or raise `UsageError` with the nearest name."""
        name = args[0]
        if not name.startswith("-") and name not in self.commands:
            near = difflib.get_close_matches(name, self.commands, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"commands: {', '.join(self.list_commands(ctx))}"
            raise UsageError(f"{ctx.command_path}: unknown command '{name}'", hint=hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with the first paragraph of their help, wrapped instead of cut."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_paragraph(self.commands[name])) for name in self.list_commands(ctx)])


class RootGroup(CommandGroup):
    """All commands, in the order of `COMMANDS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)


def _first_paragraph(command: Any) -> str:
    return " ".join(inspect.cleandoc(command.help or "").split("\n\n")[0].split())


def build_app() -> typer.Typer:
    """Return the typer application with every command in it."""
    app = typer.Typer(
        name="bnnkit", cls=RootGroup, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    app.callback()(_global_flags)
    for name in COMMANDS:
        python_name = f"{name}_" if keyword.iskeyword(name) else name
        module = importlib.import_module(f"bnnkit_cli.commands.{python_name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, cls=CommandGroup, no_args_is_help=False, epilog=EPILOG)
        else:
            settings = getattr(module, "CONTEXT_SETTINGS", None)
            app.command(name, epilog=EPILOG, context_settings=settings)(getattr(module, python_name))
    for alias, name in ALIASES.items():
        app.command(alias, hidden=True, epilog=EPILOG)(
            getattr(importlib.import_module(f"bnnkit_cli.commands.{name}"), name)
        )
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        import bnnkit

        output.result_text(f"bnnkit {bnnkit.__version__}")
        raise typer.Exit


def _global_flags(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            show_default=False,
            help="Say more; -vv also shows the tracebacks of expected errors.",
        ),
    ] = 0,
) -> None:
    """Binary and low-bit neural networks for compute-in-memory chips, trained and evaluated through their ADCs."""
    output.configure(quiet=quiet, verbosity=verbose)


def global_flags_first(argv: Sequence[str]) -> list[str]:
    """Move the global flags to the front, where typer looks for them; everything after `--` stays.

    >>> global_flags_first(["train", "res20", "-v", "--", "-v"])
    ['-v', 'train', 'res20', '--', '-v']
    """
    end = argv.index("--") if "--" in argv else len(argv)
    ours = [word for word in argv[:end] if word in GLOBAL_FLAGS]
    return ours + [word for word in argv[:end] if word not in GLOBAL_FLAGS] + list(argv[end:])


def main(argv: Sequence[str]) -> int:
    """Run one command line and return its exit code; only bugs get out as exceptions."""
    output.configure()
    command: Any = None
    try:
        command = typer.main.get_command(build_app())
        code = _invoke(command, global_flags_first(argv) or ["--help"])
        sys.stdout.flush()
        return code
    except InterruptedRunError as stop:
        output.error(stop.message, hint=stop.hint, mark="interrupted", cause=stop)
        return stop.exit_code
    except BnnkitError as failure:
        output.error(failure.message, hint=failure.hint, cause=failure)
        return failure.exit_code
    except ParseError as failure:
        return _report_parse_error(failure, next((word for word in argv if word in command.commands), None), argv)
    except (KeyboardInterrupt, typer.Abort):
        output.error("stopped by Ctrl-C", mark="interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return EXIT_BROKEN_PIPE
    except OSError as failure:
        if failure.errno not in (*DISK_FULL, *NOT_WRITABLE):
            raise
        if failure.filename is None:
            _discard_output()
        return _report_storage_error(failure)


def _discard_output() -> None:
    """Lead what stdout did not take elsewhere: at exit the interpreter would try once more, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _invoke(command: Any, arguments: list[str]) -> int:
    try:
        with command.make_context("bnnkit", arguments) as context, kept_memory():
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    return 0


_NO_VALUE = re.compile(
    r"Invalid value for '(?P<option>--[\w-]+)': .*"
    r"(?:(?:greater than or equal to |>=)(?P<low>\d+)|\b(?P<kind>number|float|integer)\b)"
)
"""What typer's parser says of a number, in its several releases."""


def _report_parse_error(failure: Any, command: str | None, argv: Sequence[str]) -> int:
    # An option that lacks its value is reported without its context.
    path = failure.ctx.command_path if failure.ctx is not None else f"bnnkit {command}"
    hint = f"{path} --help"
    option = getattr(failure, "option_name", None)
    possible = getattr(failure, "possibilities", None)
    message = failure.format_message().rstrip(".")
    if possible is not None or message.startswith("No such option"):
        message = f"unknown option '{option}'"
        near = difflib.get_close_matches(option, possible or (), n=1, cutoff=0.0)
        hint = f"did you mean '{near[0]}'?" if near else hint
    elif (wrong := _NO_VALUE.match(message)) is not None:
        kind = {"integer": "a whole number", None: f"at least {wrong['low']}"}.get(wrong["kind"], "a number")
        message = f"{_as_typed(wrong['option'], argv)}: {kind} was needed"
    elif command == "inject" and "unexpected extra argument" in message:
        hint = "the network is given by --model, what is faulty by --bit or --fault"
    elif message.startswith("Missing command"):
        message = "a command is missing"
        hint = f"commands: {', '.join(failure.ctx.command.commands)}"
    output.error(f"{path}: {message[:1].lower()}{message[1:]}", hint=hint, cause=failure)
    return int(failure.exit_code)


def _as_typed(option: str, argv: Sequence[str]) -> str:
    """Return an option with its value; without it where the option was typed otherwise, as in --grid.

    >>> _as_typed("--lr", ["train", "--lr", "abc"]), _as_typed("--lr", ["train", "--lr=x"]), _as_typed("--lr", [])
    ('--lr abc', '--lr x', '--lr')
    """
    for word, following in zip(argv, [*argv, ""][1:], strict=True):
        if word == option:
            return f"{option} {following}"
        if word.startswith(f"{option}="):
            return word.replace("=", " ", 1)
    return option


def _report_storage_error(failure: OSError) -> int:
    where = failure.filename or "the output"
    if failure.errno in DISK_FULL:
        output.error(f"{where}: the disk is full; the file was not written", hint="free some space (df -h shows it)")
    else:
        output.error(f"{where}: {failure.strerror}; it must be accessible", hint=f"ls -ld {where}")
    return EXIT_ENVIRONMENT


def _open_standard_streams() -> None:
    """Give output that was closed (`>&-`) somewhere to go; else the next file opened would receive it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest number that is free: those below are open by now.
            assert os.open(os.devnull, os.O_RDWR) == number
            setattr(sys, name, open(number, "r+" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def run() -> NoReturn:
    """Entry point of the `bnnkit` script."""
    _open_standard_streams()
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
