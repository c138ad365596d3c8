"""State dictionaries as the origins name them, for the tests of importing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bnnkit import importers
from bnnkit.models import Model
from bnnkit.nn import BitSerial


def origin_mlp(hidden: int = 512, pixels: int = 784) -> dict[str, Tensor]:
    layers = {"fc1": (hidden, pixels), "fc2": (hidden, hidden), "fc3": (hidden, hidden), "fc6": (10, hidden)}
    state: dict[str, Tensor] = {}
    for name, (out, inputs) in layers.items():
        state[f"{name}.weight"] = torch.randn(out, inputs)
        state[f"{name}.bias"] = torch.randn(out)
    for name in ("bn1", "bn2", "bn3"):
        for field in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{field}"] = torch.randn(hidden)
        state[f"{name}.num_batches_tracked"] = torch.tensor(3)
    return state


def origin_vgg9(model: Model) -> dict[str, Tensor]:
    names = {f"{new}.": f"{old}." for old, new in importers.bnn_iga._VGG9_LAYERS.items()}
    state = {}
    for key, value in model.state_dict().items():
        prefix = max((n for n in names if key.startswith(n)), key=len)
        state[names[prefix] + key.removeprefix(prefix)] = torch.randn(value.shape)
    return state


def rram_vgg7() -> Iterator[tuple[str, str]]:
    """Name every layer as the origin does, which counts its modules, and as bnnkit does."""
    place = 0
    for i in range(6):
        yield f"features.{place}", f"features.{i}.conv"
        yield f"features.{place + 1}", f"features.{i}.norm"
        place += 4 if i % 2 else 3  # convolution, norm, ReLU, and every other time a pooling
    yield from {"classifier.0": "hidden", "classifier.1": "hidden_norm", "classifier.3": "classifier"}.items()


def rram_resnet20() -> Iterator[tuple[str, str]]:
    yield from {"conv_1_3x3": "stem", "bn_1": "stem_norm", "classifier": "classifier"}.items()
    for stage in range(3):
        for i in range(3):
            for old, new in {"conv_a": "conv1", "bn_a": "norm1", "conv_b": "conv2", "bn_b": "norm2"}.items():
                yield f"stage_{stage + 1}.{i}.{old}", f"stages.{stage}.{i}.{new}"
        for part in range(2 if stage else 0):
            yield f"stage_{stage + 1}.0.downsample.{part}", f"stages.{stage}.0.shortcut.{part}"


def rram_resnet18() -> Iterator[tuple[str, str]]:
    yield from {"conv1": "stem", "bn1": "stem_norm", "linear": "classifier"}.items()
    for stage in range(4):
        for i in range(2):
            for old, new in {"conv1": "conv1", "bn1": "norm1", "conv2": "conv2", "bn2": "norm2"}.items():
                yield f"layer{stage + 1}.{i}.{old}", f"stages.{stage}.{i}.{new}"
        for part in range(2 if stage else 0):
            yield f"layer{stage + 1}.0.shortcut.{part}", f"stages.{stage}.0.shortcut.{part}"


RRAM = {"vgg7": (rram_vgg7, 8), "resnet20": (rram_resnet20, 20), "resnet18": (rram_resnet18, 21)}
"""Layers by network, and how many of them own the range of a quantizer in the origin, used or not."""


def origin_rram(model: Model, alpha_shape: tuple[int, ...] = ()) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a state dictionary of the origin and what `model` should then hold."""
    generator = torch.Generator().manual_seed(1)
    origin: dict[str, Tensor] = {}
    expected: dict[str, Tensor] = {}
    for old, new in RRAM[model.settings.name][0]():
        layer = model.get_submodule(new)
        for field, value in layer.state_dict().items():
            drawn = torch.randint(1, 99, value.shape, generator=generator).to(value.dtype)
            expected[f"{new}.{field}"] = drawn
            if field != "activation.alpha":
                origin[f"{old}.{field}"] = drawn
        if isinstance(layer, BitSerial):
            alpha = expected.get(f"{new}.activation.alpha", torch.tensor(10.0))
            origin[f"{old}.act_quant.act_alpha"] = alpha.reshape(alpha_shape)
    return origin, expected


