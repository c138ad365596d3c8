"""What the CUDA kernels became: the instructions they were written for, in every architecture's own code.

Read by `cuobjdump` of the CUDA toolkit; skipped without it. No GPU is needed.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from bnnkit import ops

TENSOR_CORES = ["sm_80", "sm_86", "sm_89", "sm_90a"]
COUNT = "BMMA.168256.AND.POPC"


class Code:
    """The kernels of one architecture: mangled name -> how often each instruction stands in it."""

    def __init__(self, dump: str) -> None:
        self.kernels: dict[str, Counter[str]] = {}
        for function in dump.split("Function : ")[1:]:
            name, _, body = function.partition("\n")
            found = re.findall(r"/\*[0-9a-f]{4,5}\*/\s+(?:@!?U?P\w+ )?([A-Z][\w.]*)", body)
            self.kernels[name] = Counter(found)

    def tiles(self) -> dict[str, Counter[str]]:
        """Return the matrix kernels."""
        return {name: code for name, code in self.kernels.items() if "tile_product" in name}


def _dump(*options: str) -> str:
    tool = shutil.which("cuobjdump")
    if tool is None:
        pytest.skip("cuobjdump is not installed")
    if ops.cuda_library() is None:
        pytest.skip("bnnkit was built without its CUDA kernels")
    module = importlib.util.find_spec("bnnkit._C")
    assert module is not None and module.origin is not None
    command = [tool, *options, str(Path(module.origin).with_name("_ops_cuda.so"))]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _code(architecture: str) -> Code:
    return Code(_dump("-sass", "-arch", architecture))


def _shape(kernel: str) -> tuple[int, int]:
    """Return a matrix kernel's row tiles and column tiles per warp."""
    match = re.search(r"TileShapeILi\d+ELi(\d+)ELi(\d+)E", kernel)
    assert match is not None, kernel
    return int(match[1]), int(match[2])


def _one_pair(kernel: str) -> bool:
    return re.search(r"TileShapeI(?:Li\d+E){3}EELb1E", kernel) is not None


def test_all_architectures_are_there() -> None:
    listed = _dump("--list-elf") + _dump("--list-ptx")
    assert {"sm_75", *TENSOR_CORES} <= set(re.findall(r"sm_\w+?(?=\.)", listed))
    assert "sm_90.ptx" in listed


@pytest.mark.parametrize("architecture", TENSOR_CORES)
def test_counts_are_one_instruction_each(architecture: str) -> None:
    tiles = _code(architecture).tiles()
    assert len(tiles) >= 12
    for name, code in tiles.items():
        rows, columns = _shape(name)
        # The loop stands there more than once: for the first step of an array and for others, unrolled or not.
        assert code[COUNT] >= rows * columns and code[COUNT] % (rows * columns) == 0, name
        assert not any(".XOR.POPC" in instruction for instruction in code), name
        assert not code["POPC"], name


def test_before_tensor_cores_of_bits_counts_are_loops() -> None:
    for name, code in _code("sm_75").tiles().items():
        assert code["POPC"] and code["SHFL.IDX"] and not code[COUNT], name


@pytest.mark.parametrize("architecture", TENSOR_CORES)
def test_registers_hold_what_the_loop_needs(architecture: str) -> None:
    for name, code in _code(architecture).tiles().items():
        # A few stand around the call for padded pixels; a loop that lacks registers has hundreds.
        spilled = sum(code[i] for i in code if i.startswith(("STL", "LDL")))
        assert spilled <= 40, f"{name}: {spilled} accesses to local memory"


def test_sums_that_become_bits_are_not_stored() -> None:
    kernels = {name: code for name, code in _code("sm_90a").tiles().items() if "BitSink" in name}
    assert len(kernels) == 4
    for name, code in kernels.items():
        rows, columns = _shape(name)
        # A byte of every fourth column tile per lane and row; two shuffles join the bits of a tile.
        assert sum(code[i] for i in code if i.startswith("STG")) == 2 * rows * -(-columns // 4), name
        assert sum(code[i] for i in code if i.startswith("SHFL")) == 4 * rows * columns, name


@pytest.mark.parametrize(("converter", "steps"), [("6Single", 1), ("7Uniform", 2)])
def test_usual_converters_take_one_or_two_instructions(converter: str, steps: int) -> None:
    kernels = {name: code for name, code in _code("sm_90a").tiles().items() if converter in name and _one_pair(name)}
    assert kernels
    for name, code in kernels.items():
        rows, columns = _shape(name)
        values = 4 * rows * columns
        # The last instruction shifts and adds at once; of two, the first is a multiplication with addition.
        assert values <= code["LEA.HI"] <= values + 60, name
        if steps == 2:
            assert code["IMAD"] >= values, name


def test_the_limits_are_measured_by_the_instructions_they_name() -> None:
    loops = {name: code for name, code in _code("sm_90a").kernels.items() if "_loop" in name}
    assert sum(code["BMMA.168128.AND.POPC"] > 0 for code in loops.values()) == 1
    assert sum(code[COUNT] > 0 for code in loops.values()) == 1
    assert sum(any(i.startswith("BGMMA.64x256x256") for i in code) for code in loops.values()) == 1
