"""The error boundary: exit codes, texts, and what the start of the program loads."""

from __future__ import annotations

import errno
import os
import resource
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

import bnnkit
from bnnkit import errors
from bnnkit_cli import main as cli
from bnnkit_cli import output

HEAVY = ("torch", "numpy", "matplotlib", "PIL")


@pytest.fixture(autouse=True)
def _default_settings() -> Iterator[None]:
    yield
    output.configure()


def bnnkit_process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bnnkit_cli.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,  # type: ignore[call-overload]
    )


def command_that(monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Put an application in place whose only command, `act`, runs `action`."""

    def act(count: int = 1, name: str = "") -> None:
        """Act."""
        action()

    def app() -> typer.Typer:
        app = typer.Typer(name="bnnkit", cls=cli.CommandGroup, add_completion=False, rich_markup_mode=None)
        app.callback()(cli._global_flags)
        app.command("act")(act)
        return app

    monkeypatch.setattr(cli, "build_app", app)


def raising(failure: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise failure

    return action


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (errors.GateError("accuracy 97.1 is below 97.5"), 1),
        (errors.UsageError("a"), 2),
        (errors.MissingError("a"), 3),
        (errors.MismatchError("a"), 4),
        (errors.InterruptedRunError("a"), 130),
        (KeyboardInterrupt(), 130),
        (typer.Exit(7), 7),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 3),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), 3),
    ],
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failure: BaseException, code: int
) -> None:
    command_that(monkeypatch, raising(failure))
    assert cli.main(["act"]) == code
    streams = capsys.readouterr()
    assert streams.out == ""
    assert "Traceback" not in streams.err


def test_an_expected_error_prints_its_message_and_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that(monkeypatch, raising(errors.MissingError("mnist: not prepared", hint="bnnkit data prepare mnist")))
    assert cli.main(["act"]) == 3
    assert capsys.readouterr().err == "error: mnist: not prepared\nhint: bnnkit data prepare mnist\n"


@pytest.mark.parametrize("argv", [["-vv", "act"], ["act", "-vv"], ["act", "-v", "-v"]])
def test_vv_shows_the_traceback_of_an_expected_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    command_that(monkeypatch, raising(errors.MismatchError("wrong bits")))
    assert cli.main(argv) == 4
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback")
    assert printed.endswith("error: wrong bits\n")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(monkeypatch, raising(ZeroDivisionError("bug")))
    with pytest.raises(ZeroDivisionError):
        cli.main(["act"])


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command_that(monkeypatch, raising(OSError(errno.ENOSPC, "No space left on device", "runs/last.safetensors")))
    assert cli.main(["act"]) == 3
    assert capsys.readouterr().err == (
        "error: runs/last.safetensors: the disk is full; the file was not written\n"
        "hint: free some space (df -h shows it)\n"
    )


def test_other_system_errors_are_bugs(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(monkeypatch, raising(OSError(errno.EBADF, "Bad file descriptor")))
    with pytest.raises(OSError, match="Bad file"):
        cli.main(["act"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["atc"], "error: bnnkit: unknown command 'atc'\nhint: did you mean 'act'?\n"),
        (["zzz"], "error: bnnkit: unknown command 'zzz'\nhint: commands: act\n"),
        (["act", "--cuont", "2"], "error: bnnkit act: unknown option '--cuont'\nhint: did you mean '--count'?\n"),
        (["act", "--zz"], "error: bnnkit act: unknown option '--zz'\nhint: bnnkit act --help\n"),
        (["act", "-x"], "error: bnnkit act: unknown option '-x'\nhint: bnnkit act --help\n"),
        (["-v"], "error: bnnkit: a command is missing\nhint: commands: act\n"),
    ],
)
def test_usage_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str], message: str
) -> None:
    command_that(monkeypatch, lambda: None)
    assert cli.main(argv) == 2
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("argv", [["act", "--count", "two"], ["act", "surplus"], ["act", "--count"]])
def test_other_usage_errors_name_the_command_and_its_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    command_that(monkeypatch, lambda: None)
    assert cli.main(argv) == 2
    message, hint = capsys.readouterr().err.splitlines()
    assert message.startswith("error: bnnkit act: ")
    assert hint == "hint: bnnkit act --help"


@pytest.mark.parametrize("argv", [["-q", "act"], ["act", "--quiet"], ["act", "-q", "--count", "3"]])
def test_global_flags_are_taken_before_and_after_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    command_that(monkeypatch, lambda: output.log("said"))
    assert cli.main(argv) == 0
    assert capsys.readouterr().err == ""
    assert cli.main([word for word in argv if word not in ("-q", "--quiet")]) == 0
    assert capsys.readouterr().err == "said\n"


@pytest.mark.parametrize("argv", [["--version"], ["doctor", "--version"]])
def test_version(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    assert cli.main(argv) == 0
    assert capsys.readouterr().out == f"bnnkit {bnnkit.__version__}\n"


def test_no_arguments_print_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {name} " in printed for name in cli.COMMANDS)


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.COMMANDS:
        assert cli.main([name, "--help"]) == 0
        assert f"Usage: bnnkit {name}" in capsys.readouterr().out


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from bnnkit_cli.main import main; code = main(sys.argv[1:]);"
        f"print('loaded:', *[name for name in {HEAVY} if name in sys.modules]); sys.exit(code)"
    )
    for arguments in (["--help"], ["train", "--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "loaded:"


def test_the_page_of_commands_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    writer = runpy.run_path(str(page.with_name("write_cli.py")))
    assert page.read_text(encoding="utf-8") == writer["cli_page"](), "docs/cli.md is out of date: run `make docs`"


def test_help_is_fast() -> None:
    def processor_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert bnnkit_process("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Processor time, the best of several: what a person waits for on a machine that has nothing else to do.
    assert min(processor_seconds() for _ in range(5)) < 0.3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_stdout_is_an_environment_error(unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bnnkit_cli.main", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 3
    assert "the disk is full" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_ends_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bnnkit_cli.main", "--help"],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.returncode == cli.EXIT_BROKEN_PIPE
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["train", "mlp", "--lr", "abc"], "bnnkit train: --lr abc: a number was needed", "bnnkit train --help"),
        (["train", "mlp", "--epochs=1.5"], "bnnkit train: --epochs 1.5: a whole number was needed", "bnnkit train"),
        (["inject", "--limit", "0"], "bnnkit inject: --limit 0: at least 1 was needed", "bnnkit inject --help"),
        (["inject", "mlp"], "bnnkit inject: got unexpected extra argument", "the network is given by --model"),
    ],
)
def test_wrong_values_are_said_in_the_same_words(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str, hint: str
) -> None:
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert f"error: {message}" in said
    assert f"hint: {hint}" in said


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_closed_standard_streams_are_no_error(closed: list[int], tmp_path: Path) -> None:
    def close() -> None:
        for number in closed:
            os.close(number)

    found = bnnkit_process("models", "list", preexec_fn=close, cwd=tmp_path)
    assert found.returncode == 0
    assert ("res20" in found.stdout) == (1 not in closed)
    assert found.stderr == ""
