"""What steps share: a product as one readable input, names of what they make, options that still mean something."""

from __future__ import annotations

import contextlib
import glob
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sciSR.adapter import Adapter
from sciSR.errors import SciSRError, UsageError
from sciSR.image import Image
from sciSR.workflow.outcome import Failure, Outcome, Skipped
from sciSR.workflow.outputs import Job
from sciSR.workflow.pipelines.work import Product, Work

PARTS = 8
"""Images of one file that a record tells of."""
UNCHANGED = "unchanged"
"""Key of a product's state: why a step passed it on as it was."""
CALIBRATION = ("dark", "flat", "bias", "bad_pixels")
"""Options of :func:`sciSR.read_sequence` that belong to no format."""
_LINKS = ".input"


def one_input(work: Work, product: Product | None = None) -> Path:
    """A product, the step's own by default, as one file or folder.

    The files of one DICOM series, which may lie among others, become a folder of links, in the order of their paths:
    its hash is that of the series' own folder.

    Raises
    ------
    UsageError
        It is a sequence of several files.
    """
    product = work.product if product is None else product
    if len(product.files) == 1:
        return product.files[0]
    if not product.files:
        raise UsageError("there is no file to work on", where=work.key)
    if product.sequence:
        raise UsageError(
            f"takes one image, and this item is a sequence of {len(product.files)} files",
            where=work.key,
            remedy="put 'step: fuse' before it",
        )
    return linked(product.files, work.folder / _LINKS)


def unchanged(work: Work) -> str:
    """Why nothing was made of the item although a step was to make something; empty where something was, or none was
    to."""
    if UNCHANGED not in work.product.state or pixels(work.product) != pixels(work.earlier[""]):
        return ""
    return f"nothing was made of it: {work.product.state[UNCHANGED]}"


def made_from(work: Work, against: str | None = None) -> Product:
    """What the product is held against: that of an earlier step, or what the last step that made pixels was given.

    Raises
    ------
    UsageError
        There is no such step, or none has made pixels.
    """
    if against is not None:
        if against not in work.earlier:
            raise UsageError(f"no step before is called {against!r}", where=work.key)
        return work.earlier[against]
    for product in reversed(work.earlier.values()):
        if pixels(product) != pixels(work.product):
            return product
    raise UsageError(
        "no step has made anything of this item yet", where=work.key, remedy="put 'step: upscale' before it"
    )


def pixels(product: Product) -> tuple[Path, ...]:
    """The files in which the pixels of a product were made; its own files may be copies under another name."""
    found: tuple[Path, ...] = product.state.get("pixels", product.files)
    return found


def input_of(work: Work, before: Product) -> Path:
    """The one file that the product can be held against: of a sequence that was fused the reference frame's."""
    if not before.sequence or len(before.files) == 1:
        return one_input(work, before)
    name = str(work.product.state.get("reference", "")).partition("[")[0]
    fitting = [path for path in before.files if str(path).endswith(f"/{name}")] if name else []
    return fitting[0] if fitting else before.files[0]


def lone_fusion(work: Work, before: Product) -> str:
    """Why a fusion can't be held against one file: it is none's alone. Empty where it can, and for all else."""
    state = work.product.state
    if state.get("fused") == "stacks" and pixels(before) == state.get("fused_of"):
        return "a fusion of several stacks lies on a grid of its own, which is no single one's"
    if state.get("fused") == "frames" and pixels(before) == state.get("fused_of"):
        after = images_of(pixels(work.product)[0], {})[0]
        source = input_of(work, before)
        options = {**before.options, **lenient(source, before)}
        if any(len(image.axes) > len(after.axes) for image in images_of(source, options)):
            return f"a fusion of frames that are all in {source.name} is no image of that file"
    return ""


def lenient(source: Path, before: Product) -> dict[str, Any]:
    """Options with which a frame is read that was fused in spite of a stale sum, with a warning."""
    from sciSR.plugins import adapter_for

    verifier = getattr(adapter_for(source), "verifier", None) if before.sequence else None
    return {} if verifier is None else dict(getattr(verifier(), "lenient", {}))


