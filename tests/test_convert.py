"""Any torch network on arrays: what is converted and what is not, with which weights; errors that name the layer."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import bnnkit
from bnnkit.cim import Array
from bnnkit.errors import UsageError
from bnnkit.nn import CimConv2d, CimLinear, backend, clamp_latent, convert, converted_layers


class Own(nn.Conv2d):
    """A convolution with a name of its own."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)


class Doubled(nn.Linear):
    """A linear layer that computes something else."""

    def forward(self, x):
        return 2 * super().forward(x)


def small(**middle: nn.Module) -> nn.Sequential:
    """Return a network of three convolutions and a classifier, with `middle` added."""
    body = nn.Sequential()
    body.add_module("conv", nn.Conv2d(8, 12, 3, stride=2, padding=(1, 0), dilation=(1, 2), groups=4, bias=False))
    body.add_module("norm", nn.BatchNorm2d(12))
    body.add_module("relu", nn.ReLU(inplace=True))
    net = nn.Sequential()
    net.add_module("stem", nn.Conv2d(3, 8, 3, padding="same"))
    net.add_module("act", nn.ReLU())
    net.add_module("body", body)
    for name, module in middle.items():
        net.add_module(name, module)
    net.add_module("own", Own(12, 6))
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flat", nn.Flatten())
    net.add_module("fc", nn.Linear(6, 10))
    return net


def names(net: nn.Module) -> list[str]:
    return [layer.name for layer in converted_layers(net)]


def test_first_and_last_layer_stay_and_the_original_too():
    net = small()
    before = copy.deepcopy(net.state_dict())
    found = bnnkit.convert(net, adc_bit=2, array=Array(64))
    assert names(found) == ["body.conv", "own"]
    assert names(net) == [] and isinstance(net.act, nn.ReLU)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert found.state_dict().keys() == before.keys(), "checkpoints of the original have the same names"
    assert torch.equal(found.stem.weight, net.stem.weight)
    with backend("reference"):
        assert found(torch.randn(2, 3, 9, 9)).shape == (2, 10)


def test_all_layers():
    found = convert(small(), keep_first_and_last=False)
    assert names(found) == ["stem", "body.conv", "own", "fc"]
    assert found.stem.padding == (1, 1), "'same' as pixels"
    conv = found.body.conv
    assert (conv.stride, conv.padding, conv.dilation, conv.groups) == ((2, 2), (1, 0), (1, 2), 4)
    assert conv.bias is None and type(found.own) is CimConv2d and type(found.fc) is CimLinear


def test_latent_weights():
    net = small().requires_grad_(False)
    with torch.no_grad():
        net.own.weight[0, 0, 0, 0] = 50.0
        net.own.bias.fill_(-70.0)
        net.fc.weight.zero_()
    found = convert(net, keep_first_and_last=False, overrides={"stem": {"w_bit": "fp", "adc_bit": "fp"}})
    rms = net.own.weight.square().mean().sqrt()
    torch.testing.assert_close(found.own.weight, (net.own.weight / (3 * rms)).clamp(-1, 1))
    assert found.own.weight.max() == 1 and found.own.bias.min() == -1
    assert torch.equal(found.stem.weight, net.stem.weight), "weights in full precision stay as they are"
    assert torch.equal(found.fc.weight, net.fc.weight), "nothing to divide by"
    assert not any(p.requires_grad for p in found.parameters())
    assert all(p.requires_grad for p in convert(small()).parameters())


def test_activations_and_poolings():
    found = convert(small())
    assert [type(m) for m in (found.act, found.body.relu)] == [nn.Hardtanh] * 2
    assert found.body.relu.inplace and not found.act.inplace
    kept = convert(small(), activations="keep")
    assert isinstance(kept.act, nn.ReLU)
    assert isinstance(found.pool, bnnkit.nn.AdaptiveAvgPool2d) and found.pool.output_size == 1
    part = convert(small(), include="body.*")
    assert isinstance(part.act, nn.ReLU) and isinstance(part.body.relu, nn.Hardtanh)
    beside = convert(small(), include="body.conv")
    assert isinstance(beside.body.relu, nn.Hardtanh)
    assert isinstance(convert(small(), exclude="act").act, nn.ReLU)


@pytest.mark.parametrize("layer", [bnnkit.nn.AvgPool2d(2), bnnkit.nn.AdaptiveAvgPool2d(2)])
def test_poolings_are_torchs(layer):
    x = torch.randn(2, 3, 4, 4)
    expected = nn.AvgPool2d(2)(x)
    assert torch.equal(layer.train()(x), expected)
    torch.testing.assert_close(layer.eval()(x), expected)
    assert layer(x).dtype == torch.float32


def test_overrides():
    found = convert(
        small(),
        adc_bit=2,
        overrides={"*": {"ao_bit": 2}, "body.*": {"adc_bit": 3, "array": Array(32, "tap"), "value_gradient": "iga"}},
    )
    by_name = {layer.name: layer for layer in converted_layers(found)}
    assert (by_name["own"].ao_bit, by_name["own"].adc_bit) == (2, 2)
    assert (by_name["body.conv"].ao_bit, by_name["body.conv"].adc_bit) == (2, 3)
    assert by_name["body.conv"].arrays == 9 * 4, "nine taps in each of four groups"
    assert found.body.conv.array == Array(32, "tap") and found.body.conv.activation.gradient == "iga"
    assert str(by_name["own"]) == "own: conv 3x3 12 -> 6, ao 2, w 1, adc 2, 1 arrays"


