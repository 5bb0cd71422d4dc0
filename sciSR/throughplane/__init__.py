"""Thin slices from thick ones: across the slices, learned from the volume's own planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sciSR.throughplane.plan import isotropic as isotropic
    from sciSR.throughplane.plan import plan_isotropic as plan_isotropic

__all__ = ["isotropic", "plan_isotropic"]


def __getattr__(name: str) -> object:
    # torch comes with the first use, not with the import
    if name in __all__:
        from sciSR.throughplane import plan

        return getattr(plan, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
