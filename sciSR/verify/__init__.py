"""Whether an output holds what it promises: geometry, flux, agreement, masks, metadata, provenance, format."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sciSR.verify.checking import verify as verify


def __getattr__(name: str) -> object:
    if name == "verify":  # the engine is imported when something is verified
        from sciSR.verify.checking import verify

        return verify
    raise AttributeError(f"module 'sciSR.verify' has no attribute {name!r}")
