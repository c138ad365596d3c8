"""`python -m bnnkit_cli`, the same as `bnnkit`; torchrun starts commands so."""

from __future__ import annotations

from bnnkit_cli.main import run

if __name__ == "__main__":
    run()
