"""Checkpoints of the origin projects, read into bnnkit's networks."""

from bnnkit.importers import bnn_iga, rram
from bnnkit.importers.origin import ORIGINS, Origin, load

__all__ = ["ORIGINS", "Origin", "bnn_iga", "load", "rram"]
