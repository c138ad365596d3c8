"""Reports: some runs as one HTML page that needs no network and no script.

runs = report.find(["latest"])
report.write(Path("report.html"), runs)
"""

from bnnkit.report.find import KINDS, find, kind
from bnnkit.report.page import Page, build, write

__all__ = ["KINDS", "Page", "build", "find", "kind", "write"]
