"""What a person typed after `bnnkit sweep`, sorted into the words of the command that every cell runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bnnkit.errors import UsageError

OWN = {
    "--json": "bnnkit sweep --help",
    "--dry-run": "bnnkit sweep --help",
    "--resume": "the same sweep again goes on where it stopped",
    "--seeds": "bnnkit sweep --seeds 1,2,3",
    "--runs-dir": "bnnkit sweep --runs-dir DIR",
    "--min-acc": "bnnkit sweep --expect FILE",
    "--sites": "bnnkit inject --sites",
    "--logits": "bnnkit eval --logits FILE.npy, for one network",
    "--picture": "a sweep draws a picture of its own",
    "--save-sites": "bnnkit inject --save-sites FILE, for one network",
    "--help": "bnnkit sweep --help",
}
"""Options of a command that are not for cells: the sweep has its own, or all cells would write one file. Hints."""
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
        known = names_of([command])
        return [word for option in self.options if option[0] in known for word in option if word is not None]


def flags_of(commands: Sequence[Any]) -> dict[str, bool]:
    """Return for every option that commands of typer have whether it is a flag; the first that has it decides."""
    return {
        name: bool(getattr(parameter, "is_flag", False))
        for command in reversed(commands)
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
        if name.startswith("-")
    }


def names_of(commands: Sequence[Any]) -> set[str]:
    """Return the options that commands of typer have, as typed."""
    return set(flags_of(commands))


def sort_words(words: Sequence[str], commands: Sequence[Any]) -> Words:
    """Sort what was typed by the options that the commands have.

    Args:
        commands: of typer, whose options are looked up in their order.

    Raises:
        UsageError: an option without its value, one that is not for cells, or several networks.
    """
    flags = flags_of(commands)
    network: list[str] = []
    options: list[tuple[str, str | None]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
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


def check_names(names: Iterable[str], commands: Sequence[Any], sweep: Any, what: str) -> None:
    """Check that the commands of cells have the options given for them.

    Args:
        sweep: the command itself, whose options may have been meant.
        what: the commands, for the message.

    Raises:
        UsageError: an option that none of them has, or one that is not for cells.
    """
    known = names_of(commands)
    for name in names:
        if name in OWN:
            raise UsageError(f"sweep: {name} is not for cells", hint=OWN[name])
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known - set(OWN) | names_of([sweep])), n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"bnnkit {what} --help"
            raise UsageError(f"sweep: neither sweep nor {what} has an option '{name}'", hint=hint)


def check_words(root: Any, words: Sequence[str]) -> None:
    """Let the command that a cell runs read its words, so that a wrong value is found before anything runs.

    Args:
        root: context of the program.

    Raises:
        the errors of the command line, which name the command.
    """
    command = root.command.commands[words[0]]
    command.make_context(words[0], list(words[1:]), parent=root)
