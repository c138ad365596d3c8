"""A trained network that is asked for its predictions over and over, packed where that is possible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from bnnkit.data import Split
from bnnkit.deploy import PackedNetwork, skeleton, why_not
from bnnkit.errors import UsageError
from bnnkit.nn import Backend
from bnnkit.nn import backend as use
from bnnkit.train.evaluation import evaluate, evaluate_packed
from bnnkit.train.subject import Subject


class Network:
    """Build or pack the network once; `predict` does neither.

    Args:
        changes: options of arrays and converters that differ from the checkpoint's.
        backend: "auto" (packed where possible), "packed", "torch" or "reference".

    Attributes:
        computed: in words, what computes it.
        not_packed: why "auto" did not pack it; None where it did.

    Raises:
        UsageError: impossible options, or "packed" where that cannot be.
    """

    def __init__(self, subject: Subject, changes: Mapping[str, Any], backend: str = "auto") -> None:
        self._preparation = subject.preparation
        self._backend = cast("Backend", backend)
        self._packed: PackedNetwork | None = None
        self.not_packed: str | None = None
        if backend in ("auto", "packed"):
            self.not_packed = why_not(skeleton({**subject.checkpoint.config, **changes}))
            if self.not_packed is None:
                self._packed, self.computed = PackedNetwork(subject.packed_weights(), dict(changes)), "packed"
                return
            if backend == "packed":
                raise UsageError(f"--backend packed: {self.not_packed}", hint="use --backend auto")
        with use(self._backend):
            self._model = subject.model(changes)
        self.computed = "layer by layer" if backend == "auto" else backend

    def predict(self, images: Tensor) -> Tensor:
        """Return predictions, int64 [N], of images as stored, uint8 [N, C, H, W]; -1 where a logit is not finite.

        Raises:
            GateError: a kernel met NaN; the layer it comes from is named.
        """
        count = len(images)
        # Labels would only be counted.
        split, every = Split(images, torch.zeros(count, dtype=torch.int64)), torch.arange(count)
        if self._packed is not None:
            return evaluate_packed([self._packed], split, every, self._preparation, batch=count)[0].predictions
        with use(self._backend):
            return evaluate(self._model, split, every, self._preparation, batch=count).predictions
