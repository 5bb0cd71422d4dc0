"""The methods of fusion by name. Each is loaded when it is asked for.

All have one signature, :class:`sciSR.fusion.prepared.Solver`, and give the image in the level of a native pixel. Their
mathematics stand in ``docs/theory-fusion.md``.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import Any

from sciSR.errors import UsageError
from sciSR.fusion.prepared import Solution, Solver

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
    """The solver of this name. It refuses settings that it does not have by name.

    Raises
    ------
    UsageError
        There is none.
    """
    if name not in SOLVERS:
        raise UsageError(f"no method of fusion is called {name!r}", remedy=f"use one of {', '.join(SOLVERS)}")
    module, function = SOLVERS[name].split(":")
    found = getattr(importlib.import_module(module), function)
    known = [k for k, p in inspect.signature(found).parameters.items() if p.kind is p.KEYWORD_ONLY]

    @functools.wraps(found)
    def checked(*given: Any, **settings: Any) -> Solution:
        if unknown := sorted(set(settings) - set(known)):
            own = ", ".join(k for k in known if k != "device") or "none"
            raise UsageError(f"method {name} has no setting {', '.join(unknown)}", remedy=f"it has {own}")
        return found(*given, **settings)

    return checked
