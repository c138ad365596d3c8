"""Training and evaluation: one loop, its recipes, and run directories that can be continued.

    from bnnkit import train

    plan = train.resolve("mlp", {"dataset": "digits", "adc_bit": 1})
    (outcome,) = train.start(plan, train.Silent(), argv=[])
    outcome.accuracy

Everything that needs torch is imported when it is first used, so that listing recipes does not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnnkit.train.config import Config
    from bnnkit.train.evaluation import Evaluation, Score, evaluate, wilson
    from bnnkit.train.images import Preparation
    from bnnkit.train.loop import Silent, Watcher
    from bnnkit.train.plan import Plan, resolve
    from bnnkit.train.recipes import RECIPES, Recipe, recipe_for
    from bnnkit.train.series import Outcome, Summary
    from bnnkit.train.session import resume, start

_HOME = {
    "Config": "config",
    "Evaluation": "evaluation",
    "Outcome": "series",
    "Plan": "plan",
    "Preparation": "images",
    "RECIPES": "recipes",
    "Recipe": "recipes",
    "Score": "evaluation",
    "Silent": "loop",
    "Summary": "series",
    "Watcher": "loop",
    "evaluate": "evaluation",
    "recipe_for": "recipes",
    "resolve": "plan",
    "resume": "session",
    "start": "session",
    "wilson": "evaluation",
}

__all__ = [
    "RECIPES",
    "Config",
    "Evaluation",
    "Outcome",
    "Plan",
    "Preparation",
    "Recipe",
    "Score",
    "Silent",
    "Summary",
    "Watcher",
    "evaluate",
    "recipe_for",
    "resolve",
    "resume",
    "start",
    "wilson",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
