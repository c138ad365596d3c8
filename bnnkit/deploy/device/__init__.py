"""Packed networks on a GPU: the described steps of a network, run one after the other by ops on its tensors.

The logits are those of `PackedNetwork` on a processor, bit for bit: integers are exact, sums in full precision are made
in double in the same order, and every other arithmetic step rounds to float32 once.
"""

from bnnkit.deploy.device.network import DeviceNetwork, run_on_device, run_packed

__all__ = ["DeviceNetwork", "run_on_device", "run_packed"]