def filled(work: Work, pattern: str) -> str:
    """A path of the pipeline file with the item's facts in the place of its fields: ``"truth/{stem}.fits"``.

    Raises
    ------
    UsageError
        A field that this item lacks.
    """
    from sciSR.workflow.pipelines.naming import fields, fill

    for field in fields(pattern):
        pattern = pattern.replace(f"{{{field}}}", glob.escape(fill(f"{{{field}}}", work.facts)))
    return pattern


def input_files(work: Work, pattern: str, called: str) -> list[Path]:
    """The files below the input folder that a path or pattern means, by name; fields are filled in.

    Raises
    ------
    UsageError
        There is none.
    """
    path = filled(work, pattern)
    # The folder's own name may hold brackets, which are no pattern.
    found = sorted(work.input / each for each in glob.glob(path, root_dir=work.input, recursive=True))
    if not found:
        raise UsageError(
            f"{called}: no file fits {path!r}",
            where=work.key,
            remedy=f"paths are relative to the input folder; without such files leave {called!r} out of the step",
        )
    return found


def input_file(work: Work, pattern: str, called: str) -> Path:
    """The one file or folder below the input folder that a path or pattern means.

    Raises
    ------
    UsageError
        There is none, or several.
    """
    found = input_files(work, pattern, called)
    if len(found) > 1:
        raise UsageError(f"{called}: {len(found)} files fit {pattern!r}", where=work.key, remedy="name one")
    return found[0]


def linked(files: Sequence[Path], folder: Path) -> Path:
    """A folder that holds these files and no others, without copying where the file system has links."""
    from sciSR.plugins import adapters

    known = {suffix for adapter in adapters().values() for suffix in adapter.suffixes}
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(sorted(files)):
        # Messages name the links, so what no format knows ("scan.Jane") is left away.
        target = folder / f"{number:06d}{path.suffix if path.suffix.lower() in known else ''}"
        if not os.path.lexists(target):
            try:
                os.symlink(Path(path).resolve(), target)
            except (OSError, NotImplementedError):
                shutil.copyfile(path, target)
    return folder


