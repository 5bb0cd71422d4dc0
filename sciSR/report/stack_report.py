"""The page about a fused volume: picture, motion of each stack, weights; one self-contained HTML file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from sciSR.files import encodable


def render(document: Mapping[str, Any], notes: Sequence[str], sheet: bytes) -> str:
    """The page.

    Parameters
    ----------
    document : mapping
        The JSON beside the volume, see :func:`sciSR.workflow.fused_stacks.sidecar`.
    notes : sequence of str
    sheet : bytes
        The contact sheet as PNG.
    """
    from importlib.resources import files

    from jinja2 import Environment

    from sciSR.report.fusion_report import _flat, _number, plain

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _number
    template = files("sciSR.report").joinpath("templates/stacks.html.j2").read_text(encoding="utf-8")
    told = plain(document)
    text = environment.from_string(template).render(
        document=told,
        own=told["SciSR"],
        measured=dict(_flat(told["SciSR"]["Measured"])),
        settings=dict(_flat(told["SciSR"]["Settings"])),
        notes=list(notes),
        sheet=base64.b64encode(sheet).decode("ascii"),
    )
    return encodable(text)
