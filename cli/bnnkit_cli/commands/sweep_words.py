"""What a person typed after `bnnkit sweep`, sorted into the words of the command that every cell runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bnnkit.errors import UsageError

OWN = ("--json", "--dry-run", "--resume", "--seeds", "--runs-dir", "--help")
"""Options of a cell that are the sweep's to give."""
NETWORK = "--model"


@dataclass(frozen=True)
class Words:
    """Options as typed, and what stands alone: the network.

    Attributes:
        options: name and value of each; None for a flag.
    """

    network: str | None
    options: tuple[tuple[str, str | None], ...]

    def arguments(self) -> list[str]:
        """Return the options as words."""
        return [word for option in self.options for word in option if word is not None]

    def values(self) -> dict[str, str]:
        """Return the options that have a value, by name without dashes."""
        return {name.lstrip("-"): value for name, value in self.options if value is not None}

    def known_to(self, command: Any) -> list[str]:
        """Return, as words, the options that a command has."""
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        return [word for option in self.options if option[0] in known for word in option if word is not None]


def sort_words(words: Sequence[str], commands: Sequence[Any]) -> Words:
    """Sort what was typed by the options that the commands have.

    Args:
        commands: of typer, whose options are looked up in their order.

    Raises:
        UsageError: an option without its value, one that belongs to the sweep, or several networks.
    """
    flags = {
        name: bool(getattr(parameter, "is_flag", False))
        for command in reversed(commands)
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("-")
    }
    network: list[str] = []
    options: list[tuple[str, str | None]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name in OWN:
            raise UsageError(f"sweep: {name} is not for cells", hint="bnnkit sweep --help")
        if not word.startswith("-"):
            network.append(word)
        elif equals:
            options.append((name, value))
        elif flags.get(name, not rest):
            options.append((name, None))
        elif not rest:
            raise UsageError(f"sweep: option '{name}' needs a value", hint=f"{name} VALUE")
        else:
            options.append((name, rest.pop(0)))
    network += [value for name, value in options if name == NETWORK and value is not None]
    if len(network) > 1:
        raise UsageError(
            f"sweep: networks {' and '.join(network)}; one was needed", hint=f"--grid model={','.join(network)}"
        )
    return Words(network[0] if network else None, tuple(option for option in options if option[0] != NETWORK))


def check_words(root: Any, words: Sequence[str]) -> None:
    """Let the command that a cell runs read its words, so that a wrong option is found before anything runs.

    Args:
        root: context of the program.

    Raises:
        the errors of the command line, which name the command.
    """
    command = root.command.commands[words[0]]
    command.make_context(words[0], list(words[1:]), parent=root)
