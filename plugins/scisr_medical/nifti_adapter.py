"""NIfTI-1 and NIfTI-2: ``.nii``, ``.nii.gz`` and ``.hdr``/``.img`` pairs, 2-D to 7-D; MGH and ANALYZE 7.5 are read.

Whatever was read is written as NIfTI. Research use only, not for diagnosis.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sciSR.adapter import FoundInput, Option, Writer
from sciSR.errors import ResourceError, SciSRError, UnreadableError, UsageError
from sciSR.files import check_regular_file
from sciSR.grid import AffineGrid
from sciSR.image import Image
from sciSR.provenance import Provenance
from scisr_medical.nifti_header import (
    AXES,
    EXTENSION_COMMENT,
    HEADER_SIZE,
    NiftiHeader,
    read_extensions,
    recognise,
)
from scisr_medical.nifti_intent import intent_notes
from scisr_medical.nifti_kinds import COMPLEX, KIND_OPTIONS, Asked, asked, kind_fields
from scisr_medical.nifti_slices import Slices, slices_of
from scisr_medical.volume_header import NIFTI, VolumeHeader, output_suffix, parse_header

_RECORD_KEY = "sciSR"
_PAIR = re.compile(r"(.*)(\.hdr|\.img)((?:\.gz)?)", re.IGNORECASE)


@dataclass(frozen=True)
class NiftiMetadata:
    """Everything of the input file that its voxels do not say; travels with the image to the writer.

    Attributes
    ----------
    header : NiftiHeader
    geometry : Geometry
    extensions : tuple of (int, bytes)
        Header extensions but for this software's own record.
    sidecars : mapping of str to Path
        bval, bvec and JSON files beside the image, by their ending.
    part : str
        How complex voxels were made real, or empty.
    slices : tuple of int
        Axes along which slices may have been acquired.
    """

    header: NiftiHeader
    geometry: Any
    extensions: tuple[tuple[int, bytes], ...]
    sidecars: Mapping[str, Path]
    part: str = ""
    slices: tuple[int, ...] = (2,)


@contextlib.contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Whatever a library or the system raises becomes one line that names the file."""
    try:
        yield
    except SciSRError:
        raise
    except MemoryError as error:
        raise ResourceError("out of memory", where=path) from error
    except OSError as error:
        raise UnreadableError(f"can't be read: {error.strerror or error}", where=path) from error
    except Exception as error:
        raise UnreadableError(
            f"can't be read as NIfTI: {type(error).__name__}: {error}", where=path
        ) from error


def header_and_data_paths(path: Path) -> tuple[Path, Path]:
    """The two files of a pair, given either; the same path twice for any other name.

    The other half has the same name with ``.hdr`` for ``.img`` or the reverse; of the plain and the gzip form the
    one that exists is taken, the given file's own form if neither does.
    """
    match = _PAIR.fullmatch(path.name)
    if match is None:
        return path, path
    stem, ending, packed = match.groups()
    given_header = ending.lower() == ".hdr"
    other = ".img" if given_header else ".hdr"
    other = other.upper() if ending.isupper() else other
    candidates = [path.with_name(stem + other + gz) for gz in (packed, "" if packed else ".gz")]
    partner = next((each for each in candidates if each.is_file()), candidates[0])
    return (path, partner) if given_header else (partner, path)