def reactnet_names(model: Model) -> Iterator[tuple[str, str]]:
    """Name every parameter of a ReActNet-18 or -34 as the origin does, and as bnnkit does."""
    yield from {"conv1.weight": "stem.weight", "conv1.gain": "stem.gain"}.items()
    parts = {
        "move0.bias": "offset",
        "conv1.weight": "conv.weight",
        "conv1.gain": "conv.gain",
        "move1.bias": "activation.bias_in",
        "prelu.L_alpha": "activation.log2_slope",
        "move2.bias": "activation.bias_out",
    }
    for stage, blocks in enumerate([4, 4, 4, 4] if model.settings.name == "reactnet18" else [6, 8, 12, 6]):
        for i in range(blocks):
            for old, new in parts.items():
                yield f"layer{stage + 1}.{i}.{old}", f"stages.{stage}.{i}.{new}"
        for field in ("weight", "gain") if stage else ():
            yield f"layer{stage + 1}.0.downsample.1.{field}", f"stages.{stage}.0.shortcut_conv.{field}"
    yield from {"fc.weight": "classifier.weight", "fc.bias": "classifier.bias"}.items()


def reactnet_a_names(model: Model) -> Iterator[tuple[str, str]]:
    """The same for ReActNet-A, where a layer is a pair of blocks; pointwise convolutions are still in one piece."""
    yield from {"feature.0.conv1.weight": "stem.weight", "feature.0.conv1.gain": "stem.gain"}.items()
    for pair in range(13):
        for half, conv in enumerate(("binary_3x3", "binary_pw")):
            old, new = f"feature.{pair + 1}", f"stages.{pair}.{half}"
            yield f"{old}.move{half + 1}1.bias", f"{new}.offset"
            yield f"{old}.{conv}.weight", f"{new}.conv.weight"
            yield f"{old}.{conv}.gain", f"{new}.conv.gain"
            yield f"{old}.move{half + 1}2.bias", f"{new}.activation.bias_in"
            yield f"{old}.prelu{half + 1}.L_alpha", f"{new}.activation.log2_slope"
            yield f"{old}.move{half + 1}3.bias", f"{new}.activation.bias_out"
    yield from {"fc.weight": "classifier.weight", "fc.bias": "classifier.bias"}.items()


def fracbnn20_names(model: Model) -> Iterator[tuple[str, str]]:
    """Name every layer and activation of FracBNN's ResNet-20, whose blocks hold two of bnnkit's."""
    yield from {"conv1": "stem", "bn1": "stem_norm", "linear": "classifier"}.items()
    for stage in range(3):
        for i in range(3):
            for half in range(2):
                old, new = f"layer{stage + 1}.{i}", f"stages.{stage}.{2 * i + half}"
                yield f"{old}.conv{half + 1}", f"{new}.conv"
                yield f"{old}.bn{half + 1}", f"{new}.norm"
                yield f"{old}.rprelu{half + 1}", f"{new}.activation"
                yield f"{old}.bn{half + 3}", f"{new}.shift_norm"


def fracbnn_imagenet_names(model: Model) -> Iterator[tuple[str, str]]:
    """The same for FracBNN's ImageNet network."""
    yield from {"model.0.0": "stem", "model.0.1": "stem_norm", "fc": "classifier"}.items()
    for pair in range(13):
        for half, conv in enumerate(("conv3x3", "pointwise")):
            old, new = f"model.{pair + 1}", f"stages.{pair}.{half}"
            yield f"{old}.{conv}.0", f"{new}.conv"
            yield f"{old}.{conv}.1", f"{new}.norm"
            yield f"{old}.rprelu{half + 1}", f"{new}.activation"
            yield f"{old}.shiftbn{half + 1}", f"{new}.shift_norm"


def random_state(model: Model) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        key: torch.randint(1, 99, value.shape, generator=generator).to(value.dtype)
        for key, value in model.state_dict().items()
    }


