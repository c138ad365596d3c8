"""Checkpoints of the origin projects, read into bnnkit's networks."""

from bnnkit.importers import ab_bnn, bnn_iga, cnv, fracbnn, rram
from bnnkit.importers.origin import ORIGINS, Origin, load

__all__ = ["ORIGINS", "Origin", "ab_bnn", "bnn_iga", "cnv", "fracbnn", "load", "rram"]