class NiftiAdapter:
    """Reads and writes NIfTI; see :class:`sciSR.adapter.Adapter`."""

    name = "nifti"
    suffixes = (".nii.gz", ".hdr.gz", ".img.gz", ".nii", ".hdr", ".img")
    writes_volumes = True
    writes_uncertainty = True
    options = (
        Option("axes", "the two array axes to upscale: x,y or i,k; x is the first (default: the two finest)"),
        Option(
            "domain",
            "what the scanner was; NIfTI does not say (default: mr)",
            "choice",
            ("mr", "ct", "generic"),
        ),
        *KIND_OPTIONS,
        Option("complex", "of complex voxels: both parts (default), or made real", "choice", tuple(COMPLEX)),
        Option(
            "dtype", "float32 (default), or keep the stored type", "choice", ("float32", "keep"), writes=True
        ),
    )

    def sniff(self, path: Path) -> bool:
        """By content: a NIfTI, ANALYZE or MGH header, gzip or not."""
        try:
            from scisr_medical.nifti_voxels import inflated_head

            path = header_and_data_paths(Path(path))[0]
            return path.is_file() and recognise(inflated_head(path, HEADER_SIZE[2])) != ""
        except Exception:
            return False

    def read(
        self,
        path: Path,
        *,
        axes: str | Sequence[str] | None = None,
        domain: str | None = None,
        complex: str | None = None,
        **kind: Any,
    ) -> list[Image]:
        """One image, in nibabel's array order (``x, y, z, t``); its grid is the world the file declares.

        Parameters
        ----------
        path : Path
        axes : str or sequence of str, optional
            The two axes to upscale, e.g. ``"x,y"``; the two finest by voxel size if not given.
        domain : {"mr", "ct", "generic"}, optional
        complex : {"both", "magnitude", "real", "imaginary"}, optional
            Complex voxels as they are, by default, or made real.
        **kind
            What the voxels are, whatever the header, the name and the sidecar say: ``labels=True``, `probability`,
            `phase` or `intensity`, and ``phase_range=(low, high)``, the ends of one turn.

        Raises
        ------
        SciSRError
            With the file, what is wrong and the remedy.
        """
        path = Path(path)
        with refusals(path):
            image, _, notes = self._read(path, axes, domain, asked(path, **kind), complex)
            from scisr_medical.faces import warn_of_face_in_nifti
            from scisr_medical.nifti_geometry import warn

        warn(notes, path)
        warn_of_face_in_nifti(image)
        return [image]

    def _read(
        self, path: Path, axes: Any, domain: str | None, kind: Asked, complex_part: str | None
    ) -> tuple[Image, VolumeHeader, tuple[str, ...]]:
        from scisr_medical.nifti_geometry import choose_axes, geometry_of
        from scisr_medical.nifti_sidecars import sidecars_of
        from scisr_medical.nifti_voxels import Voxels, inflated_head, open_content

        if domain not in (None, "mr", "ct", "generic"):
            raise UsageError(f"domain must be mr, ct or generic, not {domain!r}", where=path)
        head_path, data_path = header_and_data_paths(path)
        check_regular_file(head_path)
        found = parse_header(inflated_head(head_path, HEADER_SIZE[2]), head_path)
        header = found.header
        if header.layout.single:
            data_path = head_path
        elif data_path == head_path:
            raise UnreadableError(
                "says that its voxels are in an .img file", where=path, remedy="name it .hdr"
            )
        part = _complex_part(header, complex_part, path)
        geometry = geometry_of(header, path, note_unplaced=found.form == NIFTI)
        spatial = choose_axes(header, geometry, axes, path)
        end = header.offset + header.voxel_bytes
        content = open_content(data_path, end, found.trailer)
        if found.trailer:
            found = found.completed(content.tail(end))
            header = found.header
        extensions, provenance = _split_record(_extensions(header, head_path) if found.form == NIFTI else ())
        grid, sidecars = AffineGrid(header.shape, geometry.affine, header.unit), sidecars_of(path)
        slices = _slices(header, grid, spatial, sidecars)
        data = Voxels(content, header, part=COMPLEX.get(part))
        image = Image(
            data=data,
            axes=AXES[: len(header.shape)],
            spatial=spatial,
            grid=grid,
            quantity="density",
            **kind_fields(kind, header, data, path),
            domain=domain or "mr",
            metadata=NiftiMetadata(header, geometry, extensions, sidecars, part, slices.axes),
            source=path,
            provenance=provenance,
            slice_thickness=slices.thickness,
        )
        return (
            image,
            found,
            (*found.notes, *geometry.notes, *slices.notes, *intent_notes(header.fields, header.shape)),
        )

    def open_writer(
        self,
        path: Path,
        images: Sequence[Image],
        *,
        overwrite: bool = False,
        dtype: str | None = None,
        uncertainty: bool = False,
    ) -> Writer:
        """A :class:`~scisr_medical.nifti_writer.NiftiWriter`; see there."""
        from scisr_medical.nifti_writer import NiftiWriter

        settings = {"overwrite": overwrite, "dtype": dtype or "float32", "uncertainty": uncertainty}
        return NiftiWriter(Path(path), images, **settings)

    def describe(self, path: Path) -> Mapping[str, Any]:
        """Parts, header and warnings of a file, JSON-ready; free text of the header is left out."""
        path = Path(path)
        with refusals(path):
            image, found, notes = self._read(path, None, None, Asked(), None)
            metadata: NiftiMetadata = image.metadata
            return {
                "format": found.name,
                "parts": [image.describe()],
                "header": dict(found.fields),
                "extensions": [code for code, _ in metadata.extensions],
                "sidecars": [file.name for file in metadata.sidecars.values()],
                "provenance": list(image.provenance.steps),
                "notes": list(notes),
            }

    layout = "bids"

    def facts(self, path: Path) -> Mapping[str, str]:
        """Sizes, the entities of a BIDS name, and what a sidecar tells of the scan; no free text."""
        from scisr_medical.input_facts import nifti_facts

        path = Path(path)
        with refusals(path):
            return nifti_facts(path)

    def inputs_in(
        self, folder: Path, files: Sequence[Path], *, keywords: Sequence[str] = ()
    ) -> list[FoundInput]:
        """The images of a BIDS dataset, with their entities."""
        from scisr_medical.folder_inputs import bids_inputs

        return bids_inputs(Path(folder), files)

    def verifier(self) -> Any:
        """A :class:`~scisr_medical.verify_nifti.NiftiVerifier`."""
        from scisr_medical.verify_nifti import NiftiVerifier

        return NiftiVerifier()

    def default_output(self, path: Path, scale: str) -> Path:
        """``T1w.nii.gz`` -> ``T1w_x2.nii.gz``; for a pair, the new header's name; ``.mgz`` -> ``.nii.gz``."""
        from scisr_medical.nifti_sidecars import stem
        from scisr_medical.nifti_voxels import inflated_head

        path, head = header_and_data_paths(Path(path))[0], b""
        with contextlib.suppress(OSError, SciSRError):
            head = inflated_head(path, HEADER_SIZE[2])
        return path.with_name(f"{stem(path)}_x{scale}{output_suffix(path, head)}")


