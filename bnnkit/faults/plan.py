"""From the options of a campaign to the rows of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnnkit.cim import Fault, parse_fault
from bnnkit.errors import UsageError
from bnnkit.faults import recorded
from bnnkit.faults.campaign import Repeats
from bnnkit.faults.network import IN_MEMORY, Network
from bnnkit.faults.rates import parse_rates
from bnnkit.faults.recorded import RecordedSites
from bnnkit.faults.repairs import TOP
from bnnkit.faults.repeats import CHECKPOINTS
from bnnkit.faults.settings import Setting, matching, of_faults, of_images

DEFAULTS: dict[str, Any] = {
    "model": None,
    "dataset": None,
    "fault": [],
    "bit": [],
    "kind": "random",
    "repair": [],
    "rate": None,
    "layers": None,
    "per_layer": False,
    "per_bit": False,
    "replay": None,
    "repeats": None,
    "ci": 0.25,
    "drop": 1.0,
    "seed": 0,
    "adc_bit": None,
    "limit": None,
    "batch": 256,
    "backend": "auto",
}
"""Options of a campaign, by the names of `bnnkit.faults.record.COMMENTS`."""

MAPS_OF_IMAGES, MAPS = 3, CHECKPOINTS[0]
"""Fault maps, where nothing else is asked for."""


def check(options: Mapping[str, Any]) -> None:
    """Refuse what no network could be asked for.

    Raises:
        UsageError: nothing is faulty, options that exclude each other, or one that cannot be read.
    """
    asked = [name for name in ("bit", "fault", "replay") if options[name]]
    if not asked:
        raise UsageError(
            "inject: nothing is faulty; --bit, --fault or --replay was needed",
            hint="bnnkit inject --bit 6 --repair msb",
        )
    if len(asked) > 1:
        raise UsageError(
            f"--{asked[0]} and --{asked[1]}: exclude each other",
            hint="--fault input:random@1,bit=6 combines a bit of the pixels with other faults",
        )
    excluded = {"bit": ("layers", "per_layer", "per_bit"), "fault": ("repair",)}
    excluded["replay"] = ("repair", "rate", "layers", "per_layer", "per_bit")
    for name in excluded[asked[0]]:
        if options[name]:
            raise UsageError(f"--{name.replace('_', '-')}: means nothing with --{asked[0]}", hint="leave it out")
    repeats_of(options)
    if not options["drop"] > 0 or not options["ci"] > 0:
        raise UsageError("--drop, --ci: points above 0 were needed", hint="--drop 1 --ci 0.25")
    for fault in options["fault"]:
        parse_fault(fault)
    if options["bit"]:
        of_images(_bits(options), options["kind"], _rates(options) or [1.0], options["repair"])


def repeats_of(options: Mapping[str, Any]) -> Repeats:
    """Return how many maps there are.

    Raises:
        UsageError: neither a number nor "auto".
    """
    text = options["repeats"]
    if text is None:
        return Repeats(MAPS_OF_IMAGES if options["bit"] else MAPS)
    if text == "auto":
        return Repeats(ci=options["ci"])
    if not str(text).isdecimal() or int(text) < 1:
        raise UsageError(f"--repeats '{text}': auto, or a number of maps from 1 on was needed", hint="--repeats auto")
    return Repeats(int(text))


def settings_of(options: Mapping[str, Any], network: Network) -> list[Setting]:
    """Return the rows, for a network that has all these sites.

    Raises:
        UsageError: it does not, or no layer matches.
    """
    rates = _rates(options)
    if options["bit"]:
        return of_images(_bits(options), options["kind"], rates or [1.0], options["repair"])
    faults = [parse_fault(text) for text in options["fault"]]
    in_layers = [fault for fault in faults if fault.site != "input"]
    if not in_layers and (options["layers"] or options["per_layer"]):
        raise UsageError("--layers, --per-layer: images have no layers", hint="leave it out")
    layers = matching(network.layers, options["layers"]) if in_layers and network.layers else ()
    bits = min(network.bits(fault) for fault in faults) if options["per_bit"] else 0
    found = of_faults(faults, layers, rates, per_layer=options["per_layer"], bits=bits)
    network.check(found)
    return found


def replayed(options: Mapping[str, Any], network: Network) -> tuple[list[Setting], RecordedSites, Repeats]:
    """Return the only row of recorded sites, the sites, and as many maps as there are, or fewer where fewer are asked.

    Raises:
        MissingError: there is no such file.
        MismatchError: it is none with fault sites, or of another architecture.
        UsageError: more maps than it has.
    """
    sites = recorded.load(Path(options["replay"]))
    sites.check(network.memories)
    maps = len(sites.maps) if options["repeats"] is None else repeats_of(options).fixed
    if maps is None or maps > len(sites.maps):
        raise UsageError(
            f"--repeats {options['repeats']}: {options['replay']} holds {len(sites.maps)} maps", hint="leave it out"
        )
    setting = Setting(f"{sites.faults}, as recorded in {options['replay']}", "faulty", (), layers=tuple(sites.sizes))
    return [setting], sites, Repeats(maps)


def record_sites(settings: Sequence[Setting], network: Network, seed: int, maps: Sequence[int]) -> RecordedSites:
    """Return the sites of a campaign's only row.

    Raises:
        UsageError: several rows, or faults outside of the network's memory.
    """
    faults: tuple[Fault, ...] = settings[0].faults
    if len(settings) > 1 or any(fault.site not in IN_MEMORY for fault in faults):
        raise UsageError(
            f"--save-sites: holds the sites of one row, with faults of {', '.join(IN_MEMORY)}", hint="leave it out"
        )
    found = {number: network.faulty(settings[0], (seed, number)).sites for number in maps}
    sizes = {name: network.memories[name].size for name in settings[0].layers}
    return RecordedSites(settings[0].table, sizes, found)


def _rates(options: Mapping[str, Any]) -> list[float]:
    return [] if options["rate"] is None else parse_rates(str(options["rate"]))


def _bits(options: Mapping[str, Any]) -> list[int]:
    for text in map(str, options["bit"]):
        if not (text.isdecimal() and int(text) <= TOP):
            raise UsageError(f"--bit '{text}': a bit of a byte, 0 to {TOP}, was needed", hint="--bit 6")
    return list(dict.fromkeys(int(text) for text in options["bit"]))
