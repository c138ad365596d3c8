"""Sweeps: the same command over a grid of options, as cells that are computed once and kept.

cell.py, grid.py        what is computed: command lines, and how a grid or a preset becomes many of them
preset.py, presets/     published tables as sweeps
store.py                finished cells on disk, found again by what they compute
identity.py             the networks and datasets that cells read
executor.py, cluster.py what computes cells: processes on this machine, or a Ray cluster
travel.py, node.py      what a cluster's nodes are sent, and what they do with it
estimate.py             how long a training would take
schedule.py             which cell when, and what becomes of the others when one fails
measured.py, table.py   accuracies in what the commands printed, and rows of them beside published ones
expect.py               the table against an expected one
picture.py, record.py   heat maps and curves; the run directory
"""

from bnnkit.sweep.cell import TRAINED, Cell
from bnnkit.sweep.executor import LocalExecutor, local_slots
from bnnkit.sweep.expect import compare, read_expected
from bnnkit.sweep.grid import COMMANDS, NETWORK, SEED, parse_grid
from bnnkit.sweep.preset import PRESETS, Preset, load_preset
from bnnkit.sweep.record import Report
from bnnkit.sweep.schedule import Entry, Schedule, State
from bnnkit.sweep.store import Store
from bnnkit.sweep.table import Published, Row, rows_of

__all__ = [
    "COMMANDS",
    "NETWORK",
    "PRESETS",
    "SEED",
    "TRAINED",
    "Cell",
    "Entry",
    "LocalExecutor",
    "Preset",
    "Published",
    "Report",
    "Row",
    "Schedule",
    "State",
    "Store",
    "compare",
    "load_preset",
    "local_slots",
    "parse_grid",
    "read_expected",
    "rows_of",
]
