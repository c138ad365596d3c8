"""What a command line may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from bnnkit import ops
from bnnkit.bench import machine, resolve
from bnnkit.errors import UsageError


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    monkeypatch.setattr(ops, "usable_variants", lambda: ["reference", "avx2"])
    monkeypatch.delenv("BNNKIT_VARIANT", raising=False)


def test_defaults_are_the_published_figures() -> None:
    plan = resolve("xnor")
    assert plan.shapes == ((4096, 4096, 4096), (32768, 160, 1440))
    assert (plan.threads, plan.variants, plan.against) == ((1, 2), ("avx2",), ("fp32", "bf16", "int8"))
    assert resolve("conv").variants == (None,)
    assert not plan.strict


def test_chips_are_measured_with_the_layers_of_vgg7() -> None:
    layer, network = resolve("bit-serial"), resolve("vgg7")
    assert (layer.shapes, layer.against, layer.variants) == (((16, 128, 32),), ("loop", "fp32"), (None,))
    assert (network.shapes, network.against, network.variants) == (((64, 4),), ("software", "fp32"), (None,))
    assert (512, 512, 3, 3) in resolve("bitplane").shapes


def test_one_core_is_measured_with_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 1)
    assert resolve("xnor").threads == (1,)


@pytest.mark.usefixtures("extension")
def test_the_environment_chooses_a_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNNKIT_VARIANT", "reference")
    plan = resolve("xnor")
    assert (plan.variants, plan.strict) == (("reference",), True)


@pytest.mark.parametrize(
    ("kernel", "wishes", "message", "hint"),
    [
        ("xnr", {}, "unknown bench kernel 'xnr'", "did you mean 'xnor'?"),
        ("xnor", {"shapes": [[4, 4]]}, "bench xnor: shape 4,4; M,N,K was needed", "use --shape 4096,4096,4096"),
        ("conv", {"shapes": [[4, 0, 1]]}, "bench conv: shape 4,0,1; BATCH,CHANNELS,SIZE was", "use --shape 32,80,32"),
        ("xnor", {"threads": [3]}, "bench xnor: threads 3; 1 to 2 (the cores) was needed", "use --threads 1"),
        ("xnor", {"threads": [0]}, "bench xnor: threads 0; 1 to 2 (the cores) was needed", "use --threads 1"),
        ("xnor", {"against": ["int9"]}, "bench xnor: cannot compare with 'int9'", "did you mean 'int8'?"),
        ("bit-serail", {}, "unknown bench kernel 'bit-serail'", "did you mean 'bit-serial'?"),
        ("bit-serial", {"shapes": [[4]]}, "shape 4; BATCH,CHANNELS,SIZE was needed", "use --shape 16,128,32"),
        ("vgg7", {"against": ["loop"]}, "cannot compare with 'loop'; software, fp32, none", "use --against software"),
        ("train", {"against": ["bf16"]}, "loop, fp32, none was needed", "use --against loop"),
        ("xnor", {"clock": "sun"}, "bench xnor: clock 'sun'; wall or cpu was needed", "use --clock wall"),
        ("xnor", {"clock": "cpu"}, "bench xnor: the clock of the CPU adds up all threads; 1", "add --threads 1"),
        ("xnor", {"repeat": 0}, "bench xnor: repeat 0; at least 1 round was needed", "use --repeat 10"),
    ],
)
def test_impossible_wishes(kernel: str, wishes: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(kernel, **wishes)
    assert message in caught.value.message
    assert caught.value.hint == hint


@pytest.mark.usefixtures("extension")
def test_unknown_variants() -> None:
    with pytest.raises(UsageError, match="unknown variant 'avx9'"):
        resolve("xnor", variants=["avx9"])
