"""Faults, and what they do to a trained network.

from bnnkit import faults
from bnnkit.train.subject import find

network = faults.Network(find("latest"), {})
settings = faults.of_faults([faults.parse_fault("weight:flip@0.01")], network.layers)
campaign = faults.Campaign(network, dataset.test, indices, settings, faults.Repeats(fixed=8))
for trial in campaign.run():
    trial.score.accuracy, trial.hits.faulty
"""

from bnnkit.cim.fault import SITES, Fault, parse_fault
from bnnkit.faults.campaign import Campaign, Repeats, Trial
from bnnkit.faults.images import ImageFault, Read, read
from bnnkit.faults.kinds import KINDS, Kind
from bnnkit.faults.network import Hits, Network
from bnnkit.faults.pixels import read_all
from bnnkit.faults.rates import parse_rates
from bnnkit.faults.repairs import REPAIRS, Repair, parse_repair
from bnnkit.faults.settings import Setting, matching, of_faults, of_images
from bnnkit.faults.statistics import mean_interval, student_t

__all__ = [
    "KINDS",
    "REPAIRS",
    "SITES",
    "Campaign",
    "Fault",
    "Hits",
    "ImageFault",
    "Kind",
    "Network",
    "Read",
    "Repair",
    "Repeats",
    "Setting",
    "Trial",
    "matching",
    "mean_interval",
    "of_faults",
    "of_images",
    "parse_fault",
    "parse_rates",
    "parse_repair",
    "read",
    "read_all",
    "student_t",
]
