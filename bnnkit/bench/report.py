"""What a benchmark hands back: rows of measurements, the limits measured beside them, and the checks before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bnnkit.bench.timing import Samples

OPERATIONS_PER_MAC = 2


@dataclass(frozen=True)
class Work:
    """What one call does: `amount` of "bMAC" (1-bit products), "MAC", "image", "value" or "weight".

    `products` are the 1-bit products in it, where the unit is another.
    """

    amount: float
    unit: str
    products: float = 0

    @property
    def binary_products(self) -> float:
        """1-bit products of one call; 0 where they are not what limits it."""
        return self.amount if self.unit == "bMAC" else self.products

    @property
    def is_products(self) -> bool:
        return self.unit in ("bMAC", "MAC")


@dataclass(frozen=True)
class Check:
    """Whether a kernel's output equals the reference's, over what was `compared`; `detail` says how it does not."""

    passed: bool
    compared: str
    detail: str = ""


@dataclass(frozen=True)
class Limit:
    """Rates (bMAC/s) of a register-only loop of one variant on `threads` threads at once, in the rounds of one case."""

    case: str
    variant: str
    threads: int
    rates: Samples


@dataclass(frozen=True)
class Row:
    """One contender of one case.

    Attributes:
        case: the shape, layer or batch; contenders of a case took turns.
        side: who; names that begin with "bnnkit" are this package's kernels.
        threads: how many.
        work: of one call.
        variants: kernel -> instruction-set variant that ran; empty for torch.
        check: None where nothing was to be verified.
        seconds: per call; None where the check failed: there is no speed of a wrong result.
        on_core: of one thread, the share of the time in which it had a core (median); below 1 others had it.
        of_limit: rate / rate of the machine-limit loop of the variant that ran.
        of_popcount: rate / rate of the XNOR + POPCNT + ADD loop on AVX-512 registers.
        faster_than: other side -> its median time / this median time, both per unit of work where the unit is the same.
            "1 thread": this side's own.
        stages: share of the time per stage of a network, where it is known.
        memory: peak bytes above those after the imports, where measured; `less_memory_than` as `faster_than`.
    """

    case: str
    side: str
    threads: int
    work: Work
    variants: Mapping[str, str] = field(default_factory=dict)
    check: Check | None = None
    seconds: Samples | None = None
    on_core: float | None = None
    of_limit: float | None = None
    of_popcount: float | None = None
    faster_than: Mapping[str, float] = field(default_factory=dict)
    memory: int | None = None
    less_memory_than: Mapping[str, float] = field(default_factory=dict)
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        return self.check is None or self.check.passed

    @property
    def rate(self) -> float | None:
        """Units of work per second."""
        return None if self.seconds is None else self.work.amount / self.seconds.median

    @property
    def tops(self) -> float | None:
        """10^12 operations per second, two per product; None for work that is no products."""
        rate = self.rate
        return None if rate is None or not self.work.is_products else OPERATIONS_PER_MAC * rate / 1e12

    def document(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return {
            "case": self.case,
            "side": self.side,
            "variants": dict(self.variants),
            "threads": self.threads,
            "valid": self.valid,
            "check": None if self.check is None else asdict(self.check),
            "work": asdict(self.work),
            "seconds": None if self.seconds is None else self.seconds.document(),
            "on_core": self.on_core,
            "per_second": self.rate,
            "tops": self.tops,
            "of_limit": self.of_limit,
            "of_popcount_loop": self.of_popcount,
            "faster_than": dict(self.faster_than),
            "memory_bytes": self.memory,
            "less_memory_than": dict(self.less_memory_than),
            "stages": dict(self.stages),
        }


@dataclass(frozen=True)
class Report:
    """All rows of one benchmark; `notes` say what was measured and what was left out."""

    kernel: str
    rows: Sequence[Row]
    limits: Sequence[Limit]
    notes: Sequence[str]

    @property
    def invalid(self) -> list[Row]:
        return [row for row in self.rows if not row.valid]

    def document(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        limits = [
            {"case": x.case, "variant": x.variant, "threads": x.threads, "bmac_per_second": x.rates.document()}
            for x in self.limits
        ]
        return {
            "kernel": self.kernel,
            "valid": not self.invalid,
            "rows": [row.document() for row in self.rows],
            "limits": limits,
            "notes": [*self.notes],
        }
