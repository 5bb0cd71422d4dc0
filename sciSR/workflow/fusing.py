"""Fuse files: read the frames, fuse them, write the product, its contact sheet and its report."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sciSR.errors import UsageError
from sciSR.files import check_output
from sciSR.workflow.run import out_of_memory_named, overheard

if TYPE_CHECKING:
    from sciSR.fusion.product import Fused
    from sciSR.sequence import FrameSequence

log = logging.getLogger(__name__)

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Outputs:
    """Where everything goes.

    Attributes
    ----------
    product : Path
    contact_sheet, report, report_json : Path or None
        None where not wanted.
    """

    product: Path
    contact_sheet: Path | None = None
    report: Path | None = None
    report_json: Path | None = None

    def all(self) -> list[Path]:
        """Those that are wanted."""
        return [p for p in (self.product, self.contact_sheet, self.report, self.report_json) if p is not None]


class OutputPaths(Protocol):
    """Several files that belong together."""

    def all(self) -> list[Path]:
        """Those that are wanted."""
        ...


@dataclass(frozen=True)
class FuseOutcome:
    """One fusion done: a JSON-ready record.

    Attributes
    ----------
    outputs : Outputs
    shape_in, shape_out : (int, int)
        Of the reference frame and the result.
    frames, used : int
        Given (readable or not), and part of the result.
    left_out : tuple of (str, str)
        Name and reason.
    settings : mapping
    records : tuple of mapping
        One per frame, as in the table FRAMES.
    report : mapping
        Measurements: registration, ring correlation, noise.
    notes, warnings : tuple of str
    seconds : float
    """

    outputs: Outputs
    shape_in: tuple[int, int]
    shape_out: tuple[int, int]
    frames: int
    used: int
    left_out: tuple[tuple[str, str], ...]
    settings: Mapping[str, Any]
    records: tuple[Mapping[str, Any], ...]
    report: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        files = {"output": self.outputs.product, "contact_sheet": self.outputs.contact_sheet}
        files |= {"report": self.outputs.report, "report_json": self.outputs.report_json}
        return {
            **{name: None if path is None else str(path) for name, path in files.items()},
            "shape_in": list(self.shape_in),
            "shape_out": list(self.shape_out),
            "frames": self.frames,
            "used": self.used,
            "left_out": [{"name": name, "reason": reason} for name, reason in self.left_out],
            "settings": dict(self.settings),
            "records": [dict(record) for record in self.records],
            "measured": dict(self.report),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "seconds": round(self.seconds, 3),
        }


def fuse_files(
    paths: Sequence[Path | str],
    output: Path | str,
    *,
    scale: Any = 2,
    method: str = "map",
    contact_sheet: bool = True,
    report: bool | Path | str = False,
    overwrite: bool = False,
    strict: bool = False,
    options: Mapping[str, Any] | None = None,
    sequence: FrameSequence | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> FuseOutcome:
    """Fuse the frames of some files into one product.

    Parameters
    ----------
    paths : sequence of path
        Files, patterns or folders; see :func:`sciSR.read_sequence`.
    output : path
        The suffix chooses the format.
    scale, method, strict, **settings
        See :func:`sciSR.fuse`. `psf` may be the path of an image.
    contact_sheet : bool
        Draw a PNG of the output's name beside it.
    report : bool or path
        Write an HTML page and a JSON file; of the output's name where True.
    overwrite : bool
        Replace existing outputs.
    options : mapping, optional
        The format's own options for reading.
    sequence : FrameSequence, optional
        The frames of these files, where they were read before.
    progress : callable, optional
        Called with the fraction done, 0 to 1.

    Returns
    -------
    FuseOutcome

    Raises
    ------
    SciSRError
        Nothing is written then, unless the product was written and what goes with it can't be.
    """
    from sciSR.api import fuse, fused_writer, read_sequence
    from sciSR.reading import gather

    start = time.perf_counter()
    outputs = plan_outputs(Path(output), contact_sheet=contact_sheet, report=report)
    write = fused_writer(outputs.product)
    check_outputs(outputs, gather([*paths]), overwrite=overwrite)
    if settings.get("psf") is not None:
        settings["psf"] = read_psf(settings["psf"])
    said: list[str] = []
    with (
        out_of_memory_named(outputs.product, "fuse fewer frames, a smaller --scale, or --method drizzle"),
        overheard(said),
    ):
        if sequence is None:
            sequence = read_sequence(paths, strict=strict, **(options or {}))
        fused = fuse(
            sequence,
            scale,
            method,
            strict=strict,
            half_sets=outputs.report is not None,
            panels=outputs.contact_sheet is not None or outputs.report is not None,
            progress=progress,
            **settings,
        )
        write(outputs.product, fused, overwrite=overwrite)
        _write_pictures(fused, outputs, overwrite=overwrite)
    return outcome_of(fused, outputs, tuple(said), time.perf_counter() - start)


def plan_outputs(product: Path, *, contact_sheet: bool = True, report: bool | Path | str = False) -> Outputs:
    """Names of all files: those beside the product share its name.

    Raises
    ------
    UsageError
        A report that would not be an HTML page.
    """
    stem = re.sub(r"(\.(fits|fit|fts))?(\.(gz|fz))?$", "", product.name, flags=re.I) or product.name
    page = None
    if report is not False and report is not None:
        page = product.with_name(f"{stem}.html") if report is True or str(report) == "" else Path(str(report))
        if page.suffix.lower() not in (".html", ".htm"):
            raise UsageError(
                "a report is an .html file",
                where=page,
                remedy="give --report=NAME.html, or --report alone at the end",
            )
    return Outputs(
        product,
        product.with_name(f"{stem}.png") if contact_sheet else None,
        page,
        None if page is None else page.with_suffix(".json"),
    )


def check_outputs(
    outputs: OutputPaths, inputs: Sequence[Path], *, overwrite: bool, called: str = "frames"
) -> None:
    """Refuse, before any work, outputs that exist, coincide, or are inputs (`called` so in the message).

    Raises
    ------
    UsageError
    """
    taken = {path.resolve() for path in inputs}
    seen: set[Path] = set()
    for path in outputs.all():
        if path.resolve() in taken:
            raise UsageError(f"the output is one of the {called}", where=path, remedy="name another output")
        if path.resolve() in seen:
            raise UsageError("two outputs have this name", where=path, remedy="name another report")
        seen.add(path.resolve())
        check_output(path, overwrite=overwrite)


def read_psf(psf: Any) -> Any:
    """A point spread function as an array; a path is read.

    Raises
    ------
    SciSRError
        The file can't be read.
    UsageError
        It is no plane, or sums to nothing.
    """
    import numpy as np

    from sciSR.api import read

    array = np.asarray(read(psf) if isinstance(psf, (str, Path)) else psf, dtype=np.float64).squeeze()
    where = psf if isinstance(psf, (str, Path)) else None
    if array.ndim != 2 or min(array.shape) < 3:
        raise UsageError(f"a PSF is a plane of 3 pixels or more, not {array.shape}", where=where)
    if not np.isfinite(array).all() or not array.sum() > 0:
        raise UsageError("a PSF is finite, with a positive sum", where=where)
    return array


def _write_pictures(fused: Fused, outputs: Outputs, *, overwrite: bool) -> None:
    sheet = None
    if outputs.contact_sheet is not None:
        from sciSR.report.contact_sheet import write_contact_sheet

        sheet = write_contact_sheet(fused, outputs.contact_sheet, overwrite=overwrite).read_bytes()
    if outputs.report is not None and outputs.report_json is not None:
        from sciSR.report.fusion_report import write_report

        write_report(fused, outputs.report, outputs.report_json, sheet=sheet, overwrite=overwrite)


def outcome_of(fused: Fused, outputs: Outputs, said: tuple[str, ...], seconds: float) -> FuseOutcome:
    """The record of a fusion."""
    from sciSR.report.fusion_report import all_records, native_shape

    records = all_records(fused)
    rows, columns = fused.image.shape
    return FuseOutcome(
        outputs=outputs,
        shape_in=native_shape(fused),
        shape_out=(rows, columns),
        frames=len(records),
        used=sum(record["used"] for record in records),
        left_out=tuple((r["name"], r["reason"]) for r in records if not r["used"]),
        settings=fused.settings,
        records=tuple(records),
        report=fused.report,
        notes=tuple(dict.fromkeys([*fused.sequence.notes, *fused.notes])),
        warnings=said,
        seconds=seconds,
    )
