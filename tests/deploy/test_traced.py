"""Networks that no plan is written for: equal logits in torch and packed, and errors that name what is in the way."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnnkit import data, deploy
from bnnkit.cim import Adc, Array
from bnnkit.deploy.plans import PLANS
from bnnkit.errors import UsageError
from bnnkit.models import MODELS, create_model
from bnnkit.models.base import Model, ModelEntry
from bnnkit.nn import convert, set_adc
from bnnkit.train.evaluation import evaluate, evaluate_packed
from bnnkit.train.images import Preparation

from . import networks
from .converted import MEAN, STD, Block, Mlp, PlainCnn, PreActivation, SmallResNet, converted, images, torch_logits

CNN, RESNET, MLP, PRE = (3, 12, 16), (3, 12, 10), (3, 6, 5), (3, 8, 8)
NETWORKS = [
    (PlainCnn, CNN, {}),
    (PlainCnn, CNN, {"ao_bit": 2, "w_bit": 1.5, "adc_bit": 3}),
    (PlainCnn, CNN, {"activations": "keep", "ao_bit": 3, "adc_bit": 4}),
    (PlainCnn, CNN, {"exclude": "13", "adc_bit": "fp"}),
    (PlainCnn, CNN, {"keep_first_and_last": False, "adc_bit": 2}),
    (SmallResNet, RESNET, {"exclude": "*.downsample.*"}),
    (SmallResNet, RESNET, {"ao_bit": 2, "w_bit": 2, "adc_bit": 4}),
    (SmallResNet, RESNET, {"activations": "keep", "adc_bit": 2}),
    (SmallResNet, RESNET, {"overrides": {"layer1.1.downsample.0": {"ao_bit": 3}, "layer2.*": {"adc_bit": 3}}}),
    (Mlp, MLP, {}),
    (Mlp, MLP, {"ao_bit": 2, "w_bit": 4, "adc_bit": 1, "keep_first_and_last": False}),
    (PreActivation, PRE, {"adc_bit": 2}),
    (
        PreActivation,
        PRE,
        {"keep_first_and_last": False, "exclude": "fc2", "ao_bit": 1.5, "overrides": {"right": {"ao_bit": 4}}},
    ),
]


def packed(net: nn.Module, in_shape: tuple[int, int, int]) -> deploy.PackedNetwork:
    return deploy.compile(net, MEAN, STD, in_shape=in_shape)


@pytest.mark.parametrize(
    ("kind", "in_shape", "options"), NETWORKS, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_logits_equal_those_of_torch(kind, in_shape, options):
    torch.manual_seed(3)
    net = converted(kind(), in_shape, **options)
    stored = images(in_shape, 9, seed=2)
    expected = torch_logits(net, stored)
    assert len({tuple(row) for row in expected.tolist()}) > 5, "the test would not notice lost inputs"
    assert torch.equal(packed(net, in_shape)(stored), expected)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"in_shape": (1, 5, 5), "width": 1}),
        ("vgg9", {"in_shape": (3, 8, 8), "width": 1, "adc_bit": 2}),
        ("res20", {"in_shape": (3, 8, 8), "width": 1, "ao_bit": 2, "adc_bit": 3}),
    ],
)
def test_a_traced_model_equals_its_plan(name, options, monkeypatch):
    model = networks.network(name, **options)
    stored = networks.images(model, 4)
    planned = networks.packed(model)
    monkeypatch.delitem(PLANS._entries, name)
    traced = networks.packed(model)
    assert torch.equal(traced(stored), planned(stored))
    assert len(traced.steps) == len(planned.steps), "what follows a layer is part of its step"


def test_other_arrays_and_converters():
    net = converted(SmallResNet(), RESNET, exclude="*.downsample.*")
    stored, first = images(RESNET, 5), packed(net, RESNET)
    other = first.with_options(adc_bit=3)
    narrow = first.with_options(rows=32, mapping="tap")
    assert torch.equal(first(stored), torch_logits(net, stored))
    rearranged = converted(SmallResNet(), RESNET, exclude="*.downsample.*", array=Array(32, "tap"))
    rearranged.load_state_dict(net.state_dict())
    assert torch.equal(narrow(stored), torch_logits(rearranged, stored))
    set_adc(net, 3)
    assert torch.equal(other(stored), torch_logits(net, stored))
    assert torch.equal(deploy.run_together([first, other], stored)[1], other(stored))
    with pytest.raises(UsageError, match="option 'width'"):
        first.with_options(width=2)


def test_faults_of_a_layer():
    net = converted(SmallResNet(), RESNET, exclude="*.downsample.*")
    stored, first = images(RESNET, 5), packed(net, RESNET)
    name = "layer1.1.conv2"
    turned = first.with_faults(codes={name: 255 - first.weights.tensors[f"{name}.codes"]})
    net.get_submodule(name).weight.neg_()
    assert torch.equal(turned(stored), torch_logits(net, stored))
    hit = first.with_faults(layers={name: deploy.LayerFaults(deploy.InputFaults("flip", 0.5, state=1))})
    assert not torch.equal(hit(stored), first(stored))
    assert hit.take_hits()[0].faulty > 0


def test_a_data_set():
    digits, shape = data.load("digits"), (1, 8, 8)
    torch.manual_seed(1)
    net = convert(
        nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 10),
        ),
        ao_bit=2,
        adc_bit=2,
    )
    preparation, indices = Preparation.of(digits, shape), torch.arange(len(digits.test))
    with torch.no_grad():
        net(preparation(digits.train.images[:256]))  # for the normalizations
    expected = evaluate(net, digits.test, indices, preparation)
    run = deploy.compile(net, preparation.mean, preparation.std, in_shape=shape)
    [found] = evaluate_packed([run], digits.test, indices, preparation)
    assert torch.equal(found.logits, expected.logits)
    assert len({tuple(row) for row in found.logits.tolist()}) > 300


def test_layers_and_what_follows_them_are_one_step():
    net = converted(SmallResNet(), RESNET, exclude="*.downsample.*")
    names = [step.name for step in packed(net, RESNET).describe().steps]
    assert names == [
        "images",
        "conv1",
        "layer1.0.conv1",
        "layer1.0.conv2",
        "layer1.1.downsample.0",
        "layer1.1.conv1",
        "layer1.1.conv2",
        "layer2.conv1",
        "layer2.conv2",
        "avgpool",
        "fc",
    ]


def test_buffers_are_written_again():
    deep = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        *(Block(4, 4, 1) for _ in range(40)),
        nn.AvgPool2d(6),
        nn.Flatten(),
        nn.Linear(4, 3),
    )
    net = converted(deep, (3, 6, 6))
    stored = images((3, 6, 6), 3)
    run = packed(net, (3, 6, 6))
    assert torch.equal(run(stored), torch_logits(net, stored))
    assert len({step.finish.out for step in run.describe().steps}) < 8


class InPlace(nn.Module):
    """Changes values that are read again later, with and without saying so."""

    def __init__(self, forget: bool) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.act = nn.BatchNorm2d(6), nn.Hardtanh(inplace=True)
        self.fc, self.forget = nn.Linear(6, 3), forget

    def forward(self, x):
        x = self.norm(self.stem(x))
        shortcut = x
        if self.forget:
            self.act(x)
        else:
            x = self.act(x)
        x = self.conv(x)
        x += shortcut
        return self.fc(self.act(x).mean((2, 3)))


@pytest.mark.parametrize("forget", [False, True])
def test_operations_in_place(forget):
    net = converted(InPlace(forget), (3, 4, 4))
    stored = images((3, 4, 4), 6)
    expected, found = torch_logits(net, stored), packed(net, (3, 4, 4))(stored)
    # torch adds the floats of a functional mean in an order of its own.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert torch.equal(found.argmax(1), expected.argmax(1))


class Sums(nn.Module):
    """Sums of a value with itself, of operands computed in the other order, and of a view that was changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.other = nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 4)

    def forward(self, x):
        x = self.norm(self.a(x))
        x = x + x
        once = self.b(x)
        twice = self.other(self.c(x))
        total = once + twice
        twice.flatten(1).clamp_(-1, 1)
        return self.fc(self.pool(F.hardtanh(total) + twice).flatten(1))