def same_content(source: Path, target: Path, *, linking: bool) -> None:
    """The same content under another name, folders file by file.

    Parameters
    ----------
    source, target : path
    linking : bool
        Hard links where the file system has them: for what was made in this run, never for an input, which a change of
        the output must not change.
    """
    if source.is_dir():
        target.mkdir(exist_ok=True)
        for child in sorted(source.iterdir()):
            same_content(child, target / child.name, linking=linking)
        return
    if linking and not source.is_symlink():
        with contextlib.suppress(OSError, NotImplementedError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def suffix_of(adapter: Adapter, path: Path) -> str:
    """The suffix that results of this input have by default: ``.fits``, ``.nii.gz``; empty for a folder of files."""
    name = adapter.default_output(path, "2").name.lower()
    fitting = [suffix for suffix in adapter.suffixes if name.endswith(suffix)]
    return max(fitting, key=len, default="")


def bare(name: str, adapter: Adapter | None = None) -> str:
    """A file's name without its format's suffix."""
    from sciSR.plugins import adapters

    some = [adapter] if adapter is not None else adapters().values()
    suffixes = sorted({s for a in some for s in a.suffixes}, key=len, reverse=True)
    found = next((s for s in suffixes if name.lower().endswith(s)), "")
    return name[: len(name) - len(found)]


def target_of(work: Work, suffix: str) -> Path:
    """Where a step writes its result: in its folder, under the name that it will have in the end."""
    return work.folder / f"{Path(work.name).name}{suffix}"


def beside(target: Path) -> tuple[Path, ...]:
    """What a format wrote beside its result: standard deviations, gradient tables, sidecars."""
    return tuple(sorted(p for p in target.parent.iterdir() if p != target and not p.name.startswith(".")))


def reading(adapter: Adapter, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that this format knows for reading."""
    known = {option.name for option in adapter.options if not option.writes}
    return {name: value for name, value in options.items() if name in known}


def sequence_options(product: Product) -> dict[str, Any]:
    """Those of the options that :func:`sciSR.read_sequence` takes: of the frames' format, and calibration frames."""
    from sciSR.plugins import adapter_for

    own = reading(adapter_for(product.files[0]), product.options)
    also = {name: product.options[name] for name in CALIBRATION if product.options.get(name) is not None}
    return {**own, **also}


def images_of(path: Path, options: Mapping[str, Any]) -> list[Image]:
    """The images of a file or folder, lazily, with those of the options that its format knows."""
    from sciSR.plugins import adapter_for

    adapter = adapter_for(path)
    return adapter.read(path, **reading(adapter, options))


def still_fitting(path: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with which a step's result can be read in its turn.

    What told how to take the pixels (a quantity, a pair of axes) still holds; what picked something out of the input
    (one of several series) may name nothing in the result.
    """
    from sciSR.plugins import adapter_for

    try:
        images_of(path, options)
    except SciSRError:
        kept: dict[str, Any] = {}
        adapter = adapter_for(path)
        for name, value in reading(adapter, options).items():
            with contextlib.suppress(SciSRError):
                adapter.read(path, **kept, **{name: value})
                kept[name] = value
        return kept
    return dict(options)


def run_one(
    work: Work,
    make_plan: Callable[..., Any] | None = None,
    *,
    scale: Any = None,
    named: Any = None,
    suffix: str | None = None,
    **settings: Any,
) -> tuple[Path, Outcome | Skipped]:
    """What ``scisr upscale`` or ``scisr degrade`` does to one input, with the result in the step's folder.

    Parameters
    ----------
    work : Work
    make_plan, scale, **settings
        See :func:`sciSR.workflow.run.run_jobs`.
    named : pair of Fraction or str
        The scale as :func:`sciSR.workflow.outputs.plan_jobs` takes it.
    suffix : str, optional
        Of the result, where it is not to be of the input's format.

    Raises
    ------
    SciSRError
        What the command would have said.
    """
    from sciSR.plugins import adapter_for
    from sciSR.workflow.outputs import plan_jobs
    from sciSR.workflow.run import run_jobs

    path = one_input(work)
    adapter = adapter_for(path)
    target = target_of(work, suffix_of(adapter, path) if suffix is None else suffix)
    known = {option.name for option in adapter.options}
    options = {name: value for name, value in work.product.options.items() if name in known}
    [job] = plan_jobs([path], output=target, scale=named if named is not None else scale, options=options)

    def shown(job: Job) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext(work.progress)

    [result] = run_jobs([job], scale=scale, make_plan=make_plan, progress=shown, **settings)
    if isinstance(result, Failure):
        raise result.error
    return target, result


def product_of(work: Work, target: Path, outcome: Outcome | Skipped) -> Product:
    """The product of a step that made one file of one file; where nothing was to be done, the product before."""
    if isinstance(outcome, Skipped):
        said = (outcome.reason.what,)
        state = {**work.product.state, UNCHANGED: outcome.reason.what}
        return replace(work.product, messages=said, record={"skipped": said[0]}, ready={}, state=state)
    told = outcome.as_dict()
    record = {
        "format": outcome.format,
        "input_sha256": outcome.input_sha256,
        "images": len(outcome.parts),
        "parts": told["parts"][:PARTS],
    }
    messages = [*outcome.warnings, *(m for part in outcome.parts for m in part.messages)]
    read = {"step": "read", "input_sha256": outcome.input_sha256}
    return Product(
        (target,),
        options=still_fitting(target, work.product.options),
        beside=beside(target),
        record=plain(record),
        messages=tuple(dict.fromkeys(messages)),
        # The first is for formats that keep their record in a few words only; the other names a fusion's frame.
        state={"steps": (read, outcome.parts[0].step), "reference": work.product.state.get("reference", "")},
    )


def plain(value: Any) -> Any:
    """JSON-safe: numbers of Python, no NaN, paths by their names."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(each) for each in value]
    if isinstance(value, Path):
        return value.name
    if value is None or isinstance(value, bool | str | int):
        return value
    if hasattr(value, "item"):
        return plain(value.item()) if getattr(value, "ndim", 0) == 0 else plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
