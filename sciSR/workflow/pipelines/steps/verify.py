"""The step ``verify``: does the product hold what it promises of what it was made from?"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sciSR.errors import SciSRWarning, UnsupportedError, VerificationError
from sciSR.workflow.pipelines.products import (
    input_of,
    lone_fusion,
    made_from,
    one_input,
    plain,
    reading,
    unchanged,
)
from sciSR.workflow.pipelines.work import Product, StepName, Work

if TYPE_CHECKING:
    from sciSR.verify.result import Verification

NAMED = 3
"""Failed checks that an error names; a record holds more."""
_RECORDED = 20


def verify(
    work: Work,
    *,
    against: StepName | None = None,
    on_failure: Literal["fail", "warn"] = "fail",
) -> Product:
    """Check that the product holds what it promises of what it was made from, as ``scisr verify`` does.

    Parameters
    ----------
    against : str
        Name of an earlier step, whose product it is held against; by default what the last step that made pixels was
        given, for a fusion its reference frame.
    on_failure : str
        fail: the item fails with exit code 6 if a promise is broken. warn: it goes on, with a warning.

    Raises
    ------
    VerificationError
        A promise is broken; the first ones are named.
    SciSRError
        A file can't be read.
    """
    from sciSR.plugins import adapter_for
    from sciSR.verify.checking import verify_files

    if reason := unchanged(work):
        return _not_verified(work, reason)
    before = made_from(work, against)
    if reason := lone_fusion(work, before):
        return _not_verified(work, reason)
    source, target = input_of(work, before), one_input(work)
    try:
        found = verify_files(source, target, **reading(adapter_for(source), before.options))
    except UnsupportedError as error:  # a fusion that came in from elsewhere
        return _not_verified(work, error.what)
    broken = _broken(found)
    messages: tuple[str, ...] = ()
    if broken:
        error = _error(work, target, broken)
        if on_failure == "fail":
            raise error
        warnings.warn(str(error), SciSRWarning, stacklevel=2)
        messages = (str(error),)
    return replace(work.product, record=plain(_record(found, source)), messages=messages)


def _not_verified(work: Work, reason: str) -> Product:
    """No promise is broken: there is none that one input could be asked about."""
    return replace(work.product, ready={}, record={"skipped": reason}, messages=(f"not verified: {reason}",))


def _broken(found: Verification) -> list[str]:
    """Each broken promise in one line."""
    checks = [
        f"{check.group}, {check.name}: {check.message}" for check in found.checks if check.status == "failed"
    ]
    return checks + [f"metadata, {key.key}: {key.fate}" for key in found.keys if not key.allowed]


def _error(work: Work, target: Path, broken: list[str]) -> VerificationError:
    more = f" (and {len(broken) - NAMED} more)" if len(broken) > NAMED else ""
    return VerificationError(
        f"{len(broken)} checks failed: {'; '.join(broken[:NAMED])}{more}", where=target.name
    )


def _record(found: Verification, source: Path) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for check in found.checks:
        counts[check.status] = counts.get(check.status, 0) + 1
    told = [check.as_dict() for check in found.checks if check.status in ("failed", "warning")]
    return {
        "passed": found.passed,
        "against": source.name,
        "checks": counts,
        "metadata_keys": len(found.keys),
        "found": told[:_RECORDED],
    }
