"""Value quantizers: what turns activations and latent weights into a few integer levels.

Every quantizer is a list of float32 thresholds (its forward pass for packed kernels), a plane decomposition (how its
integers become bits) and a gradient. `make(bits)` builds one; `QUANTIZERS` names the classes.
"""

from bnnkit.quantizers.base import Bits, Quantizer, parse_bits
from bnnkit.quantizers.gradients import GRADIENTS
from bnnkit.quantizers.levels import QUANTIZERS, Binary, FullPrecision, MultiLevel, Nearest, Sign, Ternary, make

__all__ = [
    "GRADIENTS",
    "QUANTIZERS",
    "Binary",
    "Bits",
    "FullPrecision",
    "MultiLevel",
    "Nearest",
    "Quantizer",
    "Sign",
    "Ternary",
    "make",
    "parse_bits",
]