def test_shared_modules_stay_shared():
    act = nn.ReLU()
    block = nn.Sequential(nn.Linear(4, 4), act)
    found = convert(nn.Sequential(nn.Linear(4, 4), act, block, block, nn.Linear(4, 2)))
    assert found[2] is found[3] and found[1] is found[2][1]
    assert isinstance(found[2][0], CimLinear) and isinstance(found[1], nn.Hardtanh)


def test_in_place():
    net = small()
    assert convert(net, inplace=True) is net
    assert names(net) == ["body.conv", "own"]


def test_nothing_is_changed_when_a_layer_cannot_be_built():
    net = small()
    with pytest.raises(UsageError, match=r"layer body\.conv: array: 1 channels of a 3x3 kernel need 9 rows"):
        convert(net, array=Array(4), inplace=True)
    assert names(net) == []


def test_a_layer_itself():
    assert isinstance(convert(nn.Linear(4, 2), keep_first_and_last=False), CimLinear)


OTHERS = {
    "transposed": (nn.ConvTranspose2d(12, 12, 2), "a ConvTranspose2d; a Conv2d or Linear was needed"),
    "reflecting": (nn.Conv2d(12, 12, 3, padding_mode="reflect"), "padding_mode 'reflect'"),
    "uneven": (nn.Conv2d(12, 12, 2, padding="same"), "padding 'same' that differs"),
    "doubled": (Doubled(12, 12), "a Doubled with a forward of its own"),
    "lazy": (nn.LazyLinear(3), "lazy and without weights"),
    "normed": (nn.utils.parametrizations.weight_norm(nn.Linear(12, 12)), "with a weight that is computed"),
    "doubles": (nn.Linear(12, 12).double(), "float32 was needed"),
    "quantized": (CimLinear(12, 12, ao_bit=1, w_bit=1, adc_bit=1), "a CimLinear, which has quantized"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_converted_is_left_alone_or_named(name):
    layer, reason = OTHERS[name]
    net = small(**{name: layer})
    found = convert(net)
    assert type(found.get_submodule(name)) is type(layer)
    with pytest.raises(UsageError, match=f"layer {name} is .*{reason}") as raised:
        convert(net, include=["body.*", name])
    assert raised.value.hint == f"exclude='{name}'"


def test_layers_that_others_look_into_are_left_alone():
    attention = nn.MultiheadAttention(12, 2)
    tied = nn.Linear(12, 12)
    tied.weight = attention.out_proj.weight
    hooked = nn.Linear(12, 12)
    hooked.register_forward_hook(lambda layer, inputs, output: None)
    found = convert(small(attention=attention, tied=tied, hooked=hooked))
    assert names(found) == ["body.conv", "own"]
    for name, reason in (("attention.out_proj", "MultiheadAttention"), ("tied", "another layer"), ("hooked", "hooks")):
        with pytest.raises(UsageError, match=reason):
            convert(small(attention=attention, tied=tied, hooked=hooked), include=name)


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"include": "owm"}, "include 'owm' names no layer", "did you mean 'own'?"),
        ({"include": "body"}, "include 'body' names no layer", "did you mean 'body.*'?"),
        ({"include": ["own", "norm*"]}, "include 'norm*' names no layer", "layers: stem, body.conv, own, fc"),
        ({"exclude": "fcs"}, "exclude 'fcs' names no layer", "did you mean 'fc'?"),
        ({"overrides": {"bodi.conv": {}}}, "overrides 'bodi.conv' names no layer", "did you mean 'body.conv'?"),
        ({"overrides": {"fc": {}}}, "overrides 'fc' names no layer that is converted", "converted are: body.conv, own"),
        ({"overrides": {"own": {"adcbit": 2}}}, "unknown option 'adcbit'", "did you mean 'adc_bit'?"),
        ({"include": "fc"}, "no layer is left to convert (its first and last layer, fc and stem", None),
        ({"activations": "relu"}, "activations 'relu'; hardtanh or keep was needed", None),
        ({"ao_bit": 7}, "7", None),
        ({"adc_bit": 0}, "0", None),
    ],
)
def test_mistakes(options, message, hint):
    with pytest.raises(UsageError) as raised:
        convert(small(), **options)
    assert message in raised.value.message
    assert hint is None or raised.value.hint == hint


def test_a_network_without_such_layers():
    with pytest.raises(UsageError, match="no Conv2d or Linear"):
        convert(nn.Sequential(nn.ReLU()))


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_it_learns_through_the_converters(one_thread):
    torch.manual_seed(0)
    layers = [nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()]
    net = convert(nn.Sequential(*layers, nn.Linear(64, 2)), adc_bit=2, array=Array(32))
    x = torch.randn(256, 20)
    labels = (x[:, 0] * x[:, 1] > 0).long()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    with backend("torch"):
        for _ in range(60):
            loss = nn.functional.cross_entropy(net(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            clamp_latent(net)
            losses.append(loss.item())
    assert net[3].weight.grad is not None and net[3].weight.abs().max() <= 1
    assert losses[-1] < 0.6 * losses[0]
