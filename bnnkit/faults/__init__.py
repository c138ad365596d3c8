"""Faults, and what they do to a trained network.

from bnnkit import faults

fault = faults.ImageFault(bit=6)
read = faults.read(images, fault, (seed, number, indices), faults.parse_repair("msb", fault.bit))
read.images                               # uint8, as the images come out of the faulty memory
"""

from bnnkit.faults.campaign import Setting, Trial, measure, plan
from bnnkit.faults.images import ImageFault, Read, read
from bnnkit.faults.kinds import KINDS, Kind
from bnnkit.faults.network import Network
from bnnkit.faults.repairs import REPAIRS, Repair, parse_repair
from bnnkit.faults.statistics import mean_interval, student_t

__all__ = [
    "KINDS",
    "REPAIRS",
    "ImageFault",
    "Kind",
    "Network",
    "Read",
    "Repair",
    "Setting",
    "Trial",
    "mean_interval",
    "measure",
    "parse_repair",
    "plan",
    "read",
    "student_t",
]