@pytest.mark.parametrize("options", [{}, {"ao_bit": 2, "adc_bit": 3}])
def test_sums(options):
    net = converted(Sums(), (3, 5, 6), **options)
    stored = images((3, 5, 6), 8)
    assert torch.equal(packed(net, (3, 5, 6))(stored), torch_logits(net, stored))


def ends_with(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), *modules)


class Calls(nn.Module):
    """A network that ends with a function."""

    def __init__(self, function, layers=None):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.third = nn.Linear(32, 5)
        self.function = function

    def forward(self, x):
        return self.function(self, self.second(self.first(x)))


END = (nn.Flatten(), nn.Linear(32, 5))
REFUSED = [
    (ends_with(nn.Sigmoid(), *END), r"2 \(Sigmoid\) cannot run packed: supported are convolutions"),
    (ends_with(nn.Hardtanh(-2, 2), *END), r"2 \(Hardtanh\).*from -2 to 2; -1 to 1"),
    (ends_with(nn.BatchNorm2d(8, track_running_stats=False), *END), "no running statistics"),
    (ends_with(nn.Conv2d(8, 8, 3, padding=1, groups=2), *END), r"2 \(CimConv2d\).*groups 2"),
    (ends_with(nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), *END), "padding"),
    (ends_with(nn.MaxPool2d((2, 1)), *END), "2 x 1; squares are supported"),
    (ends_with(nn.MaxPool2d(3, ceil_mode=True), *END), "ceil_mode"),
    (ends_with(nn.MaxPool2d(3)), "leave 8x0x0|it leaves 8x0x0"),
    (ends_with(nn.AdaptiveAvgPool2d((2, 1)), *END), "leave 2 x 1"),
    (ends_with(nn.LSTM(2, 8), *END), "LSTM"),
    (ends_with(nn.Flatten(), nn.BatchNorm1d(32), nn.Linear(32, 5)), "32 features; it gets 8x2x2"),
    (ends_with(), "the output of Sequential.*leave 8x2x2; logits"),
    (Calls(lambda net, x: F.log_softmax(net.third(x.flatten(1)), 1)), "log_softmax"),
    (Calls(lambda net, x: net.third((x * 2).flatten(1))), r"mul \(mul\).*products of tensors"),
    (Calls(lambda net, x: net.third(x.flatten(1)) + 1), "something else than values of the network"),
    (Calls(lambda net, x: net.third(x.view(-1, 16))), r"a view as \[-1, 16\]; \[N, 32\] was needed"),
    (Calls(lambda net, x: net.third(net.second(net.second(F.pad(x, (2, 2, 2, 2)))).flatten(1))), "pad"),
    (Calls(lambda net, x: net.third(x.flatten(1)).relu() if x.sum() > 0 else x), "Calls cannot be traced"),
    (Calls(lambda net, x: (x.mul_(2), net.third(x.flatten(1)))[1]), r"mul_ \(mul_\)"),
    (Calls(lambda net, x: net.third(F.dropout(x).flatten(1))), "drops values in evaluation"),
    (Calls(lambda net, x: net.third(x)), "32 inputs; it gets pixels 8x2x2"),
]


