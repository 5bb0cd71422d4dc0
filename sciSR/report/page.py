"""The page about one upscaled file: what it shows, how sure it is, how it was made; one self-contained HTML file."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.errors import ResourceError
from sciSR.files import atomic_output, check_output
from sciSR.report import page_sections as sections
from sciSR.report.page_facts import Facts, gather, sources_of
from sciSR.report.page_render import render, safe_json
from sciSR.report.page_scene import Scene, Sources, plane_scene
from sciSR.report.page_support import feature_places, support_of
from sciSR.report.page_volume import volume_scene
from sciSR.report.page_words import bibliography, command_of, in_one, methods, mood_of, verdict

LIMIT = 3_000_000
"""A page is smaller, whatever it shows; bytes."""
_PIXELS = 2_300_000
"""Characters for pixels at first."""


def write_page(
    input: Path | str | None,
    output: Path | str,
    page: Path | str | None = None,
    *,
    truth: Path | str | None = None,
    part: str | None = None,
    volume: int = 0,
    command: str | None = None,
    record: Sequence[Mapping[str, Any]] | None = None,
    options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the page about a file and the one made of it.

    Parameters
    ----------
    input : path or None
        None where it is not at hand: the page then says so and shows what can be shown without it.
    output : path
        A FITS, NIfTI or DICOM file or folder, or whatever an installed plugin reads; sciSR's or another tool's.
    page : path, optional
        Beside the output by default: ``m51_x2.html``.
    truth : path, optional
        The scene itself on the output's pixels, for an error map.
    part : str, optional
        Which image, of files that hold several; the first by default.
    volume : int
        Which one, of several volumes (time, channels).
    command : str, optional
        What made the output, as it was typed; by default put together from the output's record.
    record : sequence of mapping, optional
        The steps that made the output, for formats that keep them in words only (DICOM); else its header's.
    options : mapping, optional
        Of the formats, for reading, e.g. ``{"axes": "x,y"}``.
    overwrite : bool

    Returns
    -------
    Path
        The page, below 3 MB. The same files give the same bytes.

    Raises
    ------
    SciSRError
        A file can't be read, the two do not belong together, or the page exists.
    """
    target = default_page(Path(output)) if page is None else Path(page)
    check_output(target, overwrite=overwrite)
    made = compose(
        input, output, truth=truth, part=part, volume=volume, command=command, record=record, options=options
    )
    with atomic_output(target, overwrite=overwrite) as temporary:
        temporary.write_text(made.text, encoding="utf-8")
    return target


@dataclass(frozen=True, eq=False)
class Composed:
    """A page's text, and what it was made of."""

    text: str
    facts: Facts
    scene: Scene


