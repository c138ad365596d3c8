"""What torch asks of an operation: opcheck, torch.compile, fake tensors, inference mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bnnkit import ops
from bnnkit.cim import Adc, Array, Chip, parse_cell
from bnnkit.nn import BitSerialConv2d, CimConv2d, CimLinear
from bnnkit.ops.bit_serial import normal_quantiles
from bnnkit.ops.pack import levels_of
from bnnkit.quantizers import make

from .problems import values

ops.load()
GEOMETRY: list[Any] = [[3, 3], [2, 1], [1, 0], [1, 1], 2]
UNITS = (1.0, 1 / 3, False, False)


def _operands(w_bits: int) -> list[Tensor]:
    """Return packed x [2, 10, 5, 6] and w [4, 5, 3, 3] of 2 groups with 2 channels per array, then both floats."""
    generator = torch.Generator().manual_seed(1)
    x, w = values((2, 10, 5, 6), generator), values((4, 5, 3, 3), generator)
    return [
        ops.pack_pixels(x, make(1), channels_per_array=2, groups=2),
        ops.pack_kernels(w, make(w_bits), layout=Array(18).layout(5, 3, 3)),
        x.requires_grad_(),
        w.requires_grad_(),
    ]


def _xnor_arguments() -> tuple[Any, ...]:
    generator = torch.Generator().manual_seed(2)
    x, w = values((2, 10, 5, 6), generator), values((4, 5, 3, 3), generator)
    layout = Array(1024, channels_per_array=5).layout(5, 3, 3)
    bits = (ops.pack_pixels(x, make(1), channels_per_array=5, groups=2), ops.pack_kernels(w, make(1), layout=layout))
    return *bits, x.requires_grad_(), w.requires_grad_(), torch.ones(4, requires_grad=True), 10, *GEOMETRY


def _xnor_integers_arguments() -> tuple[Any, ...]:
    x_bits, w_bits, _, _, _, *geometry = _xnor_arguments()
    return x_bits, w_bits, 16, *geometry


def _xnor_bits_arguments() -> tuple[Any, ...]:
    x, w = values((2, 10, 5, 6), torch.Generator().manual_seed(2)), torch.ones(70, 10, 3, 3)
    layout = Array(1024, channels_per_array=10).layout(10, 3, 3)
    bits = ops.pack_pixels(x, make(1), channels_per_array=10), ops.pack_kernels(w, make(1), layout=layout)
    fold = torch.arange(70, dtype=torch.int32) - 35, -(torch.arange(70, dtype=torch.int32) % 2)
    return *bits, *fold, 10, *GEOMETRY[:-1], 1


def _adc_arguments() -> tuple[Any, ...]:
    adc = Adc(2, 18)
    tables = (adc.thresholds(3), adc.levels, adc.gradient_table(3))
    bias = torch.ones(4, requires_grad=True)
    return *_operands(2), bias, *tables, adc.scale, adc.offset, *UNITS, 10, *GEOMETRY, 2, False


def _backward_arguments() -> tuple[Any, ...]:
    x_bits, w_bits, *_ = _operands(2)
    gy = torch.ones(2, 4, 3, 4)
    return gy, x_bits, w_bits, Adc(2, 18).gradient_table(3), *UNITS, 10, *GEOMETRY, 2, False


def _chip_arguments() -> tuple[Any, ...]:
    layer = BitSerialConv2d(10, 4, 3, ao_bit=2, w_bit=3).eval().requires_grad_(False)
    layer.program(Chip(rows=18, cell=parse_cell("rram:sigma=0.1,read=0.1")), "full", 0)
    arrays = layer.arrays
    assert arrays is not None and layer.activation is not None
    bits = ops.pack_pixels(torch.rand(2, 10, 5, 6), layer.activation.levels(), channels_per_array=10)
    return bits, arrays


def _bit_serial_arguments() -> tuple[Any, ...]:
    bits, arrays = _chip_arguments()
    cells, converters, noise = arrays.cells, arrays.converters, arrays._read_noise()
    tables = (None, 0, converters.gain, converters.shift, 63.0, converters.factor, converters.base)
    amplitudes = (noise.amplitude, normal_quantiles(), 5, 2)
    geometry = (10, [3, 3], [1, 1], [0, 0], [1, 1], 10, True)
    return bits, cells.data, [1, 1, 1], [], [], *tables, 0.5, torch.ones(4), *amplitudes, *geometry


def _histogram_arguments() -> tuple[Any, ...]:
    bits, arrays = _chip_arguments()
    geometry = (10, [3, 3], [1, 1], [0, 0], [1, 1], 10, True)
    return bits, arrays.cells.data, [1, 1, 1], [], [], -50, 50, True, None, None, 0, 0, *geometry


SAMPLES: dict[str, Callable[[], tuple[Any, ...]]] = {
    "pack_pixels": lambda: (torch.rand(2, 6, 3, 4), *levels_of(make(2)), 2, 2),
    "pack_kernels": lambda: (torch.rand(2, 6, 3, 4), *levels_of(make(1.5)), 4, True),
    "xnor_conv2d": _xnor_arguments,
    "xnor_conv2d_integers": _xnor_integers_arguments,
    "xnor_conv2d_bits": _xnor_bits_arguments,
    "adc_conv2d": _adc_arguments,
    "adc_conv2d_backward": _backward_arguments,
    "bit_serial_conv2d": _bit_serial_arguments,
    "bit_serial_histogram": _histogram_arguments,
    "slice_weights": lambda: (torch.arange(12, dtype=torch.int32).view(3, 4), 4, 3),
    "merge_slices": lambda: (torch.ones(2, 3, 4, dtype=torch.uint8), 3),
    "dense_conv2d": lambda: (torch.rand(2, 6, 5, 4), torch.rand(3, 6, 3, 2), torch.rand(3), [2, 1], [1, 0]),
    "bit_faults": lambda: (
        torch.arange(240, dtype=torch.uint8).view(2, 3, 1, 5, 8),
        torch.arange(3),
        60,
        60,
        3,
        1 << 31,
        -1,
    ),
    "image_faults": lambda: (
        torch.arange(60, dtype=torch.uint8).view(3, 20),
        torch.arange(3),
        torch.arange(3),
        6,
        -1,
        [0, 1, 0, 1],
        1 << 31,
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_opcheck(name: str) -> None:
    torch.library.opcheck(getattr(torch.ops.bnnkit, name).default, SAMPLES[name]())


def test_opcheck_without_bias_or_gradient() -> None:
    with torch.no_grad():
        x_bits, w_bits, _, _, _, *rest = _adc_arguments()
        torch.library.opcheck(torch.ops.bnnkit.adc_conv2d.default, (x_bits, w_bits, None, None, None, *rest))
        gy, x_bits, w_bits, _, *rest = _backward_arguments()
        torch.library.opcheck(torch.ops.bnnkit.adc_conv2d_backward.default, (gy, x_bits, w_bits, None, *rest))


@pytest.mark.parametrize("mapping", ["channel", "tap"])
@pytest.mark.parametrize("size", [(2, 7, 5, 6), (1, 7, 3, 3)])
def test_fake_tensors_have_the_real_shapes(mapping: Any, size: tuple[int, ...]) -> None:
    def outputs(x: Tensor, w: Tensor) -> list[Tensor]:
        layout = Array(27, mapping).layout(7, 3, 3)
        q = {"a": make(2), "w_quantizer": make(1.5)}
        sign = {"a": make(1), "w_quantizer": make(1)}
        return [
            ops.pack_pixels(x, make(3), channels_per_array=3),
            ops.pack_pixels(x[:, :, 0, 0], make(3), channels_per_array=3),
            ops.pack_kernels(w, make(1.5), layout=layout),
            ops.adc_conv2d(x, w, adc=Adc(2, 27), layout=layout, stride=(2, 1), padding=(1, 2), **q),  # type: ignore[arg-type]
            ops.xnor_conv2d(x, w, stride=(1, 2), padding=(0, 1), **sign),  # type: ignore[arg-type]
        ]

    x, w = torch.rand(size), torch.rand(5, 7, 3, 3)
    real = outputs(x, w)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = outputs(mode.from_tensor(x), mode.from_tensor(w))
    for r, f in zip(real, fake, strict=True):
        assert (r.shape, r.dtype, r.stride()) == (f.shape, f.dtype, f.stride())


SIGN, TWO_BITS, CONVERTER, LAYOUT = make(1), make(2), Adc(2, 27), Array(27).layout(6, 3, 3)
THRESHOLDS, SLOPES = CONVERTER.thresholds(3), CONVERTER.gradient_table(3)


def _layer(x: Tensor, w: Tensor, bias: Tensor) -> Tensor:
    """Two packed convolutions of x [N, 6, 5, 5] with w [6, 6, 3, 3], through a converter and without."""
    y = ops.adc_conv2d(x, w, bias, a=SIGN, w_quantizer=TWO_BITS, adc=CONVERTER, layout=LAYOUT, padding=(1, 1))
    return ops.xnor_conv2d(y / 54, w, a=SIGN, w_quantizer=SIGN)


def _layer_operands() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [values(shape, generator) for shape in ((2, 6, 5, 5), (6, 6, 3, 3), (6,))]


def _gradients(function: Callable[..., Tensor], operands: list[Tensor]) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in operands]
    y = function(*leaves)
    return [y.detach(), *torch.autograd.grad(y.square().sum(), leaves)]


def _ops_alone(x: Tensor, w: Tensor, bias: Tensor) -> Tensor:
    """The first convolution of `_layer`, without the Python that loads the extension and makes tables."""
    two_bits = levels_of(TWO_BITS)
    x_bits = torch.ops.bnnkit.pack_pixels(x.detach(), *levels_of(SIGN), 1, LAYOUT.channels_per_array)
    w_bits = torch.ops.bnnkit.pack_kernels(w.detach(), *two_bits, LAYOUT.channels_per_array, False)
    tables = (THRESHOLDS, CONVERTER.levels, SLOPES, CONVERTER.scale, CONVERTER.offset, *UNITS)
    geometry = ([3, 3], [1, 1], [1, 1], [1, 1], 1)
    y: Tensor = torch.ops.bnnkit.adc_conv2d(
        x_bits, w_bits, x, w, bias, *tables, 6, *geometry, LAYOUT.channels_per_array, False
    )
    return y


def _assert_same_compiled(function: Callable[..., Tensor], **options: Any) -> None:
    operands = _layer_operands()
    expected = _gradients(function, operands)
    torch._dynamo.reset()
    compiled = torch.compile(function, backend="aot_eager", **options)
    for c, e in zip(_gradients(compiled, operands), expected, strict=True):
        assert torch.equal(c, e)


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_ops_compile_into_one_graph(dynamic: bool) -> None:
    _assert_same_compiled(_ops_alone, fullgraph=True, dynamic=dynamic)


def test_the_wrappers_compile() -> None:
    _assert_same_compiled(_layer)


def test_a_compiled_network_equals_the_eager_one() -> None:
    net = _net()
    x = torch.rand(2, 4, 5, 5)
    torch._dynamo.reset()
    with torch.no_grad():
        assert torch.equal(torch.compile(net, backend="aot_eager")(x), net(x))


def _net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        CimConv2d(4, 6, 3, ao_bit=1, w_bit=1, adc_bit=1),
        nn.Hardtanh(),
        nn.Flatten(),
        CimLinear(54, 3, ao_bit=2, w_bit=1.5, adc_bit=3, bias=False),
    )


def test_meta_tensors_give_meta_tensors() -> None:
    y = _layer(*[t.to("meta") for t in _layer_operands()])
    assert (y.device.type, y.shape) == ("meta", (2, 6, 3, 3))


def test_inference_mode_and_no_grad_change_nothing() -> None:
    net = _net()
    x = torch.rand(2, 4, 5, 5)
    expected = net(x).detach()
    with torch.inference_mode():
        assert torch.equal(net(x.clone()), expected)
    with torch.no_grad():
        assert torch.equal(net(x), expected)


def test_inputs_are_not_changed() -> None:
    arguments = _adc_arguments()
    before = [a.clone() for a in arguments if isinstance(a, Tensor)]
    torch.ops.bnnkit.adc_conv2d(*arguments).sum().backward()
    for a, b in zip([a for a in arguments if isinstance(a, Tensor)], before, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("position", "replacement", "message"),
    [
        (0, torch.zeros(1, 2, 5, 6, 48), "x_bits: .*uint8"),
        (0, torch.zeros(1, 2, 5, 48, dtype=torch.uint8), r"x_bits: needed \[planes"),
        (0, torch.zeros(1, 2, 5, 6, 40, dtype=torch.uint8), "x_bits: has 40 bytes per pixel; 48 needed"),
        (0, torch.zeros(1, 2, 5, 6, 44, dtype=torch.uint8), "x_bits: rows must be whole 8-byte words"),
        (0, torch.zeros(5, 2, 5, 6, 48, dtype=torch.uint8), "needed 1 to 4 planes"),
        (1, torch.zeros(2, 4, 16, dtype=torch.uint8), "w_bits: has 16 bytes per row; 24 needed"),
        (1, torch.zeros(2, 5, 24, dtype=torch.uint8), "groups: must divide the output channels"),
        (5, torch.tensor([3, 2, 1], dtype=torch.int32), "thresholds: must ascend"),
        (5, torch.tensor([1, 2, 3]), "thresholds: .*int32"),
        (6, torch.tensor([1, 2, 3], dtype=torch.int32), "levels: needed one more than thresholds"),
        (6, torch.tensor([0, 1, 2, 2**31 - 1], dtype=torch.int32), "levels: sums over 3 arrays overflow"),
        (14, 9, "groups: must divide the channels"),
        (15, [3], "needed two integers each"),
        (15, [33, 32], "kernel: more than 1024 taps"),
        (20, 0, "channels_per_array: must be positive"),
    ],
)
def test_bad_packed_operands_are_refused(position: int, replacement: Any, message: str) -> None:
    arguments = list(_adc_arguments())
    arguments[position] = replacement
    with torch.no_grad(), pytest.raises(RuntimeError, match=message):
        torch.ops.bnnkit.adc_conv2d(*arguments)


@pytest.mark.parametrize(
    ("position", "replacement", "message"),
    [
        (0, torch.ones(2, 4, 3, 5), "gy: needed the size of the output"),
        (0, torch.ones(2, 4, 3, 4).double(), "gy: .*float32"),
        (0, torch.ones(2, 4, 4, 3).mT, "gy: is not contiguous"),
        (3, torch.ones(11), "slopes: cover partial sums up to 5; needed 54"),
        (3, torch.ones(109).double(), "slopes: .*float32"),
    ],
)
def test_bad_backward_arguments_are_refused(position: int, replacement: Any, message: str) -> None:
    arguments = list(_backward_arguments())
    arguments[position] = replacement
    with pytest.raises(RuntimeError, match=message):
        torch.ops.bnnkit.adc_conv2d_backward(*arguments)