@pytest.mark.parametrize(("network", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_in_the_way_is_named(network, message):
    net = convert(network, keep_first_and_last=False)
    with pytest.raises(UsageError, match=message):
        packed(net, (3, 6, 6))


def test_a_kernel_of_too_many_taps_is_named():
    net = convert(
        nn.Sequential(nn.Conv2d(3, 4, 33), nn.Flatten(), nn.Linear(4, 5)), adc_bit="fp", keep_first_and_last=False
    )
    with pytest.raises(UsageError, match="a kernel of 1,089 taps; at most 1,024"):
        packed(net.eval(), (3, 33, 33))


def test_networks_of_other_sizes_run_together_one_after_the_other():
    def mlp(*sizes):
        # Buffers are numbered by layer: as many logits as hidden values, so that the networks may share them.
        pairs = list(zip((90, *sizes), (*sizes, 10), strict=True))
        layers = [part for pair in pairs for part in (nn.Linear(*pair), nn.BatchNorm1d(pair[1]), nn.Hardtanh())]
        net = convert(nn.Sequential(nn.Flatten(), *layers[:-2]), keep_first_and_last=False)
        return packed(net.eval(), MLP)

    torch.manual_seed(5)
    first, wide, long = mlp(10), mlp(10, 10, 16, 20, 3000), mlp(10, 10, 16, 2500, 50)
    stored = images(MLP, 9, seed=1)
    deploy.run_together([first, wide], stored)
    assert torch.equal(deploy.run_together([first, long], stored)[1], long(stored))


def test_the_shape_of_the_images():
    net = converted(SmallResNet(), RESNET)
    with pytest.raises(UsageError, match="the shape of its images was needed"):
        deploy.compile(net, MEAN, STD)
    with pytest.raises(UsageError, match="a mean per channel"):
        deploy.compile(net, MEAN, STD, in_shape=(1, 8, 8))
    model = create_model("mlp", in_shape=(1, 8, 8))
    with pytest.raises(UsageError, match=r"the model's is \(1, 8, 8\)"):
        deploy.compile(model, (0.5,), (0.2,), in_shape=(1, 9, 9))


def test_a_network_without_arrays():
    with pytest.raises(UsageError, match="SmallResNet cannot be packed: it has no layer on arrays"):
        packed(SmallResNet(), RESNET)


def test_a_layer_called_twice():
    layer = nn.Linear(6, 6)
    net = convert(nn.Sequential(nn.Flatten(), layer, layer), keep_first_and_last=False)
    with pytest.raises(UsageError, match=r"1 \(CimLinear\) cannot run packed: it is called twice"):
        packed(net, (3, 2, 1))


def test_a_network_of_another_class_has_no_file(tmp_path):
    run = packed(converted(SmallResNet(), RESNET), RESNET)
    with pytest.raises(UsageError, match="SmallResNet is no model that bnnkit can build again"):
        deploy.save(run.weights, tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


class Registered(Model):
    """A model of the registry for which no plan is written."""

    def __init__(self, settings):
        super().__init__(settings)
        self.body = nn.Sequential(
            nn.Conv2d(settings.in_shape[0], 8, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.Hardtanh(),
            settings.conv(8, 8),
            nn.BatchNorm2d(8),
            nn.Hardtanh(),
            nn.Flatten(),
            nn.Linear(8 * 6 * 6, settings.classes),
        )

    def forward(self, x):
        return self.body(x)


def test_a_registered_model_needs_no_plan_and_has_a_file(tmp_path, monkeypatch):
    entry = ModelEntry(Registered, "for a test", "digits", (1, 8, 8), 1)
    monkeypatch.setitem(MODELS._entries, "registered", entry)
    model = networks.network("registered", adc_bit=2)
    stored = networks.images(model, 5)
    run = networks.packed(model)
    assert torch.equal(run(stored), networks.torch_logits(model, stored))
    deploy.save(run.weights, tmp_path / "net.safetensors")
    again = deploy.PackedNetwork(deploy.load(tmp_path / "net.safetensors"))
    assert torch.equal(again(stored), run(stored))


def test_converters_put_in_afterwards_are_those_that_run():
    model = networks.network("res20", width=1, in_shape=(3, 8, 8))
    layer = model.get_submodule("stages.1.0.conv1")
    layer.adc = Adc.from_table([-40.0, 3.0, 50.0], [-90.0, -20.0, 20.0, 90.0], 128)
    stored = images((3, 8, 8), 9)
    expected = torch_logits(model, stored)
    assert torch.equal(deploy.compile(model, MEAN, STD)(stored), expected)
    layer.adc_bit = 1
    assert not torch.equal(deploy.compile(model, MEAN, STD)(stored), expected)


def test_models_that_cannot_be_traced_say_so():
    class Doubled(Model):
        def __init__(self, settings):
            super().__init__(settings)
            self.first, self.last = settings.linear(64, 40), nn.Linear(80, settings.classes)

        def forward(self, x):
            x = self.first(x.flatten(1))
            return self.last(torch.cat([x, x], 1))

    model = networks.network("mlp", in_shape=(1, 8, 8))
    assert deploy.why_not(model) is None
    strange = Doubled(replace(model.settings, name="doubled")).eval()
    assert "cat" in str(deploy.why_not(strange))
