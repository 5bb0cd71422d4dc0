"""The methods of fusion by name. Each is loaded when it is asked for.

All have one signature, :class:`sciSR.fusion.prepared.Solver`, and give the image in the level of a native pixel. Their
mathematics stand in ``docs/theory-fusion.md``.
"""

from __future__ import annotations

import importlib

from sciSR.errors import UsageError
from sciSR.fusion.prepared import Solver

SOLVERS: dict[str, str] = {
    "map": "sciSR.fusion.map:solve",
    "spectral": "sciSR.fusion.solvers.spectral:solve",
    "drizzle": "sciSR.fusion.solvers.drizzle:solve",
    "mean": "sciSR.fusion.solvers.mean:solve",
    "median": "sciSR.fusion.solvers.median:solve",
    "ibp": "sciSR.fusion.solvers.ibp:solve",
    "pocs": "sciSR.fusion.solvers.pocs:solve",
}
"""Name -> ``module:function``."""


def solver(name: str) -> Solver:
    """The solver of this name.

    Raises
    ------
    UsageError
        There is none.
    """
    if name not in SOLVERS:
        raise UsageError(f"no method of fusion is called {name!r}", remedy=f"use one of {', '.join(SOLVERS)}")
    module, function = SOLVERS[name].split(":")
    return getattr(importlib.import_module(module), function)
