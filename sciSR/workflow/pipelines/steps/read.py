"""The step ``read``: is the item readable, what does it hold, and how is it to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from sciSR.errors import UnreadableError, UnsupportedError
from sciSR.workflow.pipelines.products import PARTS, images_of, one_input, plain
from sciSR.workflow.pipelines.work import Product, Work

if TYPE_CHECKING:
    from sciSR.adapter import Option


def read(work: Work, **options: Any) -> Product:
    """Check that the item can be read, record what it holds, and say how later steps are to read it.

    Every option of every installed format is a parameter; a format takes those that it knows. Pixels are not read yet.

    Raises
    ------
    SciSRError
        The item can't be read, or holds no image.
    """
    given = {name: value for name, value in options.items() if value not in (None, False, [], ())}
    product = replace(work.product, options={**work.product.options, **given})
    work = replace(work, product=product)
    if product.sequence:
        return replace(product, record=_sequence(product), messages=())
    images = images_of(one_input(work), given)
    if not images:
        raise UnsupportedError("holds no image", where=work.key)
    told = [_facts(image.describe()) for image in images[:PARTS]]
    return replace(product, record=plain({"images": len(images), "parts": told}), messages=(), ready={})


def _facts(described: Mapping[str, Any]) -> dict[str, Any]:
    names = ("part", "shape", "axes", "dtype", "unit", "quantity", "kind", "domain", "grid")
    return {name: described[name] for name in names if described.get(name) not in (None, "")}


def _sequence(product: Product) -> dict[str, Any]:
    """Frames are looked at when they are registered: a bad one is then left out by name. One must be of a format."""
    from sciSR.errors import SciSRError
    from sciSR.plugins import adapter_for

    formats: dict[str, int] = {}
    problem: SciSRError | None = None
    for path in product.files:
        try:
            name = adapter_for(path).name
        except SciSRError as error:
            problem = problem or error
        else:
            formats[name] = formats.get(name, 0) + 1
    if not formats:
        raise problem or UnreadableError("the sequence has no file")
    return {"files": len(product.files), "formats": formats}


def _give_signature() -> None:
    """The formats' own options as parameters with types and texts, so that files are checked against them."""
    import inspect

    from sciSR.plugins import adapters

    found: dict[str, list[tuple[str, Option]]] = {}
    for _, adapter in sorted(adapters().items()):
        for option in adapter.options:
            found.setdefault(option.name, []).append((adapter.name, option))
    own, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("work", own, annotation=Work)]
    texts = []
    for name, told in found.items():
        kind = _kind([option for _, option in told])
        default = False if kind is bool else None
        parameters.append(inspect.Parameter(name, keyword, default=default, annotation=kind))
        said: dict[str, list[str]] = {}
        for adapter_name, option in told:
            said.setdefault(option.help, []).append(adapter_name)
        words = "; ".join(f"{', '.join(names)}: {text}" for text, names in said.items())
        texts.append(f"{name} : optional\n    {words}")
    read.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    read.__annotations__ = {each.name: each.annotation for each in parameters[1:]}
    head, _, tail = inspect.cleandoc(read.__doc__ or "").partition("\n\nRaises\n")
    read.__doc__ = f"{head}\n\nParameters\n----------\n" + "\n".join(texts) + f"\n\nRaises\n{tail}"


def _kind(options: Sequence[Option]) -> Any:
    """The type of an option; one that several formats have takes what any of them takes."""
    kinds = {option.type for option in options}
    if kinds == {"flag"}:
        return bool
    if kinds == {"choice"}:
        kind: Any = Literal[tuple(dict.fromkeys(word for option in options for word in option.choices))]
    else:
        kind = str if kinds == {"text"} else str | bool
    if any(option.multiple for option in options):
        kind = Annotated[list[kind], _several()]
    return kind | None


def _several() -> Any:
    from pydantic import BeforeValidator

    return BeforeValidator(lambda value: [value] if isinstance(value, str | int) else value)


_give_signature()
