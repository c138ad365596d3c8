"""Write docs/cli.md from the program itself: `make docs`; tests/cli/test_main.py checks that it is up to date."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from bnnkit_cli.main import build_app

PAGE = Path(__file__).with_name("cli.md")

HEADING = """# Commands

Written from the program by `make docs`; do not edit. `bnnkit COMMAND --help` prints the same.

Exit codes: 0 done; 1 finished, but a demanded property does not hold; 2 usage; 3 the environment lacks something (a
dataset, a GPU, the compiled extension, disk space); 4 an artefact does not fit (damaged file, checkpoint of another
model, changed options); 130 interrupted, state saved.
"""


def cli_page() -> str:
    """Return the text of docs/cli.md."""
    return "\n".join([HEADING, *_sections("bnnkit", typer.main.get_command(build_app()))])


def _sections(path: str, command: Any) -> Iterator[str]:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    subcommands = getattr(command, "commands", {})
    usage = [path, *(_argument(a) for a in arguments), *(["COMMAND"] if subcommands else [])]
    yield f"## `{' '.join(usage)}`\n"
    yield f"{inspect.cleandoc(command.help or '')}\n"
    if arguments:
        yield _table(("argument", "meaning", "default"), [(_argument(a), a.help, _default(a)) for a in arguments])
    if options:
        yield _table(("option", "meaning", "default"), [(_option(o), o.help, _default(o)) for o in options])
    for name in command.list_commands(None) if subcommands else ():
        yield from _sections(f"{path} {name}", subcommands[name])


def _table(columns: tuple[str, ...], rows: list[tuple[str, str | None, str]]) -> str:
    lines = [columns, ("---",) * len(columns), *((f"`{name}`", _prose(help), default) for name, help, default in rows)]
    return (
        "\n".join(
            "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        + "\n"
    )


def _prose(help: str | None) -> str:
    # Markdown would take <class> for a tag and leave it out.
    return (help or "").replace("<", "\\<")


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    name += "..." if parameter.nargs != 1 else ""
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    names = ", ".join((*parameter.opts, *parameter.secondary_opts))
    flag = getattr(parameter, "is_flag", False) or getattr(parameter, "count", False)
    return names if flag else f"{names} {parameter.metavar or parameter.name.upper()}"


def _default(parameter: Any) -> str:
    value = getattr(parameter.default, "value", parameter.default)
    if parameter.required:
        return "required"
    if not parameter.show_default:
        return ""
    if value is None or value is False or value == () or value == [] or callable(value):
        return ""
    if value is True:
        return "on"
    return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(cli_page(), encoding="utf-8")
