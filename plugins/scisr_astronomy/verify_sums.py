"""The format's own word on a FITS file: CHECKSUM and DATASUM of every HDU, and NASA's ``fitsverify``."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from sciSR.verify.result import Check
from scisr_astronomy.fits_file import open_fits, wrong_sum

_TIMEOUT = 600
_SUMMARY = re.compile(r"(\d+) warnings? and (\d+) errors?")


def validate(path: Path) -> list[Check]:
    """Sums of all HDUs, then fitsverify where it is installed."""
    file = open_fits(path, ignore_checksum=True)
    checks = []
    for record in file.records:
        if what := wrong_sum(file, record):
            name = "DATASUM" if what.startswith("DATASUM") else "CHECKSUM"
            checks.append(Check("format", f"{name} of HDU {file.part(record.index)}", "failed", what))
    if not checks:
        message = "those that stand in the file are right"
        checks.append(Check("format", "CHECKSUM and DATASUM", "passed", message))
    return [*checks, fitsverify(file.plain)]


def fitsverify(path: Path) -> Check:
    """One check: how many errors fitsverify finds; warnings are told and break nothing."""
    name, program = "fitsverify", shutil.which("fitsverify")
    if program is None:
        return Check("format", name, "skipped", "fitsverify is not installed")
    try:
        done = subprocess.run(
            [program, "-q", str(path)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("format", name, "skipped", f"fitsverify did not finish: {type(error).__name__}")
    text = " ".join(done.stdout.split())
    match = _SUMMARY.search(text)
    if "verification OK" in text or match is None:
        status = "passed" if "verification OK" in text else "skipped"
        return Check("format", name, status, "no warning, no error" if status == "passed" else text[-80:])
    warnings, errors = int(match[1]), int(match[2])
    message = f"{warnings} warnings, {errors} errors{_first_error(path, program) if errors else ''}"
    return Check("format", name, "failed" if errors else "passed", message, float(errors), 0.0, "errors")


def _first_error(path: Path, program: str) -> str:
    done = subprocess.run(
        [program, "-e", str(path)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_TIMEOUT,
        check=False,
    )
    found = re.search(r"\*\*\* Error:\s*(.*)", done.stdout)
    return f": {' '.join(found[1].split())[:100]}" if found else ""
