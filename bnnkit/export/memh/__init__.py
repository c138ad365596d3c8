"""The arrays of a packed network for hardware: weight images, thresholds, golden vectors, and Verilog that plays them.

bnnkit.export.memh.write(packed, Path("arrays"), images)
"""

from bnnkit.export.memh.folder import write

__all__ = ["write"]
