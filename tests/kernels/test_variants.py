"""Which variant runs, who may choose it, and that the record of it is true."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from bnnkit import ops
from bnnkit.cim import Adc, Array, Chip
from bnnkit.errors import UsageError
from bnnkit.nn import BitSerialLinear
from bnnkit.quantizers import make

ORDER = ["reference", "neon", "avx2", "avx512", "amx"]


def _adc(x: torch.Tensor) -> torch.Tensor:
    layout = Array(128).layout(4, 1, 1)
    return ops.adc_linear(x, torch.ones(3, 4), a=make(1), w_quantizer=make(1), adc=Adc(1), layout=layout)


def _bit_serial(x: torch.Tensor) -> torch.Tensor:
    layer = BitSerialLinear(4, 3, ao_bit=2, w_bit=2).eval().requires_grad_(False)
    layer.program(Chip(), "full", 0)
    y: torch.Tensor = layer(x)
    return y


CALLS: dict[str, Callable[[], object]] = {
    "pack": lambda: ops.pack_pixels(torch.ones(2, 4), make(1), channels_per_array=4),
    "xnor": lambda: ops.xnor_linear(torch.ones(2, 4), torch.ones(3, 4), a=make(1), w_quantizer=make(1)),
    "adc": lambda: _adc(torch.ones(2, 4)),
    "adc_backward": lambda: _adc(torch.ones(2, 4, requires_grad=True)).sum().backward(),
    "bitplane": lambda: ops.slice_weights(torch.tensor([3]), 2, 1),
    "bit_serial": lambda: _bit_serial(torch.ones(2, 4)),
}
TOP = {
    "pack": "avx512",
    "xnor": "amx",
    "adc": "amx",
    "adc_backward": "amx",
    "bitplane": "avx512",
    "bit_serial": "avx512",
}
PREFERRED = {**TOP, "xnor": "avx512", "adc": "avx512"}  # one pair of planes is counted, not multiplied


def _expected(kernel: str, ceiling: str, top: dict[str, str] = TOP) -> str:
    usable = [name for name in ops.usable_variants() if ORDER.index(name) <= ORDER.index(ceiling)]
    return [name for name in usable if ORDER.index(name) <= ORDER.index(top[kernel])][-1]


def _unforced(kernel: str) -> str:
    return _expected(kernel, ops.usable_variants()[-1], PREFERRED)


def test_names() -> None:
    assert ops.variants() == ORDER
    usable = ops.usable_variants()
    assert usable[0] == "reference" and usable == [name for name in ORDER if name in usable]
    assert [name for name in ORDER[1:] if name in usable] == [n for n, has in ops.cpu_features().items() if has]


@pytest.mark.parametrize("kernel", CALLS)
@pytest.mark.parametrize("name", ops.usable_variants())
def test_a_forced_variant_is_the_one_that_runs(kernel: str, name: str) -> None:
    with ops.variant(name):
        CALLS[kernel]()
        assert ops.last_variant(kernel) == _expected(kernel, name)
    CALLS[kernel]()
    assert ops.last_variant(kernel) == _unforced(kernel)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown variant 'avx3'") as caught:
        ops.force_variant("avx3")
    assert "reference" in str(caught.value.hint)
    with pytest.raises(UsageError, match="unknown variant"), ops.variant("AVX2"):
        pass
    with pytest.raises(UsageError, match="unknown kernel 'gemm'") as caught:
        ops.last_variant("gemm")
    assert "bit_serial" in str(caught.value.hint)


@pytest.mark.parametrize("name", [name for name in ORDER if name not in ops.usable_variants()] or ["none"])
def test_unusable_variants_are_refused(name: str) -> None:
    if name == "none":
        pytest.skip("this processor can execute every variant")
    with pytest.raises(UsageError, match="cannot run on this processor"):
        ops.force_variant(name)


def test_the_ceiling_is_lifted_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="inside"), ops.variant("reference"):
        raise RuntimeError("inside")
    CALLS["xnor"]()
    assert ops.last_variant("xnor") == _unforced("xnor")


def test_limits_lie_within_each_other() -> None:
    with ops.variant("reference"):
        with ops.variant(ops.usable_variants()[-1]):
            pass
        CALLS["pack"]()
        assert ops.last_variant("pack") == "reference"


def test_several_planes_prefer_tiles() -> None:
    layout = Array(128).layout(4, 1, 1)
    ops.adc_linear(torch.ones(2, 4), torch.ones(3, 4), a=make(2), w_quantizer=make(2), adc=Adc(1), layout=layout)
    assert ops.last_variant("adc") == ops.usable_variants()[-1]


_PROGRAM = """
import torch
from bnnkit import ops
from bnnkit.quantizers import make
for attempt in range(2):
    try:
        ops.pack_pixels(torch.ones(1, 3), make(1), channels_per_array=3)
        print(ops.last_variant("pack"))
    except Exception as error:
        print(type(error).__name__, error)
"""


def _with_environment(variant: str) -> list[str]:
    environment = {**os.environ, "BNNKIT_VARIANT": variant}
    words = [sys.executable, "-c", _PROGRAM]
    result = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


def test_a_wrong_environment_is_an_error_where_a_kernel_is_used() -> None:
    lines = _with_environment("avx1024")
    assert sum("unknown variant 'avx1024'" in line for line in lines) == 2


_LIMIT = "import sys; from bnnkit import _C; print(_C.machine_limit(sys.argv[1], 0.01))"


def test_machine_limit() -> None:
    assert ops.load().machine_limit("reference", 0.001) == 0
    for name in ops.usable_variants()[1:]:
        words = [sys.executable, "-c", _LIMIT, name]
        result = subprocess.run(words, capture_output=True, text=True, check=False)  # a crash must not end us
        assert result.returncode == 0, f"{name}: ended with {result.returncode}"
        assert float(result.stdout) > 1e9
