"""Checkpoints of the origin projects, read into bnnkit's networks."""

from bnnkit.importers import ab_bnn, bnn_iga, cnv, fracbnn, rram
from bnnkit.importers.architecture import Architecture, infer
from bnnkit.importers.files import read
from bnnkit.importers.origin import ORIGINS, Origin, load, match, unwrap

__all__ = [
    "ORIGINS",
    "Architecture",
    "Origin",
    "ab_bnn",
    "bnn_iga",
    "cnv",
    "fracbnn",
    "infer",
    "load",
    "match",
    "read",
    "rram",
    "unwrap",
]