def _slices(
    header: NiftiHeader, grid: AffineGrid, spatial: Sequence[str], sidecars: Mapping[str, Path]
) -> Slices:
    from scisr_medical.nifti_sidecars import json_record

    across = [axis for axis, name in enumerate(AXES[: min(3, len(header.shape))]) if name not in spatial]
    record = json_record(sidecars[".json"]) if ".json" in sidecars else None
    return slices_of(int(header.fields["dim_info"]), grid, across[0] if across else None, record)


def _complex_part(header: NiftiHeader, wish: str | None, where: Path) -> str:
    """How complex voxels are made real; empty where they are not."""
    if wish is not None and wish not in COMPLEX:
        raise UsageError(f"complex must be one of {', '.join(COMPLEX)}, not {wish!r}", where=where)
    return wish if header.stored.kind == "c" and wish not in (None, "both") else ""


def _extensions(header: NiftiHeader, head_path: Path) -> tuple[tuple[int, bytes], ...]:
    """All header extensions: up to the voxels in a single file, up to the end of an ``.hdr``."""
    from scisr_medical.nifti_voxels import inflated_head

    # A header with more than this in extensions is damaged or hostile; CIFTI and MRS stay below it.
    largest = 256 << 20
    end = header.offset if header.layout.single else largest
    if end > largest:
        raise UnreadableError(
            f"vox_offset {header.offset} leaves more than 256 MB to extensions", where=head_path
        )
    return read_extensions(
        inflated_head(head_path, end)[header.layout.size :], header.layout.order, head_path
    )


def _split_record(
    extensions: tuple[tuple[int, bytes], ...],
) -> tuple[tuple[tuple[int, bytes], ...], Provenance]:
    """Foreign extensions, and the provenance that an earlier run of this software left in one of its own."""
    import json

    others, provenance = [], Provenance()
    for code, content in extensions:
        if code == EXTENSION_COMMENT and content.startswith(b'{"%s":' % _RECORD_KEY.encode()):
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                steps = json.loads(content.rstrip(b"\0"), parse_constant=_refuse_constant)[_RECORD_KEY]
                provenance = Provenance(tuple(dict(step) for step in steps))
                continue
        others.append((code, content))
    return tuple(others), provenance


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are no JSON and could not be written again."""
    raise ValueError(name)


def record_extension(provenance: Provenance) -> tuple[int, bytes]:
    """The provenance as a NIfTI comment extension: one line of ASCII JSON."""
    notice = b"Research use only, not for diagnosis"
    steps = provenance.to_json().encode("ascii")
    return EXTENSION_COMMENT, b'{"%s":%s,"warning":"%s"}' % (_RECORD_KEY.encode(), steps, notice)


adapter = NiftiAdapter()
