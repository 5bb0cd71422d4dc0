"""Several stacks of thick slices of one body, in different orientations, into one isotropic volume.

The same penalties and conjugate gradients as for telescopes' frames (:mod:`sciSR.fusion.least_squares`), with
slice profiles in the place of optics and rigid motion in the place of sky transforms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciSR.stacks.fuse import fuse_stacks
    from sciSR.stacks.stack import FusedVolume, SliceMotion, Stack, StackMotion

__all__ = ["FusedVolume", "SliceMotion", "Stack", "StackMotion", "fuse_stacks"]

_WHERE = dict.fromkeys(("FusedVolume", "SliceMotion", "Stack", "StackMotion"), "stack")
_WHERE["fuse_stacks"] = "fuse"


def __getattr__(name: str) -> Any:
    """Imported when first asked for: torch takes its time."""
    if name in _WHERE:
        import importlib

        return getattr(importlib.import_module(f"sciSR.stacks.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
