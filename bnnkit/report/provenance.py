"""Where a result comes from: what stamp.json says, and every option."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from bnnkit.report.contents import Contents
from bnnkit.report.markup import Markup, element, folded, join, terms
from bnnkit.train.loop import duration

_KNOWN = {
    *("bnnkit", "commit", "argv", "started", "wall_seconds", "peak_memory_bytes", "seed", "seeds", "dataset"),
    *("checkpoint", "checkpoints", "python", "torch", "platform", "cpu", "cpu_count", "gpu", "threads", "variants"),
}
"""Entries of stamp.json that have a line of their own."""


def section(found: Contents) -> Markup:
    """Return the provenance of a run, and its options folded."""
    stamp = found.stamp
    if stamp:
        content = terms([("run", element("code", found.run.name)), *_lines(stamp)], "facts")
    else:
        content = element("p", "stamp.json was not written: the run was stopped before it began.", class_="note")
    options = folded("Options (config.toml)", element("pre", found.config_text, tabindex="0"))
    return join([element("h3", "Provenance"), content, options])


def _lines(stamp: Mapping[str, Any]) -> list[tuple[object, object]]:
    argv = stamp.get("argv")
    commit = stamp.get("commit")
    version = None if "bnnkit" not in stamp else f"bnnkit {stamp['bnnkit']}"
    lines: list[tuple[object, object]] = [
        ("command", element("code", shlex.join(map(str, argv)) if isinstance(argv, list) else argv)),
        ("version", join([version, element("code", commit) if commit else "not known"], ", commit ")),
        ("started", stamp.get("started")),
        ("wall time", _seconds(stamp.get("wall_seconds"))),
        ("peak memory", _bytes(stamp.get("peak_memory_bytes"))),
        ("seeds" if _several(stamp.get("seeds")) else "seed", _seeds(stamp)),
        ("dataset", _dataset(stamp.get("dataset"))),
        ("checkpoints", _checkpoints(stamp)),
        ("torch, Python", ", ".join(str(stamp[key]) for key in ("torch", "python") if key in stamp) or None),
        ("machine", _machine(stamp)),
        ("kernel variants", _list(stamp.get("variants"))),
    ]
    others = [(name.replace("_", " "), value) for name, value in stamp.items() if name not in _KNOWN]
    return lines + [(name, _plain(value)) for name, value in others if value not in (None, [], {})]


def _seeds(stamp: Mapping[str, Any]) -> str | None:
    seed, seeds = stamp.get("seed"), stamp.get("seeds")
    if not _several(seeds):
        return None if seed is None else str(seed)
    return f"{seed} of {_list(seeds)}"


def _several(seeds: object) -> bool:
    return isinstance(seeds, list) and len(seeds) > 1


def _dataset(data: object) -> Markup | None:
    if not isinstance(data, Mapping):
        return None if data is None else element("span", _plain(data))
    counts = [f"{data[part]:,} {part} images" for part in ("train", "test") if isinstance(data.get(part), int)]
    print_ = element("code", data["fingerprint"]) if data.get("fingerprint") else None
    parts = [", ".join([str(data.get("name", "?")), *counts]), print_, data.get("note") or None]
    return join([element("div", part) for part in parts if part is not None])


def _checkpoints(stamp: Mapping[str, Any]) -> Markup | None:
    several = stamp.get("checkpoints")
    files = dict(several) if isinstance(several, Mapping) else {}
    one = stamp.get("checkpoint")
    if isinstance(one, Mapping):
        files[str(one.get("path", "?"))] = one.get("sha256")
    lines = [
        element("div", element("code", name), element("br"), "sha256 ", element("code", digest))
        for name, digest in files.items()
    ]
    return join(lines) if lines else None


def _machine(stamp: Mapping[str, Any]) -> str | None:
    cores, threads = stamp.get("cpu_count"), stamp.get("threads")
    parts = [
        stamp.get("cpu"),
        None if cores is None else f"{cores} core{'' if cores == 1 else 's'}",
        None if threads is None else f"{threads} thread{'' if threads == 1 else 's'} used",
        stamp.get("gpu"),
        stamp.get("platform"),
    ]
    return ", ".join(str(part) for part in parts if part) or None


def _seconds(value: object) -> str | None:
    return duration(value) if isinstance(value, int | float) else None


def _bytes(value: object) -> str | None:
    return f"{value / 2**20:,.0f} MiB" if isinstance(value, int | float) else None


def _list(value: object) -> str | None:
    return ", ".join(map(str, value)) if isinstance(value, list) else None


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
