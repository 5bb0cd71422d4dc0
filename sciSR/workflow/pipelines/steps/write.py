"""The step ``write``: the product, under its name in the output folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sciSR.workflow.pipelines.products import bare, one_input, pixels, same_content, suffix_of
from sciSR.workflow.pipelines.work import Product, Work


def write(work: Work) -> Product:
    """Put the product, and what belongs to it, into the output folder once all steps have passed.

    Raises
    ------
    SciSRError
        The product is a sequence that was not fused.
    """
    from sciSR.plugins import adapter_for

    path = one_input(work)
    adapter = adapter_for(path)
    suffix = suffix_of(adapter, path) if path.is_dir() else path.name[len(bare(path.name, adapter)) :]
    name = Path(work.name).name
    target = work.folder / f"{name}{suffix}"
    same_content(path, target, linking=_made_here(work, path))
    others = _beside(work, path, name)
    parent = Path(work.name).parent
    ready = {str(parent / made.name): made for made in (target, *others)}
    return replace(
        work.product,
        files=(target,),
        sequence=False,
        beside=tuple(others),
        ready=ready,
        record={"files": list(ready)},
        messages=(),
        state={**work.product.state, "pixels": pixels(work.product)},
    )


def _beside(work: Work, path: Path, name: str) -> list[Path]:
    """What belongs to the product, under the same change of name."""
    old, made = bare(path.name), []
    for other in work.product.beside:
        ending = other.name[len(old) :] if other.name.startswith(old) else f"_{other.name}"
        target = work.folder / f"{name}{ending}"
        same_content(other, target, linking=_made_here(work, other))
        made.append(target)
    return made


def _made_here(work: Work, path: Path) -> bool:
    """Whether a file was made by a step of this item; it lies in that step's folder."""
    return work.folder.parent.resolve() in path.resolve().parents
