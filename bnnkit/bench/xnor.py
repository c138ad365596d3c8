"""xnor: the product of packed signs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor

from bnnkit import reference
from bnnkit.bench import dense, packed
from bnnkit.bench.contest import Case, Side
from bnnkit.bench.plan import BENCHES, Bench, Plan
from bnnkit.bench.report import Check, Work
from bnnkit.bench.verify import ProductOracle
from bnnkit.ops import unpack_bits

SHAPES = ((4096, 4096, 4096), (32768, 160, 1440))
GPU_SHAPES = ((8192, 8192, 8192), (131072, 160, 1440))
NOTES = (
    "products: packed operands in, float32 output out where nothing else is said; packing is a row of its own",
    "of limit: beside a loop of xnor, count and add on registers; large products need neither xnor nor count",
    "torch: operands already in its type; 1 bMAC (one XNOR and one count) = 2 operations",
)


def cases(plan: Plan) -> Iterator[Case]:
    """Build one case per shape."""
    for m, n, k in plan.shapes:
        x, w = dense.signs((m, k), seed=1), dense.signs((n, k), seed=2)
        layout = packed.whole(k)
        here = x.to(plan.device)
        bits = packed.pack_activations(here, layout), packed.pack_weights(w.to(plan.device), layout)
        oracle = ProductOracle(x, w, reference.xnor_gemm)
        sides: list[Side] = []
        for threads in plan.threads:
            sides += dense.product_sides(x, w, plan.against, threads, plan.device)
            for variant in plan.variants:
                sides.append(product_side(plan, bits, (m, n, k), oracle, threads, variant))
            if plan.device == "cuda":  # memory for the output is what a GPU waits for
                sides += output_sides(plan, bits, (x, w), threads)
            sides += [packing_side(here, threads, variant) for variant in plan.variants]
        yield Case(f"{m} x {n} x {k}", sides)


def product_side(
    plan: Plan,
    bits: packed.Operands,
    shape: tuple[int, int, int],
    oracle: ProductOracle,
    threads: int,
    variant: str | None,
) -> Side:
    """Return the packed product as a contender."""
    m, n, k = shape
    return Side(
        "bnnkit xnor",
        partial(packed.xnor_product, bits, k),
        Work(m * n * k, "bMAC"),
        threads,
        variant,
        ("xnor",),
        checked(oracle, lambda: packed.xnor_product(bits, k)),
        dense.row_names(plan.against),
        device=plan.device,
    )


def output_sides(plan: Plan, bits: packed.Operands, signs: tuple[Tensor, Tensor], threads: int) -> list[Side]:
    """Return the product with other outputs than float32: integers, and bits for a following layer."""
    (x, w), (n, k) = signs, signs[1].shape
    sums, positive = ProductOracle(x, w, reference.xnor_gemm), ProductOracle(x, w, _not_negative)
    fold = packed.at_zero(n, plan.device)
    outputs: dict[str, tuple[ProductOracle, Callable[[], Tensor], Callable[[Tensor], Tensor]]] = {
        "int32": (sums, partial(packed.xnor_integers, bits, k, 32), lambda y: y),
        "bits": (positive, partial(packed.xnor_bits, bits, k, fold), lambda y: unpack_bits(y, n)),
    }
    if k < 1 << 15:
        outputs["int16"] = (sums, partial(packed.xnor_integers, bits, k, 16), lambda y: y)
    work, rivals = Work(len(x) * n * k, "bMAC"), dense.row_names(plan.against)
    return [
        Side(
            f"bnnkit xnor, {name} out",
            call,
            work,
            threads,
            None,
            ("xnor",),
            checked(oracle, lambda call=call, read=read: read(call())),  # type: ignore[misc]
            rivals,
            device=plan.device,
        )
        for name, (oracle, call, read) in outputs.items()
    ]


def _not_negative(x: Tensor, w: Tensor) -> Tensor:
    return (reference.xnor_gemm(x, w) >= 0).to(x.dtype)


def packing_side(x: Tensor, threads: int, variant: str | None) -> Side:
    """Return the packing of the activations as a contender; the kernel that consumes the bits checks them."""
    layout = packed.whole(x.shape[1])
    call = partial(packed.pack_activations, x, layout)
    return Side("bnnkit pack", call, Work(x.numel(), "value"), threads, variant, ("pack",), device=x.device.type)


def checked(oracle: ProductOracle, product: Callable[[], Tensor]) -> Callable[[], Check]:
    """Return a check of a fresh product."""
    return lambda: oracle.check(product())


BENCHES.register("xnor")(
    Bench(
        description="product of packed signs",
        shape_form="M,N,K",
        shapes=SHAPES,
        opponents=tuple(dense.PRODUCTS),
        rivals=tuple(dense.PRODUCTS),
        every_variant=True,
        cases=cases,
        notes=NOTES,
        gpu_shapes=GPU_SHAPES,
    )
)