def origin_ab_bnn(model: Model) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a state dictionary of the origin and what `model` should then hold."""
    expected = random_state(model)
    names = reactnet_a_names if model.settings.name == "reactnetA" else reactnet_names
    origin: dict[str, Tensor] = {}
    for old, new in names(model):
        value = expected[new]
        doubles = ".binary_pw." in old and 2 * expected[new.replace("gain", "weight")].shape[1] == len(value)
        if old.endswith(".bias") and old != "fc.bias":
            origin[old] = value.view(1, -1, 1, 1)
        elif doubles:  # two convolutions whose outputs are concatenated
            for number, half in enumerate(value.chunk(2)):
                origin[old.replace("binary_pw", f"binary_pw_down{number + 1}")] = half
        else:
            origin[old] = value
    return origin, expected


def origin_fracbnn(model: Model) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a state dictionary of the origin and what `model` should then hold."""
    expected = random_state(model)
    small = model.settings.name == "fracbnn20"
    fields = {"bias_in": "shift_x.bias", "slope": "prelu.weight", "bias_out": "shift_y.bias"}
    origin: dict[str, Tensor] = {}
    for old, new in (fracbnn20_names if small else fracbnn_imagenet_names)(model):
        for field in model.get_submodule(new).state_dict():
            value = expected[f"{new}.{field}"]
            is_map = field in ("bias_in", "bias_out", "threshold")
            origin[f"{old}.{fields.get(field, field)}"] = value.view(1, -1, 1, 1) if is_map else value
    origin["encoder.placeholder"] = torch.zeros(2, 3, 32, 8, 8)
    if not small:
        origin |= {"teacher.layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1), "teacher.fc.bias": torch.zeros(1000)}
        origin |= {"img_mean": torch.zeros(1, 3, 1, 1), "img_std": torch.ones(1, 3, 1, 1)}
    return origin, expected


def origin_cnv(model: Model) -> dict[str, Tensor]:
    """Return a state dictionary with what brevitas keeps of its quantizers, and the last norm without its counter."""
    names = {f"{new}.": f"{old}." for old, new in importers.cnv._LAYERS.items()}
    state = {"conv_features.0.act_quant.fused_activation_quant_proxy.scale": torch.tensor(1.0)}
    for key, value in random_state(model).items():
        prefix = max((n for n in names if key.startswith(n)), key=len)
        state[names[prefix] + key.removeprefix(prefix)] = value
    del state["linear_features.7.num_batches_tracked"]
    return state


def origin_resnet(model: Model) -> dict[str, Tensor]:
    """Return a state dictionary of BNN-IGA's residual networks, with the normalization that they never use."""
    layers = {new: old for old, new in importers.bnn_iga._RESNET_LAYERS.items()}
    parts = {new: old for old, new in importers.bnn_iga._RESNET_PARTS.items()}
    state: dict[str, Tensor] = {}
    for key, value in random_state(model).items():
        layer, _, field = key.rpartition(".")
        if layer in layers:
            state[f"{layers[layer]}.{field}"] = value
        else:
            _, stage, index, part = layer.split(".", 3)
            state[f"layer{int(stage) + 1}.{index}.{parts[part]}.{field}"] = value
    last = 2 if model.settings.name == "res20" else 1
    return {**state, f"layer3.{last}.bn2.weight": torch.ones(64 * model.settings.width)}


NAMERS: dict[str, tuple[str, Callable[[Model], dict[str, Tensor]]]] = {
    "mlp": ("bnn-iga", lambda model: origin_mlp(model.settings.width * 128, model.config["in_shape"][-1] ** 2)),
    "vgg9": ("bnn-iga", lambda model: origin_vgg9(model)),
    "res18": ("bnn-iga", lambda model: origin_resnet(model)),
    "res20": ("bnn-iga", lambda model: origin_resnet(model)),
    "vgg7": ("rram", lambda model: origin_rram(model)[0]),
    "resnet20": ("rram", lambda model: origin_rram(model)[0]),
    "resnet18": ("rram", lambda model: origin_rram(model)[0]),
    "reactnet18": ("ab-bnn", lambda model: origin_ab_bnn(model)[0]),
    "reactnet34": ("ab-bnn", lambda model: origin_ab_bnn(model)[0]),
    "reactnetA": ("ab-bnn", lambda model: origin_ab_bnn(model)[0]),
    "fracbnn20": ("fracbnn", lambda model: origin_fracbnn(model)[0]),
    "fracbnn_imagenet": ("fracbnn", lambda model: origin_fracbnn(model)[0]),
    "cnv": ("cnv", lambda model: origin_cnv(model)),
}
"""Origin and maker of a state dictionary, by network."""


def saved(model: Model) -> tuple[str, dict[str, Tensor]]:
    """Return an origin, and the parameters of `model` as that origin would save them (not of reactnetA)."""
    origin, make = NAMERS[model.settings.name]
    state, own = make(model), model.state_dict()
    for key, value in state.items():
        name = importers.ORIGINS.get(origin).rename(model, key)
        if name is not None:
            state[key] = own[name].reshape(value.shape).clone()
    return origin, state
