"""What a derived DICOM image says of its making, as a provenance: the words of DerivationDescription, taken apart.

DICOM has no element for structured steps; what this software writes there is regular enough to be read again.
"""

from __future__ import annotations

import re
from typing import Any

from sciSR.provenance import Provenance
from scisr_medical.dicom_io import read_header

_STEP = re.compile(
    r"(?P<software>sciSR \S+) (?P<step>[a-z ]+?)(?: x(?P<scale>[0-9][0-9./x,]*))?"
    r"(?: (?!consistency )(?P<model>[^\s()]+))?(?: \((?!weights |input )[^()]*\))?"
    r"(?: consistency (?P<consistency>[a-z ]+?))?(?P<hashes>(?: \((?:weights|input) sha256 [0-9a-f]{64}\))*)"
)
_HASH = re.compile(r"\((weights|input) sha256 ([0-9a-f]{64})\)")


def record_of(stack: Any) -> Provenance:
    """Steps that the first image of a series tells of; none where other software made it.

    Parameters
    ----------
    stack : scisr_medical.dicom_series.Stack
    """
    first = stack.first
    header = read_header(first.path)[0]
    words = str(header.get("DerivationDescription") or "")
    if not words and first.frame is not None:
        from scisr_medical.verify_dicom_frames import Frame

        items = Frame(first.path, header, int(first.frame) + 1).groups().get("DerivationImageSequence") or []
        words = str(items[0].get("DerivationDescription") or "") if len(items) else ""
    return Provenance(tuple(steps_of(words)))


def steps_of(words: str) -> list[dict[str, Any]]:
    """Steps of a DerivationDescription; earlier ones, which stand behind ``Earlier:``, are the source's.

    >>> steps_of("sciSR 0.1.0 upscale x2 cubic consistency none; factors rows 2, columns 2, slices 1.")
    [{'software': 'sciSR 0.1.0', 'step': 'upscale', 'scale': '2', 'model': 'cubic', 'consistency': 'none', \
'quantity': 'density', 'abridged': True}]
    """
    steps = []
    for part in words.partition(" Earlier:")[0].split("; "):
        found = _STEP.fullmatch(part.strip().rstrip("."))
        if found is None:
            continue
        step: dict[str, Any] = {"software": found["software"], "step": found["step"]}
        step |= {k: found[k] for k in ("scale", "model", "consistency") if found[k]}
        for kind, digest in _HASH.findall(found["hashes"]):
            step[f"{kind}_sha256"] = digest
        if found["step"] != "read":
            # Values of medical images are densities; the measured agreement has no room in 1,024 characters.
            step |= {"quantity": "density", "abridged": True}
        steps.append(step)
    return steps
