"""A packed network as a C++17 program without dependencies: a folder of sources that `make check` builds and verifies.

bnnkit.export.cpp.write(packed, Path("net"), images)
"""

from bnnkit.export.cpp.folder import write

__all__ = ["write"]
