"""The body of a deployed A&B network does not multiply: read from the machine code that computes it.

Between the stem and the average pool run, per instruction set, `Counting<Ungated<XnorEngine>, IntegerTileFinish>::run`
or `Vertical<IntegerPixels, false>::run` (convolutions of a few images, of many), `run_signed_sums` (binary 1x1
shortcuts) and `run_finish_integers` (pooled and doubled values), with all they call. No instruction among them may
multiply or divide floats, or integers in vectors. What remains allowed:

- imul, mul, idiv and div on general registers, which find places in memory (pixel * stride, patch / width);
- products of 64-bit integers in `Gatherer`, which only moves words: the compiler computes the offsets of a few pixels
  at a time.

Values never pass through either: bits, sums and 32-bit values are handled in vectors, 16 at a time.
"""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

MULTIPLIES = re.compile(
    r"""v?(mul|div|rcp(14|28)?|rsqrt(14|28)?|sqrt|scalef|dp)[ps][sdh]
      | vf(n|c|)?(madd|msub|maddsub|msubadd|nmadd|nmsub|mulc|cmulc)\w* | vf\w*(madd|msub)\w*
      | v?pmul(?!tishift)\w* | v?pmadd\w* | v?p?dp(b|w|bf)\w* | tdp\w*
      | fi?(mul|div)r?p?""",
    re.VERBOSE,
)
"""Mnemonics that multiply or divide floats or vectors of anything; vpmultishiftqb shifts."""

ADDRESSES = {"vpmullq", "vpmuludq", "pmuludq"}
"""Products of 64-bit integers, and what they are made of without AVX-512."""

BODY = (
    r"Counting<Ungated<XnorEngine>, IntegerTileFinish>::run\(",
    r"Vertical<IntegerPixels, false>::run\(",
    r"run_signed_sums\(",
    r"run_finish_integers\(",
)
MOVES = (r"turn_values\(", r"turn_bits\(")
"""Between steps; of four values or a few bytes at a time on every processor."""

ELSEWHERE = (
    r"run_dense\(",
    r"Counting<Ungated<XnorEngine>, TileFinish>::run\(",
    r"Vertical<FloatPixels, false>::run\(",
)

WIDEST = {"zmm": "avx512", "ymm": "avx2", "xmm": "reference"}


@dataclass
class Function:
    """One function: its name without namespaces, and its instructions as (mnemonic, operands)."""

    name: str
    code: list[tuple[str, str]] = field(default_factory=list)

    @cached_property
    def products(self) -> set[str]:
        return {mnemonic for mnemonic, _ in self.code if MULTIPLIES.fullmatch(mnemonic)}

    @property
    def targets(self) -> list[tuple[int, str]]:
        """Places that are called or jumped to, with their labels; jumps through tables stay inside their function."""
        found = []
        for mnemonic, operands in self.code:
            match = re.match(r"([0-9a-f]+) <(.*)>$", operands)
            if match and re.match("call|j", mnemonic):
                found.append((int(match[1], 16), match[2]))
            assert match or not mnemonic.startswith("call"), f"{self.name}: cannot follow {mnemonic} {operands}"
        return found


def _short(name: str) -> str:
    return re.sub(r"\(anonymous namespace\)::|\bbnnkit::|\bdeploy::", "", name)


class Library:
    """The disassembled kernels."""

    def __init__(self, listing: str) -> None:
        self.functions: dict[int, Function] = {}
        function = Function("")
        for line in listing.splitlines():
            if line[:1] not in ("", " "):
                head = re.match(r"([0-9a-f]+) <(.*)>:$", line)
                if head:
                    function = self.functions[int(head[1], 16)] = Function(_short(head[2]))
                continue
            parts = line.split("\t")
            if len(parts) > 1:
                mnemonic, _, operands = parts[1].strip().partition(" ")
                function.code.append((mnemonic, operands.partition(" # ")[0].strip()))
        self.starts = sorted(self.functions)
        self.by_name: dict[str, list[int]] = {}
        for start, found in self.functions.items():
            self.by_name.setdefault(found.name, []).append(start)

    def find(self, pattern: str) -> list[int]:
        return [start for start, function in self.functions.items() if re.search(pattern, function.name)]

    def reached_from(self, start: int) -> tuple[list[Function], set[str]]:
        """Return a function and all that it calls inside the library, and the names of what it calls outside."""
        seen: set[int] = set()
        outside: set[str] = set()
        waiting = [start]
        while waiting:
            here = waiting.pop()
            if here in seen:
                continue
            seen.add(here)
            for place, label in self.functions[here].targets:
                name, _, stub = label.partition("@")
                if not stub:
                    waiting.append(self.starts[bisect_right(self.starts, place) - 1])
                elif _short(name) in self.by_name:  # exported: called through a stub of that name
                    waiting += self.by_name[_short(name)]
                else:
                    outside.add(name)
        return [self.functions[place] for place in seen], outside


