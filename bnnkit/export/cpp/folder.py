"""The exported folder: sources, a Makefile, test vectors, and a README that says how to use them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bnnkit.atomic import write_bytes, write_text
from bnnkit.checkpoint import describe
from bnnkit.deploy import PackedNetwork
from bnnkit.export.cpp.literals import identifier
from bnnkit.export.cpp.readme import readme
from bnnkit.export.cpp.source import model_header, model_source, weights_header, weights_source
from bnnkit.export.cpp.steps import source_of

HERE = Path(__file__).parent
PLACEHOLDER = "bnn_model"
"""The namespace that the programs in program/ name."""

FILES = {
    "README.md": "what this is and how to use it",
    "Makefile": "make check",
    "model.h": "the interface: sizes, workspace, run()",
    "model.cpp": "the layers, one after the other",
    "weights.h": "declarations of weights.cpp",
    "weights.cpp": "weights as words of 64 bits, thresholds as integers, floats to the last bit",
    "main.cpp": "a program that classifies images",
    "check.cpp": "a program that compares logits with vectors/",
    "runtime/": "the arithmetic of layers, the same for every network",
    "vectors/images.bin": "test images, bytes [N][channels][height][width]",
    "vectors/logits.bin": "their logits in the packed network, float32 [N][classes]",
}


def write(network: PackedNetwork, folder: Path, images: Tensor) -> dict[str, object]:
    """Write a packed network as C++17 sources that need nothing but a compiler.

    The program's logits are those of the packed network, bit for bit. `make check` in the folder builds it and shows it
    on the test images.

    Args:
        folder: made if need be; files of the same names are replaced.
        images: test vectors, uint8 [N, *in_shape].

    Returns:
        "files" (name -> what it is), "namespace", "weight_bytes", "workspace_bytes".

    Raises:
        UsageError: the network has faults, or a number that is not finite.

    >>> import tempfile
    >>> from bnnkit import create_model, deploy
    >>> packed = deploy.compile(create_model("mlp", in_shape=(1, 8, 8)).eval(), (0.5,), (0.25,))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(packed, Path(folder), torch.zeros(1, 1, 8, 8, dtype=torch.uint8))["weight_bytes"]
    121936
    """
    source, name = source_of(network.describe()), identifier(str(network.config["name"]))
    with torch.inference_mode():
        logits = network(images)
    texts = {
        "model.h": model_header(source, name, describe(network.config)),
        "model.cpp": model_source(source, name),
        "weights.h": weights_header(source, name),
        "weights.cpp": weights_source(source, name),
        **{path.name: path.read_text().replace(PLACEHOLDER, name) for path in sorted((HERE / "program").iterdir())},
        **{f"runtime/{path.name}": path.read_text() for path in sorted((HERE / "runtime").iterdir())},
    }
    facts = {"namespace": name, "weight_bytes": source.weight_bytes, "workspace_bytes": source.workspace_bytes}
    texts["README.md"] = readme(network, facts, FILES, len(images))
    for part in ("runtime", "vectors"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        write_text(folder / path, text)
    write_bytes(folder / "vectors/images.bin", [images.contiguous().numpy().tobytes()])
    write_bytes(folder / "vectors/logits.bin", [logits.contiguous().numpy().tobytes()])
    return {"files": dict(FILES), **facts}
