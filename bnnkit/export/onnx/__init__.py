"""A packed network as one ONNX file, to look at it and to check it with other runtimes.

bnnkit.export.onnx.write(packed, Path("net.onnx"))
"""

from bnnkit.export.onnx.file import model_of, write

__all__ = ["model_of", "write"]