def variant_of(functions: list[Function]) -> str:
    """Return which variant a function belongs to, by the widest register that it uses."""
    used = {name for function in functions for _, operands in function.code for name in WIDEST if name in operands}
    return next(variant for name, variant in WIDEST.items() if name in used)


@pytest.fixture(scope="module")
def library() -> Library:
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("the mnemonics are those of x86-64")
    objdump = shutil.which("objdump")
    if objdump is None:
        pytest.skip("objdump is not installed")
    # Beside the compiled module, which an editable installation keeps apart from the sources.
    module = importlib.util.find_spec("bnnkit._C")
    assert module is not None and module.origin is not None
    path = Path(module.origin).with_name("libbnnkit_kernels.so")
    command = [objdump, "-d", "-C", "--no-show-raw-insn", str(path)]
    found = Library(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if not found.find(BODY[1]):
        pytest.skip(f"{path} has no names of local functions (stripped)")
    return found


@pytest.mark.parametrize("pattern", BODY + MOVES)
def test_the_body_does_not_multiply(library: Library, pattern: str) -> None:
    variants = set()
    for start in library.find(pattern):
        reached, outside = library.reached_from(start)
        variants.add(variant_of(reached))
        assert sum(len(function.code) for function in reached) > 50
        for function in reached:
            allowed = ADDRESSES if "Gatherer::" in function.name.partition("(")[0] else set()
            assert function.products <= allowed, function.name
        assert outside <= {"memset", "memcpy", "memmove", "__popcountdi2"}
    assert variants == {"avx512", "avx2", "reference"} or pattern in MOVES


def test_the_walk_reaches_where_bits_are_counted(library: Library) -> None:
    for start in library.find(BODY[0]):
        reached, outside = library.reached_from(start)
        found = {mnemonic for function in reached for mnemonic, _ in function.code}
        assert found & {"vpopcntq", "vpsadbw", "popcnt"} or "__popcountdi2" in outside


LISTING = """
0000000000000100 <bnnkit::(anonymous namespace)::first(int)>:
     100:\tcall   200 <second(int)::{lambda(int)#1}::operator()(int) const>
     105:\tcall   20 <bnnkit::third()@plt>
     10a:\tcall   30 <memset@plt>
     10f:\tmov    0x5ee2(%rip),%rax        # 1ae0e8 <fourth()>
     116:\tjmp    302 <third()+0x2>

0000000000000200 <second(int)::{lambda(int)#1}::operator()(int) const>:
     200:\tje     400 <fifth()>

0000000000000300 <bnnkit::third()>:
     300:\tvmulps %ymm0,%ymm1,%ymm2

0000000000000400 <fifth()>:
     400:\tret

0000000000000500 <fourth()>:
     500:\tcall   *%rax
"""


def test_calls_are_followed_wherever_they_lead() -> None:
    library = Library(LISTING)
    reached, outside = library.reached_from(0x100)
    names = {"first(int)", "second(int)::{lambda(int)#1}::operator()(int) const", "third()", "fifth()"}
    assert {function.name for function in reached} == names
    assert outside == {"memset"}
    assert [function.name for function in reached if function.products] == ["third()"]
    with pytest.raises(AssertionError, match=r"fourth\(\): cannot follow call"):
        library.reached_from(0x500)


@pytest.mark.parametrize("pattern", ELSEWHERE)
def test_the_search_finds_products_where_there_are_some(library: Library, pattern: str) -> None:
    variants = set()
    for start in library.find(pattern):
        reached, _ = library.reached_from(start)
        variants.add(variant_of(reached))
        products = {name for function in reached if "Gatherer::" not in function.name for name in function.products}
        assert any(re.fullmatch(r"v?mul[ps][sd]", name) for name in products), variants
    assert variants == {"avx512", "avx2", "reference"}


@pytest.mark.parametrize(
    ("multiplies", "mnemonics"),
    [
        (
            True,
            "mulps vmulpd mulss vdivsd divps vfmadd231pd vfnmadd132ss vfmsubadd213ps vpmuludq vpmulld pmullw vpmullq",
        ),
        (True, "vpmaddubsw vpmadd52luq vpdpbusd vdpbf16ps dpps vdppd rcpps vrsqrt14ps vscalefps fmul fdivrp fimul"),
        (False, "imul mul idiv div lea vpaddd vpsubq vpxor vpsravd vpsllvd vpopcntq vpmultishiftqb vpmovm2d vpand add"),
        (False, "vpmaxsd vpminsd vpmovmskb vpcmpgtd vmovdqu64 vpunpckldq vpsadbw vpshufb movmskps vpermd"),
    ],
)
def test_mnemonics(multiplies: bool, mnemonics: str) -> None:
    assert [name for name in mnemonics.split() if bool(MULTIPLIES.fullmatch(name)) != multiplies] == []
