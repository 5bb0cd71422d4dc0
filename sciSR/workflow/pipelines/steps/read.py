"""The step ``read``: is the item readable, what does it hold, and how is it to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from sciSR.errors import UnreadableError, UnsupportedError
from sciSR.workflow.pipelines.products import PARTS, images_of, one_input, plain
from sciSR.workflow.pipelines.work import Product, Work


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


_OWN = {"text": str, "flag": bool}


def _give_signature() -> None:
    """The formats' own options as parameters with types and texts, so that files are checked against them."""
    import inspect

    from sciSR.plugins import adapters

    parameters: dict[str, inspect.Parameter] = {}
    texts: dict[str, list[str]] = {}
    for adapter in adapters().values():
        for option in adapter.options:
            kind: Any = _OWN.get(option.type, str)
            if option.type == "choice":
                kind = Literal[option.choices]
            if option.multiple:
                kind = Annotated[list[kind], _several()]
            default: Any = False if option.type == "flag" else None
            if default is None:
                kind = kind | None
            texts.setdefault(option.name, []).append(f"{adapter.name}: {option.help}")
            if option.name in parameters and parameters[option.name].annotation != kind:
                kind = str | bool | None  # two formats mean different things by one name
                default = None
            parameters[option.name] = inspect.Parameter(
                option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
            )
    first = inspect.Parameter("work", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Work)
    read.__signature__ = inspect.Signature([first, *parameters.values()])  # type: ignore[attr-defined]
    read.__annotations__ = {name: each.annotation for name, each in parameters.items()}
    lines = [f"{name} : optional\n    {'; '.join(said)}" for name, said in texts.items()]
    head, _, tail = inspect.cleandoc(read.__doc__ or "").partition("\n\nRaises\n")
    read.__doc__ = f"{head}\n\nParameters\n----------\n" + "\n".join(lines) + f"\n\nRaises\n{tail}"


def _several() -> Any:
    from pydantic import BeforeValidator

    return BeforeValidator(lambda value: [value] if isinstance(value, str | int) else value)


_give_signature()
