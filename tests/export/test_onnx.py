"""ONNX files of packed networks: other people's runtimes give the same logits, bit for bit."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from deploy.networks import images, network, packed
from torch import Tensor

from bnnkit import deploy, ops
from bnnkit.deploy import PackedNetwork
from bnnkit.deploy.description import DenseStep, Description, Finish, ImageStep, WindowStep
from bnnkit.deploy.faulty import InputFaults, LayerFaults
from bnnkit.errors import MissingError, UsageError
from bnnkit.export import onnx as export

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed: pip install 'bnnkit[onnx]'")
runtime = pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed: bnnkit[onnx]")
try:
    ops.load()
except MissingError:
    pytest.skip("the compiled extension, which runs packed networks, is missing", allow_module_level=True)

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("mlp", {"in_shape": (1, 8, 8)}),
    ("mlp", {"adc_bit": 3, "ao_bit": 2, "w_bit": 1.5, "in_shape": (1, 8, 8)}),
    ("mlp", {"adc_bit": "fp", "in_shape": (1, 9, 7)}),
    ("mlp", {"rows": 100, "width": 1, "adc_bit": 2, "in_shape": (2, 5, 5)}),
    ("cnv", {}),
    ("vgg9", {"width": 1, "in_shape": (3, 8, 8)}),
    ("res20", {"width": 1, "in_shape": (3, 8, 8)}),
    ("res20", {"width": 1, "adc_bit": "fp", "in_shape": (3, 12, 8)}),
    ("res20", {"width": 1, "ao_bit": 1.5, "w_bit": 2, "adc_bit": 2, "in_shape": (3, 8, 8)}),
    ("res20", {"width": 1, "ao_bit": 3, "w_bit": 3, "adc_bit": 4, "mapping": "tap", "rows": 64, "in_shape": (3, 8, 8)}),
    ("res18", {"width": 2, "in_shape": (1, 9, 13), "classes": 3}),
    ("res18", {"width": 1, "rows": 9, "in_shape": (3, 8, 8)}),
    ("vgg9", {"width": 1, "ao_bit": 4, "w_bit": 4, "adc_bit": 4, "in_shape": (3, 9, 8)}),
    ("reactnet18", {"width": 1, "in_shape": (3, 8, 8)}),
    ("reactnet18", {"width": 1, "adc_bit": 2, "rows": 50, "in_shape": (1, 8, 16), "classes": 3}),
    ("reactnet18", {"width": 2, "adc_bit": 3, "mapping": "tap", "rows": 20, "in_shape": (3, 8, 8)}),
    ("reactnet18", {"width": 1, "in_shape": (3, 128, 128)}),
    ("reactnet34", {"width": 1, "in_shape": (3, 16, 8)}),
    ("reactnetA", {"width": 1, "adc_bit": 1, "in_shape": (1, 16, 32)}),
    ("fracbnn20", {"in_shape": (3, 12, 16)}),
    ("fracbnn20", {"adc_bit": 1, "in_shape": (3, 8, 8)}),
    ("fracbnn20", {"adc_bit": 2, "mapping": "tap", "rows": 24, "in_shape": (1, 4, 8), "classes": 3}),
    ("fracbnn_imagenet", {"in_shape": (3, 32, 32)}),
]
TINY = {"width": 1, "in_shape": (1, 8, 8)}

VERSION = tuple(int(part) for part in onnx.__version__.split(".")[:2])
fixed_evaluator = pytest.mark.skipif(VERSION < (1, 23), reason="onnx's evaluator: Gather failed at strided indices")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def by_runtime(source: Any, *batches: Tensor, level: str = "ORT_ENABLE_ALL") -> list[Tensor]:
    """Return the logits of onnxruntime, by default with its default optimizations."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, level)
    session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return [torch.from_numpy(session.run(["logits"], {"images": stored.numpy()})[0]) for stored in batches]


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=str)
def test_onnxruntime_gives_the_same_logits(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = network(name, **options)
    stored, run = images(model, 5), packed(model)
    expected = run(stored)
    assert len({tuple(row) for row in expected.tolist()}) == len(stored), "the test would not notice lost inputs"
    export.write(run, tmp_path / "net.onnx")
    all_at_once, one = by_runtime(tmp_path / "net.onnx", stored, stored[3:4])
    assert torch.equal(all_at_once, expected)
    assert torch.equal(one, expected[3:4]), "the batch is free"


@pytest.mark.parametrize(("name", "options"), [("cnv", {}), ("fracbnn20", {"in_shape": (3, 8, 8)})], ids=str)
def test_optimizations_do_not_fold_normalizations_into_sums(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = network(name, **options)
    stored, run = images(model, 20), packed(model)
    export.write(run, tmp_path / "net.onnx")
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
        [found] = by_runtime(tmp_path / "net.onnx", stored, level=level)
        assert torch.equal(found, run(stored))


@fixed_evaluator
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"adc_bit": 3, "ao_bit": 2, **TINY}),
        ("res20", {"adc_bit": 1, "mapping": "tap", "rows": 20, **TINY}),
        ("reactnet18", {"adc_bit": 2, **TINY}),
        ("fracbnn20", TINY),
    ],
    ids=str,
)
def test_a_second_runtime_gives_the_same_logits(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    reference = pytest.importorskip("onnx.reference")
    model = network(name, **options)
    stored, run = images(model, 2), packed(model)
    export.write(run, tmp_path / "net.onnx")
    [logits] = reference.ReferenceEvaluator(str(tmp_path / "net.onnx")).run(None, {"images": stored.numpy()})
    assert torch.equal(torch.from_numpy(logits), run(stored))


def test_other_converters_and_other_weights(tmp_path: Path) -> None:
    model = network("mlp", **TINY)
    stored, run = images(model, 4), packed(model)
    codes = {"hidden.1": 255 - run.weights.tensors["hidden.1.codes"]}
    for other in (run.with_options(adc_bit=2, rows=20), run.with_faults(codes=codes)):
        export.write(other, tmp_path / "net.onnx")
        [found] = by_runtime(tmp_path / "net.onnx", stored)
        assert torch.equal(found, other(stored))
        assert not torch.equal(found, run(stored))


@pytest.mark.parametrize("maximum", [False, True])
def test_windows_leave_out_odd_rows(maximum: bool) -> None:
    values = np.linspace(-1, 1, 256, dtype=np.float32)[None]
    step = WindowStep("pool", 0, (1, 3, 5), Finish(out=1), size=2, stride=2, maximum=maximum)
    image = ImageStep("images", (1, 3, 5), (1, 3, 5), values, Finish(out=0))
    model = export.model_of(Description({"name": "pool"}, (1, 3, 5), 2, (image, step)), {})
    stored = images(network("mlp", **TINY), 3)[:, :, :3, :5]
    fours = values[0][stored.numpy()][:, 0, :2, :4].reshape(3, 2, 2, 2).transpose(0, 2, 1, 3).reshape(3, 2, 4)
    expected = fours.max(2) if maximum else (fours.astype(np.float64).sum(2) / 4).astype(np.float32)
    [found] = by_runtime(model.SerializeToString(), stored)
    assert np.array_equal(found.numpy(), expected)


@pytest.mark.parametrize(("kernel", "padding"), [((3, 4), (0, 0)), ((3, 3), (1, 0)), ((2, 1), (0, 0))], ids=str)
def test_layers_in_full_precision_take_every_tap(kernel: tuple[int, int], padding: tuple[int, int]) -> None:
    draw = torch.Generator().manual_seed(3)
    table = torch.randn(2, 256, generator=draw)
    weights, bias = torch.randn(4, 2, *kernel, generator=draw), torch.randn(4, generator=draw)
    stored = torch.randint(0, 256, (5, 2, 3, 4), dtype=torch.uint8, generator=draw)
    values = torch.stack([table[c][stored[:, c].long()] for c in range(2)], 1).double()
    expected = torch.nn.functional.conv2d(values, weights.double(), bias.double(), padding=padding).float()
    image = ImageStep("images", (2, 3, 4), (2, 3, 4), table.numpy(), Finish(out=0))
    step = DenseStep("dense", 0, (2, 3, 4), weights.numpy(), bias.numpy(), (1, 1), padding, Finish(out=1))
    outputs = expected[0].numel()
    model = export.model_of(Description({"name": "dense"}, (2, 3, 4), outputs, (image, step)), {})
    [found] = by_runtime(model.SerializeToString(), stored)
    assert torch.equal(found, expected.flatten(1))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[PackedNetwork, Any, dict[str, object], Path]:
    """A network with two arrays per layer, its file read back, what `write` returned, and the file."""
    run = packed(network("res20", width=1, adc_bit=2, in_shape=(3, 8, 8)))
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    facts = export.write(run, path)
    return run, onnx.load(str(path)), facts, path


def test_the_file_says_what_it_is(small: Any) -> None:
    run, model, facts, path = small
    onnx.checker.check_model(model, full_check=True)
    properties = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert (model.producer_name, model.ir_version) == ("bnnkit", 8)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert properties["config"]["adc_bit"] == 2 and properties["provenance"] == run.weights.provenance
    assert properties["preparation"]["mean"] == list(run.weights.mean)
    assert facts["bytes"] == path.stat().st_size and facts["opset"] == 17
    operators = facts["operators"]
    assert isinstance(operators, dict)
    assert facts["nodes"] == sum(operators.values()) == len(model.graph.node)
    assert facts["inputs"] == {"images": ["uint8", "batch", 3, 8, 8]}


def test_nodes_are_named_and_grouped_by_layer(small: Any) -> None:
    run, model, _, _ = small
    assert all(node.domain == "" and list(node.output) == [node.name] for node in model.graph.node)
    layers = [node.name.rpartition("/")[0] for node in model.graph.node]
    in_order = list(dict.fromkeys(layers))
    assert in_order == [*(step.name for step in run.describe().steps), ""]
    assert layers == sorted(layers, key=in_order.index), "the nodes of a layer follow each other"
    assert model.graph.node[-1].name == "logits"


def test_arrays_and_converters_can_be_looked_at(small: Any) -> None:
    run, model, _, _ = small
    constants = {entry.name: onnx.numpy_helper.to_array(entry) for entry in model.graph.initializer}
    shapes = {entry.name: entry.type.tensor_type.shape.dim for entry in model.graph.value_info}
    layer = deploy.unpack_model(run.weights).get_submodule("stages.0.0.conv1")
    assert [d.dim_param or d.dim_value for d in shapes["stages.0.0.conv1/by_array"]] == ["batch", 2, 16, 8, 8]
    stored = constants["stages.0.0.conv1/weight"]
    assert stored.dtype == np.int8 and stored.shape == (2 * 16, 14, 3, 3)
    arrays = torch.from_numpy(stored.copy()).view(2, 16, 14, 3, 3)
    assert torch.equal(arrays[0].float(), layer.weight[:, :14])
    assert torch.equal(arrays[1, :, :2].float(), layer.weight[:, 14:])
    assert not arrays[1, :, 2:].any(), "the second array has two channels only"
    curve = constants["converter.0"]
    assert len(curve) == 2 * 14 * 9 + 1, "all sums that an array can have"
    assert curve.tolist() == sorted(curve.tolist()) and set(curve.tolist()) == {-3, -1, 1, 3}


def test_the_same_network_gives_the_same_bytes(small: Any, tmp_path: Path) -> None:
    run, _, _, path = small
    export.write(run, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingError, match="Python package was needed") as raised:
        export.write(packed(network("mlp", **TINY)), tmp_path / "net.onnx")
    assert raised.value.hint == "pip install 'bnnkit[onnx]'"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="cannot be written"):
        export.write(packed(network("mlp", **TINY)), tmp_path / "no" / "net.onnx")


def test_faults_in_activations_are_refused(tmp_path: Path) -> None:
    faulty = packed(network("mlp", **TINY)).with_faults(layers={"hidden.0": LayerFaults(InputFaults("flip", 0.1, 1))})
    with pytest.raises(UsageError, match="a network with faults cannot be described"):
        export.write(faulty, tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []
