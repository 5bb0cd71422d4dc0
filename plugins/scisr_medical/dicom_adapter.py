"""The DICOM adapter: a series (a folder, or one file) in, a derived series out.

Classic MR and CT images, and enhanced multi-frame ones of MR, CT and PET. World coordinates are DICOM patient
coordinates (LPS, mm). Everything heavy is imported on first use. Research use only, not for diagnosis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from sciSR.adapter import FoundInput, Option, Writer
from sciSR.errors import SciSRError, UsageError
from sciSR.image import Image

_SNIFFED_FILES = 200
_DOMAINS = {"MR": "mr", "CT": "ct"}


class DicomAdapter:
    """Reads and derives DICOM series; see :class:`sciSR.adapter.Adapter`."""

    name = "dicom"
    suffixes = (".dcm",)
    writes_folders = True
    writes_uncertainty = True
    reads_volumes = True
    options = (
        Option("series", "which series of a folder: its SeriesNumber or SeriesInstanceUID"),
        Option("echo", "which echo of a multi-echo series: 1, 2, ... by echo time, or e.g. 4.92ms"),
        Option("stack", "which stack of an enhanced multi-frame file: its StackID"),
        Option("image_type", "only images whose ImageType holds this value: M, P, W, ..."),
        Option(
            "irregular",
            "upscale slice by slice what is no regular volume (gaps, tilt, several echoes); no volume is claimed",
            type="flag",
        ),
        Option(
            "keep_private", "groups of private elements to copy, e.g. 0019,0029 (default: none)", writes=True
        ),
        Option(
            "synthetic_data",
            "mark the output as synthetic (DICOM SyntheticData=YES)",
            type="flag",
            writes=True,
        ),
        Option(
            "classic",
            "write one classic file a slice, into a folder, for enhanced multi-frame input too",
            type="flag",
            writes=True,
        ),
    )

    def sniff(self, path: Path) -> bool:
        """Whether a file, or one of the first files of a folder, begins like DICOM."""
        from scisr_medical.dicom_io import looks_like_dicom
        from scisr_medical.dicom_series import walk_files

        try:
            return any(looks_like_dicom(file) for file in islice(walk_files(Path(path)), _SNIFFED_FILES))
        except (OSError, SciSRError):
            return False

    def read(
        self,
        path: Path,
        *,
        series: str | int | None = None,
        echo: str | int | None = None,
        image_type: str | None = None,
        stack: str | int | None = None,
        irregular: bool = False,
    ) -> list[Image]:
        """One series as one image with axes ``("z", "y", "x")`` or, for a time or diffusion series, ``(..., "t")``.

        Parameters
        ----------
        path : Path
            A folder (searched with its subfolders) or one file.
        series : str or int, optional
            SeriesNumber or SeriesInstanceUID; needed where a folder holds several volumes.
        echo : str or int, optional
            Keep one echo: 1, 2, ... in the order of the echo times, or the time itself, ``"4.92ms"``.
        image_type : str, optional
            Keep the images whose ImageType holds this value, e.g. ``"M"`` of magnitude and phase.
        stack : str or int, optional
            Keep one stack of an enhanced multi-frame file, by its StackID.
        irregular : bool
            Take what is no regular volume as loose slices, axes ``("n", "y", "x")``; one image per matrix size.

        Raises
        ------
        GeometryError
            Not a regular volume; names two files and what was found and expected.
        UnsupportedError
            Colour, mosaic, other kinds of object; a codec that is not installed.
        UnreadableError
            Damaged or truncated; names the file.
        UsageError
            Several series, or no such series or echo; lists them.
        """
        from scisr_medical.dicom_series import list_files

        path = Path(path)
        return self._read(
            list_files(path),
            path,
            series=series,
            echo=echo,
            image_type=image_type,
            stack=None if stack is None else str(stack),
            irregular=irregular,
        )

    def read_files(self, paths: Iterable[Path | str], **options: Any) -> list[Image]:
        """Like :meth:`read`, for a list of files."""
        files = [Path(p) for p in paths]
        if not files:
            raise UsageError("no files were given")
        return self._read(files, files[0].parent if len(files) > 1 else files[0], **options)

    def _read(
        self, files: list[Path], where: Path, *, series: Any = None, echo: Any = None, **choice: Any
    ) -> list[Image]:
        from scisr_medical.dicom_choose import choose_series
        from scisr_medical.dicom_io import translate
        from scisr_medical.dicom_privacy import warn_of_pixels
        from scisr_medical.dicom_series import build_stacks, find_series

        with translate(where):
            found = find_series(files, where)
            chosen = choose_series(found, None if series is None else str(series))
            stacks = build_stacks(found, chosen, echo=None if echo is None else str(echo), **choice)
            images = [_image(stack, where, several=len(stacks) > 1) for stack in stacks]
            for image in images:
                warn_of_pixels(image)
        return images

    def open_writer(
        self,
        path: Path,
        images: Sequence[Image],
        *,
        overwrite: bool = False,
        keep_private: str | None = None,
        synthetic_data: bool = False,
        classic: bool = False,
        uncertainty: bool = False,
    ) -> Writer:
        """Begin what is derived: of classic images a folder of files, one a slice; of an enhanced file one like it.

        One file is written where `path` ends in ``.dcm``, a folder otherwise. `classic` writes classic images for
        enhanced ones; `uncertainty` a Parametric Map of each image's `uncertainty`.

        Raises
        ------
        UsageError
            The images were not read from a DICOM series, or the target exists.
        """
        from scisr_medical.dicom_io import translate
        from scisr_medical.dicom_writer import SeriesWriter

        with translate(path, "can't be written", quote=False):
            return SeriesWriter(
                Path(path),
                images,
                overwrite=overwrite,
                keep_private=_groups(keep_private),
                synthetic=synthetic_data,
                classic=classic,
                uncertainty=uncertainty,
            )

    layout = "dicom"

    def facts(self, path: Path) -> Mapping[str, str]:
        """How an image was acquired, by DICOM keyword; no free text, nothing of the patient."""
        from scisr_medical.dicom_io import translate
        from scisr_medical.input_facts import dicom_facts

        with translate(path, quote=False):
            return dicom_facts(Path(path))

    def inputs_in(
        self, folder: Path, files: Sequence[Path], *, keywords: Sequence[str] = ()
    ) -> list[FoundInput]:
        """The series among some files, in whatever order and folders they lie."""
        from scisr_medical.dicom_io import translate
        from scisr_medical.folder_inputs import dicom_inputs

        with translate(folder, quote=False):
            return dicom_inputs(files, keywords)

    def neutral_name(self, path: Path, name: str) -> str:
        """`name`, or ``series-1f2e3d4c`` where it holds the patient's name or identifier by the files' headers."""
        from scisr_medical.dicom_privacy import neutral_stem

        return neutral_stem(Path(path), name)

    def uncertainty_of(self, path: Path, image: Image) -> Any:
        """The standard deviation in the Parametric Map that was written with an output; None where there is none."""
        from scisr_medical.dicom_io import translate
        from scisr_medical.dicom_map_reader import read_maps

        with translate(path):
            return read_maps(Path(path), image)

    def subject(self, image: Image) -> str | None:
        """Hash of the patient's identifier, with its issuer; of the study's where there is none. No name, no date."""
        from scisr_medical.dicom_io import read_header, translate

        path, tags = image.metadata.first.path, ["PatientID", "IssuerOfPatientID", "StudyInstanceUID"]
        with translate(path, quote=False):
            header, _ = read_header(path, tags)
            patient, issuer, study = (str(header.get(tag, "") or "").strip() for tag in tags)
        known = f"{issuer}\0{patient}" if patient else study
        return f"patient-{sha256(known.encode()).hexdigest()[:16]}" if known else None

    def describe(self, path: Path) -> Mapping[str, Any]:
        """Series, shapes, spacing and grid, or why a series is refused; no patient data."""
        from scisr_medical.dicom_describe import describe
        from scisr_medical.dicom_io import translate

        with translate(path):
            return describe(Path(path))

    def verifier(self) -> Any:
        """A :class:`~scisr_medical.verify_dicom.DicomVerifier`."""
        from scisr_medical.verify_dicom import DicomVerifier

        return DicomVerifier()

    def default_output(self, path: Path, scale: str) -> Path:
        """``study/`` -> ``study_x2/``, ``slice.dcm`` -> ``slice_x2.dcm``.

        Where the input is named after its patient, as the header has it, the result is not: ``series-1f2e3d4c_x2``.
        """
        from scisr_medical.dicom_privacy import neutral_stem

        path = Path(path)
        if path.name in ("", "..", "."):  # a folder named by where it is
            path = path.absolute().resolve()
        if path.is_dir():
            return path.with_name(f"{neutral_stem(path, path.name)}_x{scale}")
        stem = path.name
        for suffix in (".gz", ".dcm", ".ima", ".dicom"):
            if stem.lower().endswith(suffix):
                stem = stem[: -len(suffix)]
        return path.with_name(f"{neutral_stem(path, stem)}_x{scale}.dcm")


def _image(stack: Any, where: Path, *, several: bool) -> Image:
    from scisr_medical.dicom_phase import phase_range
    from scisr_medical.dicom_pixels import stack_arrays

    first = stack.first
    data, mask = stack_arrays(stack.slices)
    phase = any(i.component == "phase" for i in stack.slices.flat)
    return Image(
        data=data,
        axes=stack.axes,
        spatial=("y", "x"),
        grid=stack.grid,
        domain="generic" if phase else _DOMAINS.get(first.modality, "generic"),
        unit=first.unit or _unit(first.modality, first.rescale_type),
        mask=mask,
        metadata=stack,
        source=where,
        slice_thickness=stack.thickness,
        kind="phase" if phase else "intensity",
        value_range=phase_range(stack.slices) if phase else None,
        part=f"{first.shape[0]}x{first.shape[1]}" if several else "",
    )


def _unit(modality: str, rescale_type: str) -> str | None:
    """RescaleType; ``US`` means unspecified, which in CT is HU (C.11.1.1.2)."""
    if rescale_type in ("", "US"):
        return "HU" if modality == "CT" else None
    return rescale_type


def _groups(text: str | Sequence[str] | None) -> tuple[int, ...]:
    """Private groups from ``"0019,0029"``."""
    words = [
        w
        for part in ([text] if isinstance(text, str) else text or ())
        for w in part.replace(",", " ").split()
    ]
    try:
        groups = tuple(int(w, 16) for w in words)
    except ValueError:
        groups = (0,)
    if wrong := [w for w, g in zip(words, groups, strict=False) if g % 2 == 0 or not 8 < g < 0xFFFF]:
        raise UsageError(
            f"no private group: {', '.join(wrong)}", remedy="give odd hexadecimal groups, e.g. 0019,0029"
        )
    return groups


adapter = DicomAdapter()
