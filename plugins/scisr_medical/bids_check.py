"""The official bids-validator, run on the input if it is installed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from sciSR.errors import UsageError

log = logging.getLogger(__name__)

PROGRAM = "bids-validator-deno"
_SKIP = "--skip-bids-validation goes on all the same"


def find_validator() -> str | None:
    """The program, beside this Python or on the path; None if it is not installed."""
    beside = Path(sys.executable).parent / PROGRAM
    return str(beside) if os.access(beside, os.X_OK) else shutil.which(PROGRAM)


def validation_errors(root: Path) -> Counter[str] | None:
    """How often each error was found in a dataset, by its code; None without a validator.

    Codes alone are kept: the validator's report names files.
    """
    program = find_validator()
    if program is None:
        return None
    done = subprocess.run(
        [program, "--format", "json", "--ignoreWarnings", str(root)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    try:
        issues = json.loads(done.stdout)["issues"]["issues"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError("the bids-validator did not report", where=root, remedy=_SKIP) from error
    return Counter(issue["code"] for issue in issues if issue.get("severity") == "error")


def validate(root: Path) -> None:
    """Refuse a dataset that the validator finds errors in; without a validator, do nothing.

    Raises
    ------
    UsageError
    """
    errors = validation_errors(root)
    if errors is None:
        log.info("%s is not installed: the dataset is not validated", PROGRAM)
        return
    if errors:
        listed = ", ".join(f"{code} ({n})" for code, n in errors.most_common(5))
        raise UsageError(
            f"the bids-validator finds errors: {listed}",
            where=root,
            remedy=f"'{PROGRAM} {root}' tells where; {_SKIP}",
        )
    log.info("%s finds no errors", PROGRAM)
