"""adc: the product of packed signs, every array's partial sum converted, against the plain product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

from torch import Tensor

from bnnkit import reference
from bnnkit.bench import dense, packed, xnor
from bnnkit.bench.contest import Case, Side
from bnnkit.bench.plan import BENCHES, Bench, Plan
from bnnkit.bench.report import Work
from bnnkit.bench.verify import ProductOracle
from bnnkit.cim import Adc

ROWS = 128
THRESHOLDS = (-31.0, -18.0, -9.0, -3.0, 2.0, 8.0, 19.0, 30.0)
LEVELS = (-41.7, -24.1, -12.9, -5.3, 0.4, 5.8, 13.6, 23.2, 40.9)
"""A converter of 9 levels as one would measure it: unequal steps, outputs on no common grid."""

PLAIN = "bnnkit xnor"
NOTES = (
    *xnor.NOTES,
    f"{ROWS} rows per array; '{PLAIN}' is the same product without converters: a ratio of 0.9 to it means 90 % of its "
    "speed",
    f"the table has {len(LEVELS)} levels at unequal distances",
)


def converters() -> dict[str, tuple[Adc, Callable[[Tensor], Tensor]]]:
    """Return row name -> converter, and its curve as the reference evaluates it."""
    uniform = {
        f"bnnkit adc {bits} bit": (Adc(bits, ROWS), partial(reference.adc, bits=bits, rows=ROWS))
        for bits in (1, 2, 3, 4)
    }
    table = Adc.from_table(THRESHOLDS, LEVELS, ROWS)
    return {**uniform, "bnnkit adc table": (table, table.convert)}


def cases(plan: Plan) -> Iterator[Case]:
    """Build one case per shape."""
    for m, n, k in plan.shapes:
        x, w = dense.signs((m, k), seed=1), dense.signs((n, k), seed=2)
        here = x.to(plan.device), w.to(plan.device)
        plain = packed.pack_activations(here[0], packed.whole(k)), packed.pack_weights(here[1], packed.whole(k))
        oracle = ProductOracle(x, w, reference.xnor_gemm)
        against = (PLAIN, *dense.row_names(plan.against))
        converted = list(_converted(x, w, plan.device))
        sides: list[Side] = []
        for threads in plan.threads:
            sides += dense.product_sides(x, w, plan.against, threads, plan.device)
            for variant in plan.variants:
                sides.append(xnor.product_side(plan, plain, (m, n, k), oracle, threads, variant))
            for variant, (name, call, its_oracle) in product(plan.variants, converted):
                check = xnor.checked(its_oracle, call)
                work = Work(m * n * k, "bMAC")
                sides.append(Side(name, call, work, threads, variant, ("adc",), check, against, device=plan.device))
        yield Case(f"{m} x {n} x {k}", sides)


def _converted(x: Tensor, w: Tensor, device: str) -> Iterator[tuple[str, Callable[[], Tensor], ProductOracle]]:
    layout = packed.arrays_of(x.shape[1], ROWS)
    bits = packed.pack_activations(x.to(device), layout), packed.pack_weights(w.to(device), layout)
    for name, (adc, curve) in converters().items():
        expected = partial(reference.adc_gemm, bias=None, rows=ROWS, curve=curve, grid=(adc.scale, adc.offset))
        yield name, partial(packed.adc_product, bits, layout, adc), ProductOracle(x, w, expected)


BENCHES.register("adc")(
    Bench(
        description="product of packed signs through converters",
        shape_form="M,N,K",
        shapes=xnor.SHAPES,
        opponents=tuple(dense.PRODUCTS),
        rivals=tuple(dense.PRODUCTS),
        every_variant=True,
        cases=cases,
        notes=NOTES,
        gpu_shapes=xnor.GPU_SHAPES,
    )
)