def compose(
    input: Path | str | None,
    output: Path | str,
    *,
    truth: Path | str | None = None,
    part: str | None = None,
    volume: int = 0,
    command: str | None = None,
    record: Sequence[Mapping[str, Any]] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Composed:
    """The page, not written; parameters as of :func:`write_page`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said when the output was made
        facts = gather(
            Path(output),
            None if input is None else Path(input),
            truth=None if truth is None else Path(truth),
            part=part,
            options=options,
        )
        if record and not facts.step:
            facts.steps = tuple(record)
        sections.examine(facts, options)
        return page_text(facts, volume=volume, command=command)


def default_page(output: Path) -> Path:
    """``m51_x2.fits`` -> ``m51_x2.html``, ``T1w_x2.nii.gz`` -> ``T1w_x2.html``, a folder likewise."""
    from sciSR.plugins import adapters

    name = output.resolve().name
    if not output.is_dir():
        suffixes = sorted({s for a in adapters().values() for s in a.suffixes}, key=len, reverse=True)
        found = next((s for s in suffixes if name.lower().endswith(s)), output.suffix)
        name = name[: len(name) - len(found)] if found else name
    return output.resolve().with_name(f"{name}.html")


def page_text(facts: Facts, *, volume: int = 0, command: str | None = None) -> Composed:
    """The page; pixels are left out until it is small enough."""
    sources = sources_of(facts, volume)
    static = None
    budget = _PIXELS
    for _ in range(6):
        scene = scene_of(facts, sources, budget)
        if static is None:
            static = context_of(facts, sources, scene, command)
        text = finished(facts, scene, static)
        size = len(text.encode("utf-8"))
        if size < LIMIT:
            return Composed(text, facts, scene)
        budget = min(budget, scene.size) - int(1.05 * (size - LIMIT)) - 2000
        if budget < 2000:
            break
    raise ResourceError(f"the page would have {size} bytes, more than {LIMIT}", where=facts.output)


def scene_of(facts: Facts, sources: Sources, budget: int) -> Scene:
    """Pixels of a plane or a volume, of at most `budget` characters."""
    places = feature_places(facts, sources)
    bad = np.array([[p["y"], p["x"]] for p in places if not p["supported"]])[:200]
    if sources.after.shape[0] > 1 and sources.after.channels == 1:
        scene = volume_scene(sources, budget, places)
    else:
        scene = plane_scene(sources, budget, bad if len(bad) else None)
    scene.features = [p for p in places if not p["supported"]]
    return scene


def context_of(facts: Facts, sources: Sources, scene: Scene, command: str | None = None) -> dict[str, Any]:
    """Everything of the page but the pixels."""
    findings = verdict(facts)
    paragraph, cited = methods(facts)
    card, model_text = sections.card_of(facts)
    pictures = sections.pictures_of(facts, sources, scene)
    record = json.dumps(list(facts.steps), indent=1) if facts.steps else ""
    typed = command is not None
    return {
        "facts": facts,
        "lead": sections.lead(facts),
        "mood": mood_of(findings),
        "verdict": in_one(findings),
        "troubles": sections.troubles(facts),
        "familiarity": list((facts.step.get("familiarity") or {}).get("notes") or []),
        "familiarity_rows": sections.familiarity_rows(facts),
        "compare_text": sections.compare_text(facts, sources, scene),
        "uncertainty": sections.uncertainty_text(facts),
        "support": support_of(facts),
        "agreement": sections.agreement_text(facts),
        "checks": sections.checks_of(facts),
        "checks_missing": sections.checks_missing(facts),
        "keys": sections.keys_of(facts),
        "card": card,
        "model_text": model_text,
        "made": sections.made_rows(facts),
        "command": command if typed else command_of(facts),
        "command_title": "Command" if typed else "Command, put together from the record",
        "methods": paragraph,
        "bibtex": bibliography(cited),
        "record": record,
        "notes": facts.notes,
        **pictures,
    }


def finished(facts: Facts, scene: Scene, context: Mapping[str, Any]) -> str:
    """The page with its pixels."""
    from markupsafe import Markup

    choices = [(name, layer["label"]) for name, layer in scene.layers.items() if name != "before"]
    pixels = {**scene.as_dict(), "features": scene.features}
    shown = _sections(context)
    return render(
        "page.html.j2",
        viewer=True,
        pixels=Markup(safe_json(pixels)),
        panes=list(range(len(scene.planes))),
        choices=choices,
        features=bool(scene.features),
        scene_notes=scene.notes,
        sections=shown,
        **context,
    )


def _sections(context: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    every = (
        ("compare", "Before and after", True),
        ("trust", "How sure it is", True),
        ("agreement", "Agreement", True),
        ("detail", "Detail", bool(context["curves"])),
        ("checks", "Checks", True),
        ("metadata", "Metadata", context["keys"] is not None),
        ("model", "Model", True),
        ("record", "How it was made", True),
    )
    return [(key, name) for key, name, is_shown in every if is_shown]


write_upscale_report = write_page
"""The same, as ``sciSR.write_upscale_report``."""
