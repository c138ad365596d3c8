"""A packed network on a device, and several of them over the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnnkit.deploy.device.arrays import Arrays
from bnnkit.deploy.device.buffers import Batch, Buffers, values_of
from bnnkit.deploy.device.steps import NO_FAULTS, Prepared, prepare
from bnnkit.deploy.faulty import Hits, LayerFaults
from bnnkit.deploy.network import PackedNetwork, run_together
from bnnkit.errors import UsageError
from bnnkit.nn import Gates


class DeviceNetwork(nn.Module):
    """Run a packed network by ops on a device; the logits are those of `packed`, bit for bit.

    Meant for a GPU. It runs on a processor too, where `PackedNetwork` itself is much faster.

    Args:
        packed: the network; it may have faults in the bits that layers read, not in converters.
        device: where it runs, and where images must lie.
        like: another network on the same device; steps that the two packed networks share are taken over from it.

    Shape: uint8 [N, *in_shape], images as stored -> float32 [N, classes].

    Raises:
        UsageError: faults in converters, or a layer with sums of 2^24 and more.
        MissingError: the compiled extension is missing.

    >>> from bnnkit import create_model, deploy
    >>> packed = deploy.compile(create_model("mlp", in_shape=(1, 8, 8)).eval(), (0.5,), (0.25,))
    >>> images = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    >>> torch.equal(DeviceNetwork(packed, torch.device("cpu"))(images), packed(images))
    True
    """

    def __init__(self, packed: PackedNetwork, device: torch.device, like: DeviceNetwork | None = None) -> None:
        super().__init__()
        self.packed, self.device = packed, device
        described = packed.describe_without_faults()
        self.config, self.in_shape, self.classes = described.config, described.in_shape, described.classes
        self._outs = [step.finish.out for step in described.steps]
        known: dict[int, Prepared] = {}
        if like is not None and like.device == device:
            known = {id(own): step for own, step in zip(like.packed.steps, like.steps, strict=True)}
        self.steps: list[Prepared] = []
        for own, step in zip(packed.steps, described.steps, strict=True):
            faults = packed.faults.get(step.name, NO_FAULTS)
            self.steps.append(known.get(id(own)) or prepare(step, device, faults))
        self.eval()

    def forward(self, images: Tensor, indices: Tensor | None = None) -> Tensor:
        """Return the logits of uint8 images; `indices` as in `run_on_device`."""
        return run_on_device([self], images, indices)[0]

    def run(self, steps: slice, batch: Batch, buffers: Buffers) -> None:
        """Run some steps; `buffers` holds what those before left behind and receives what these do."""
        for step, out in zip(self.steps[steps], self._outs[steps], strict=True):
            buffers[out] = step(batch, buffers)

    @property
    def out(self) -> int:
        """The buffer with the logits, after the last step."""
        return self._outs[-1]

    def with_options(self, **changes: Any) -> DeviceNetwork:
        """Return the network with other arrays or converters, as `PackedNetwork.with_options`."""
        return DeviceNetwork(self.packed.with_options(**changes), self.device, self)

    def with_faults(
        self, codes: Mapping[str, Tensor] | None = None, layers: Mapping[str, LayerFaults] | None = None
    ) -> DeviceNetwork:
        """Return the network with other weight bits and faults where it computes, as `PackedNetwork.with_faults`."""
        return DeviceNetwork(self.packed.with_faults(codes, layers), self.device, self)

    def take_gates(self) -> Gates | None:
        """Return what the precision gates did since the last call, and start anew; None without gated layers."""
        if self.packed.take_gates() is None:
            return None
        counted = [step.take_gates() for step in self.steps if isinstance(step, Arrays)]
        return Gates(sum(found.open for found in counted), sum(found.outputs for found in counted))

    def take_hits(self) -> tuple[Hits, Hits]:
        """Return what faults did since the last call, as `PackedNetwork.take_hits`."""
        counted = [step.take_hits() for step in self.steps if isinstance(step, Arrays)]
        return Hits(*map(sum, zip(*counted, strict=True))), Hits(0, 0, 0)


@torch.inference_mode()
def run_on_device(networks: Sequence[DeviceNetwork], images: Tensor, indices: Tensor | None = None) -> Tensor:
    """Run several networks over the same images on their device: float32 [networks, N, classes].

    Steps at the beginning that all of them share are computed once.

    Args:
        images: uint8 [N, *in_shape], on the device.
        indices: int64 [N], the images' numbers within the data set, where faults depend on them; None: 0 to N-1.

    Raises:
        UsageError: images of another shape, type or device.
    """
    first = networks[0]
    if images.shape[1:] != first.in_shape or images.dtype != torch.uint8 or images.device.type != first.device.type:
        needed = ", ".join(map(str, first.in_shape))
        raise UsageError(
            f"images: {list(images.shape)} {images.dtype} on {images.device}; uint8 [N, {needed}] on {first.device} "
            "was needed",
            hint="give images as they are stored",
        )
    shared = 0
    while shared < len(first.steps) and all(
        shared < len(network.steps) and network.steps[shared] is first.steps[shared] for network in networks
    ):
        shared += 1
    numbers = torch.arange(len(images)) if indices is None else indices
    batch, before = Batch(images, numbers.to(images.device)), Buffers()
    first.run(slice(shared), batch, before)
    logits = []
    for network in networks:
        buffers = dict(before)
        network.run(slice(shared, None), batch, buffers)
        logits.append(values_of(network.out, buffers).reshape(len(images), network.classes))
    return torch.stack(logits)


def run_packed(
    networks: Sequence[PackedNetwork | DeviceNetwork], images: Tensor, indices: Tensor | None = None
) -> Tensor:
    """Run networks over the same images where they run: float32 [networks, N, classes].

    Args:
        images: uint8 [N, *in_shape]; copied to the processor for networks that run there.
        indices: as in `run_together`.
    """
    on_device = [network for network in networks if isinstance(network, DeviceNetwork)]
    if len(on_device) == len(networks):
        return run_on_device(on_device, images.to(on_device[0].device), indices)
    on_processor = [network for network in networks if isinstance(network, PackedNetwork)]
    assert len(on_processor) == len(networks), "networks run together on one device"
    return run_together(on_processor, images.cpu(), indices)
