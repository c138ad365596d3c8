"""FracBNN: its input code, shortcuts and blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnkit.errors import UsageError
from bnnkit.models import MODELS, create_model
from bnnkit.models.fracbnn import FracBnn, FractionalBlock, Shortcut, Thermometer
from bnnkit.nn import Backend, CimConv2d, GatedConv2d, backend, clamp_latent, gated_layers, take_gates
from bnnkit.reference import thermometer
from bnnkit.train.precision import repeatable

BYTES = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)


def drawn(name: str = "fracbnn20", seed: int = 1, **options: Any) -> FracBnn:
    """Return a network with random parameters, normalizations included."""
    torch.manual_seed(seed)
    model = create_model(name, **{"in_shape": (3, 8, 8), **options})
    assert isinstance(model, FracBnn)
    for key, parameter in model.named_parameters():
        if key.endswith((".bias_in", ".bias_out", ".threshold", "norm.bias")):
            nn.init.normal_(parameter)
        elif key.endswith((".slope", "norm.weight")):
            nn.init.uniform_(parameter, -1.5, 1.5)
    with torch.no_grad():
        model.train()(torch.rand(8, *model.settings.in_shape))
    return model.eval()


# The input code


def test_every_byte_lights_as_many_planes_as_it_has_eighths() -> None:
    code = thermometer(BYTES)
    assert code.shape == (1, 32, 16, 16)
    assert code.unique().tolist() == [-1, 1]
    planes = code.flatten(2)[0] > 0
    # Python rounds halves to even, too: 4 lights none, 12 lights two, 252 lights 32.
    assert planes.sum(0).tolist() == [round(byte / 8) for byte in range(256)]
    assert all(planes[: int(planes[:, byte].sum()), byte].all() for byte in range(256)), "from the first plane on"


def test_planes_of_a_channel_lie_together() -> None:
    image = torch.tensor([0, 255, 80], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = [-1.0] * 32 + [1.0] * 32 + [1.0] * 10 + [-1.0] * 22
    assert thermometer(image).flatten().tolist() == expected


def test_pixels_in_0_to_1_are_the_bytes_they_came_from() -> None:
    assert torch.equal(Thermometer()(BYTES.float() / 255), thermometer(BYTES))
    assert torch.equal(Thermometer()(BYTES.double() / 255), thermometer(BYTES))
    assert torch.equal(Thermometer()((BYTES.float() + 0.3) / 255), thermometer(BYTES)), "what is between is rounded"


@pytest.mark.parametrize("name", ["fracbnn20", "fracbnn_imagenet"])
def test_images_are_not_normalized(name: str) -> None:
    assert not MODELS.get(name).normalized
    assert MODELS.get("res20").normalized


# Shortcuts and blocks


def nearest(x: Tensor, bits: int) -> Tensor:
    levels = torch.linspace(-1, 1, 2**bits)
    return levels[(x.unsqueeze(-1) - levels).abs().argmin(-1)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("stride", "repeats", "quantized"), [(1, 1, True), (2, 2, False), (2, 1, True), (1, 2, True)])
def test_shortcuts(stride: int, repeats: int, quantized: bool, training: bool) -> None:
    x = torch.randn(2, 3, 4, 6)
    expected = nearest(x, 4) if quantized else x
    if stride == 2:
        expected = sum(expected[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4  # type: ignore[assignment]
    expected = torch.cat([expected] * repeats, 1)
    found = Shortcut(stride, repeats, quantized).train(training)(x)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_gradients_of_a_quantized_shortcut_pass_inside_its_range() -> None:
    x = torch.tensor([-1.5, -1.0, -0.3, 0.0, 0.9, 1.0, 2.0]).view(1, 1, 1, 7).requires_grad_()
    Shortcut(1, 1, True)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0, 0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("adc_bit", ["fp", 2])
@pytest.mark.parametrize("name", ["fracbnn20", "fracbnn_imagenet"])
def test_blocks_compute_what_they_say(name: str, adc_bit: Any) -> None:
    model = drawn(name, in_shape=(3, 32, 32) if name == "fracbnn_imagenet" else (3, 8, 8), adc_bit=adc_bit)
    kinds = set()
    for block in (module for module in model.modules() if isinstance(module, FractionalBlock)):
        activation, conv = block.activation, block.conv
        kind = (conv.kernel_size[0], block.shortcut.stride, block.shortcut.repeats)
        if kind in kinds:
            continue
        kinds.add(kind)
        x = torch.randn(2, conv.in_channels, 4, 4)
        v = block.norm(conv(x)) + activation.bias_in.view(1, -1, 1, 1)
        v = torch.where(v > 0, v, v * activation.slope.view(1, -1, 1, 1)) + activation.bias_out.view(1, -1, 1, 1)
        expected = block.shift_norm(v + block.shortcut(x))
        assert torch.allclose(block(x), expected, rtol=1e-4, atol=1e-4)
        assert (block.shortcut.quantizer is not None) == (name == "fracbnn_imagenet")
    three, one = (3, 1, 1), (1, 1, 1)
    assert kinds == ({three, (3, 2, 2)} if name == "fracbnn20" else {three, one, (3, 2, 1), (1, 1, 2)})


# Networks


def test_shapes_of_the_published_networks() -> None:
    small, large = create_model("fracbnn20"), create_model("fracbnn_imagenet", classes=1000)
    assert isinstance(small, FracBnn)
    assert isinstance(large, FracBnn)
    assert [layer.out_channels for layer in gated_layers(small)] == [16] * 6 + [32] * 6 + [64] * 6
    assert (small.stem.in_channels, small.stem.stride) == (96, (1, 1))
    assert (large.stem.out_channels, large.stem.stride) == (32, (2, 2))
    pointwise = [layer.out_channels for layer in gated_layers(large) if layer.kernel_size == (1, 1)]
    assert pointwise == [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    assert sum(layer.stride == (2, 2) for layer in gated_layers(large)) == 4
    assert large.classifier.out_features == 1000


@pytest.mark.parametrize(
    ("name", "sides", "multiple"),
    [("fracbnn20", (6, 8), 4), ("fracbnn20", (8, 31), 4), ("fracbnn_imagenet", (48, 32), 32)],
)
def test_impossible_sides_are_refused(name: str, sides: tuple[int, int], multiple: int) -> None:
    with pytest.raises(UsageError, match=f"multiples of {multiple} were needed"):
        create_model(name, in_shape=(3, *sides))


def test_a_network_is_its_layers_in_order() -> None:
    model = drawn(adc_bit=2)
    stored = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        x = model.stem_norm(model.stem(thermometer(stored)))
        for block in (module for module in model.modules() if isinstance(module, FractionalBlock)):
            x = block(x)
        expected = F.linear(x.mean((2, 3)), model.classifier.weight, model.classifier.bias)
        assert torch.equal(model(stored.float() / 255), expected)
    assert len({tuple(row) for row in expected.tolist()}) == 3


def test_the_first_layer_is_binary() -> None:
    model = drawn()
    stem = model.stem
    assert type(stem) is CimConv2d
    assert (stem.ao_bit, stem.w_bit, stem.bias) == (1, 1, None)
    with torch.no_grad():
        stem.weight.copy_(torch.linspace(-2, 2, stem.weight.numel()).view(stem.weight.shape))
    code = thermometer(torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)).requires_grad_()
    sums = stem(code)
    assert torch.equal(sums, F.conv2d(code, torch.where(stem.weight >= 0, 1.0, -1.0), None, 1, 1))
    (sums * torch.randn_like(sums)).sum().backward()
    assert stem.weight.grad is not None
    assert torch.equal(stem.weight.grad != 0, stem.weight.abs() <= 1.3)
    before = stem.weight.detach().clone()
    clamp_latent(model)
    assert torch.equal(stem.weight, before)


@pytest.mark.parametrize("adc_bit", ["fp", 3])
def test_other_images_of_a_batch_and_backends_do_not_matter(adc_bit: Any) -> None:
    model = drawn(adc_bit=adc_bit)
    x = torch.randint(0, 256, (5, 3, 8, 8)).float() / 255
    backends: list[Backend] = ["auto", "torch", "reference"]
    with torch.no_grad(), repeatable(model):
        expected = model(x)
        gates = take_gates(model)
        assert torch.equal(torch.cat([model(image[None]) for image in x]), expected)
        assert take_gates(model) == gates
        for used in backends:
            with backend(used):
                assert torch.equal(model(x), expected)
                assert take_gates(model) == gates


def test_full_precision_uses_plain_convolutions() -> None:
    model = create_model("fracbnn20", ao_bit="fp", w_bit="fp", in_shape=(3, 8, 8))
    assert not any(isinstance(layer, CimConv2d | GatedConv2d) for layer in model.modules())
    assert model(torch.rand(2, 3, 8, 8)).shape == (2, 10)
