"""The step ``report``: a page about the product and what it was made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sciSR.workflow.pipelines.naming import fill
from sciSR.workflow.pipelines.products import (
    input_file,
    input_of,
    lenient,
    lone_fusion,
    made_from,
    one_input,
    pixels,
    target_of,
    unchanged,
)
from sciSR.workflow.pipelines.work import InputPath, Product, StepName, Work


def report(
    work: Work,
    *,
    against: StepName | None = None,
    truth: InputPath | None = None,
    part: str | None = None,
    volume: int = 0,
    output: str | None = None,
) -> Product:
    """Write a page about the product, as ``scisr report`` does. Research use only, not for diagnosis.

    Parameters
    ----------
    against : str
        Name of an earlier step, whose product is shown as before; by default what the last step that made pixels was
        given, for a fusion its reference frame.
    truth : str
        The scene itself on the product's pixels, for an error map: a path below the inputs, with fields like {stem}.
    part : str
        Which image, of files that hold several; the first by default.
    volume : int
        Which one, of several volumes (time points), from 0.
    output : str
        Template of the page's name, without .html; by default the outputs' name.

    Raises
    ------
    SciSRError
        A file can't be read, or the two do not belong together.
    """
    from sciSR.report.page import write_page

    alone = bool(unchanged(work))
    before = work.product if alone else made_from(work, against)
    name = work.name if output is None else fill(output, work.facts)
    page = target_of(replace(work, name=name), ".html")
    source = None if alone or lone_fusion(work, before) else input_of(work, before)
    write_page(
        source,
        _shown(work),
        page,
        truth=None if truth is None else input_file(work, truth, "truth"),
        part=part,
        volume=volume,
        record=work.product.state.get("steps"),
        options={**work.product.options, **({} if source is None else lenient(source, before))},
    )
    ready = {f"{name}.html": page}
    return replace(
        work.product, ready=ready, record={"page": page.name, "bytes": page.stat().st_size}, messages=()
    )


def _shown(work: Work) -> Path:
    """The product; of one that was written in another format the original, which lies on the axes of its input."""
    from sciSR.plugins import adapter_for

    path, original = one_input(work), pixels(work.product)
    converted = len(original) == 1 and adapter_for(original[0]) is not adapter_for(path)
    return original[0] if converted else path
