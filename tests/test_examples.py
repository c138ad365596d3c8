"""Every script in examples/ runs from beginning to end and says what it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bnnkit import ops
from bnnkit.errors import MissingError

ROOT = Path(__file__).parents[1]
EXAMPLES = {path.stem: path for path in (ROOT / "examples").glob("*.py")}
SAYS = {"convert_network": "packed logits equal those of torch for 100/100 images"}

try:
    ops.load()
except MissingError:
    pytest.skip("examples need the compiled extension", allow_module_level=True)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_it_runs(name, tmp_path):
    """With --quick, which every example has: few images, few steps, the packaged digits."""
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES[name]), "--quick"],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'cli'}", "BNNKIT_DATA": str(tmp_path)},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()
    assert SAYS.get(name, "") in ran.stdout
