"""Upscaling one image: normalise, tile, run, make consistent, stream out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sciSR.inference.plan import plan_upscale as plan_upscale
    from sciSR.inference.plan import upscale as upscale
    from sciSR.inference.upscaling import UpscalePlan as UpscalePlan

__all__ = ["UpscalePlan", "plan_upscale", "upscale"]


def __getattr__(name: str) -> object:
    # torch comes with the first use, not with the import
    if name in __all__:
        from sciSR.inference import plan

        return getattr(plan, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
