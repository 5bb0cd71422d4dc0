"""The Python front door: read, upscale, write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sciSR.adapter import Adapter
from sciSR.errors import UsageError
from sciSR.image import Image
from sciSR.plugins import adapter_for, adapter_for_output, adapters
from sciSR.sequence import FrameSequence

if TYPE_CHECKING:
    from sciSR.fusion.product import Fused
    from sciSR.workflow.fused_stacks import FusedStacks


def read_all(path: Path | str, **options: Any) -> list[Image]:
    """Read every image of a file or folder, lazily.

    Parameters
    ----------
    path : path
        A FITS, NIfTI or DICOM file, a DICOM folder, or whatever an installed plugin recognises.
    **options
        Options of that format, e.g. ``hdu="SCI"``, ``quantity="total"``, ``axes=("x", "y")``.

    Returns
    -------
    list of Image
        In file order; more than one for a multi-extension FITS file.

    Raises
    ------
    SciSRError
        Naming the file, the part, what is wrong and what to do.
    """
    path = Path(path)
    adapter = adapter_for(path)
    _check_options(adapter, path, options, writes=False)
    return adapter.read(path, **options)


def _check_options(adapter: Adapter, path: Path, options: Mapping[str, Any], *, writes: bool) -> None:
    known = {option.name for option in adapter.options if option.writes == writes}
    if unknown := sorted(set(options) - known):
        raise UsageError(
            f"the {adapter.name} adapter has no option {', '.join(unknown)} for "
            f"{'writing' if writes else 'reading'}",
            where=path,
            remedy=f"it knows {', '.join(sorted(known)) or 'none'}",
        )


def read(path: Path | str, **options: Any) -> Image:
    """Read one image, lazily; see :func:`read_all` for files that hold several.

    Raises
    ------
    UsageError
        The file holds several images: choose one (``hdu=...``) or use :func:`read_all`.
    """
    images = read_all(path, **options)
    if len(images) != 1:
        parts = ", ".join(image.part for image in images)
        raise UsageError(
            f"holds {len(images)} images ({parts})", where=path, remedy="choose one or use sciSR.read_all"
        )
    return images[0]


def read_sequence(
    paths: str | Path | Iterable[str | Path],
    *,
    strict: bool = False,
    dark: str | Path | Iterable[str | Path] | None = None,
    flat: str | Path | Iterable[str | Path] | None = None,
    bias: str | Path | Iterable[str | Path] | None = None,
    bad_pixels: str | Path | None = None,
    **options: Any,
) -> FrameSequence:
    """Read many exposures of one field as a sequence of frames, lazily.

    Parameters
    ----------
    paths : path, or iterable of paths
        Files, patterns (``"night1/*.fits"``) and folders. Each file counts once, in the order given; the files of
        a pattern or folder come by name.
    strict : bool
        Stop at the first file that can't be read or looks damaged, instead of leaving it out.
    dark, flat, bias : path, or iterable of paths, optional
        Calibration exposures for raw frames, or masters; several of a kind are combined by a clipped average. Needs
        ccdproc (``pip install 'sciSR[ccd]'``). Darks of another exposure are scaled if `bias` is given too; flats
        are chosen by filter. Raw frames, so: ``(frame - bias - dark * t_frame / t_dark) / flat``.
    bad_pixels : path, optional
        A mask image (not 0: bad), or a text with ``x y`` a line, from 1; see :class:`sciSR.bad_pixels.BadPixels`.
    **options
        Options of the format, as for :func:`read_all`.

    Returns
    -------
    FrameSequence
        `left_out` names the files that could not be read, `notes` what was assumed.

    Raises
    ------
    SciSRError
        No file can be read; with `strict`, any can't.
    """
    from sciSR.reading import read_frames

    return read_frames(
        paths, strict=strict, dark=dark, flat=flat, bias=bias, bad_pixels=bad_pixels, **options
    )


def upscale(image: Image, scale: Any = 2, model: str = "auto", **options: Any) -> Image:
    """Upscale one image in memory; see :func:`sciSR.inference.plan_upscale` for all options.

    Parameters
    ----------
    image : Image
        From :func:`read`, or ``Image.from_array(array)``.
    scale : number, str, or pair
        2, 1.5, ``"3/2"``, or one per spatial axis.
    model : str
        ``"auto"``, a classical method (nearest, linear, cubic, lanczos, fourier), or a trained model.
    **options
        ``consistency``, ``device``, ``precision``, ``tile``, ``forward``, ``noise``, ``psf_fwhm``, ``uncertainty``,
        ``strict``, ``progress``.

    Returns
    -------
    Image
        float32, on the refined grid, with the provenance of what was done.
    """
    from sciSR.inference import upscale as run  # torch is needed from here on only

    return run(image, scale, model, **options)


def degrade(image: Image, scale: int = 2, forward: Any = "auto", **options: Any) -> Image:
    """Degrade one image in memory; see :func:`sciSR.workflow.degrade_image.plan_degrade` for all options.

    Parameters
    ----------
    image : Image
        From :func:`read`, or ``Image.from_array(array)``.
    scale : int
        Fine pixels for each coarse pixel and spatial axis.
    forward : str, ForwardConfig or Degradation
        ``"auto"``, ``"kspace"``, ``"gaussian"``, ``"detector"``, ``"bicubic"``; or a
        :class:`sciSR.training.config.ForwardConfig` with its parameters, e.g.
        ``ForwardConfig("detector", psf=("moffat",), fwhm=1.5, noise="poisson")``.
    **options
        ``seed``, ``sigma``, ``gain``, ``read_noise``, ``progress``.

    Returns
    -------
    Image
        float32, on the coarser grid, with the provenance of what was done.
    """
    from sciSR.workflow.degrade_image import degrade as run  # torch is needed from here on only

    return run(image, scale, forward, **options)


def write(
    image: Image | Sequence[Image],
    path: Path | str,
    *,
    overwrite: bool = False,
    uncertainty: bool = False,
    **options: Any,
) -> Path:
    """Write an image, with everything else the file it came from held, atomically.

    Parameters
    ----------
    image : Image or sequence of Image
        As returned by :func:`upscale`; a sequence for a file of several images, all that were read, in order.
    path : path
        The suffix chooses the format; a folder for images that were read from one (a DICOM series).
    overwrite : bool
        Replace an existing file.
    uncertainty : bool
        Also write the image's `uncertainty`, in the file or beside it, as the format does.
    **options
        Options of that format for writing, e.g. ``dtype="keep"`` for NIfTI.

    Returns
    -------
    Path
        What was written.
    """
    images = [image] if isinstance(image, Image) else list(image)
    adapter = _writing_adapter(Path(path), images)
    _check_options(adapter, Path(path), options, writes=True)
    if uncertainty:
        if not getattr(adapter, "writes_uncertainty", False):
            raise UsageError(f"{adapter.name} files have no place for an uncertainty", where=path)
        options["uncertainty"] = True
    with adapter.open_writer(Path(path), images, overwrite=overwrite, **options) as writer:
        for part, each in enumerate(images):
            for index in _planes(each):
                writer.put(part, index, np.asarray(each.data[index]))
        return writer.commit(images)


def fuse(sequence: FrameSequence, scale: Any = 2, method: str = "map", **settings: Any) -> Fused:
    """Fuse a sequence of frames into one frame on finer pixels; see :func:`sciSR.fusion.fuse.fuse`.

    Stacks of slices of one body are another matter: :func:`fuse_volumes`.

    Parameters
    ----------
    sequence : FrameSequence
        From :func:`read_sequence`.
    scale : number, str, or pair
    method : {"map", "spectral", "drizzle", "mean", "median", "ibp", "pocs"}
    **settings
        ``reference``, ``register``, ``model``, ``background``, ``keep_best``, ``device``, ``strict``, ``deconvolve``,
        ``psf``, ``context``, ``half_sets``, and those of the method.

    Returns
    -------
    Fused
        ``.image``, ``.weight``, ``.coverage``, ``.records``; ``.write("out.fits")``.
    """
    from sciSR.fusion.fuse import fuse as run  # torch is needed from here on only

    return run(sequence, scale, method, **settings)


def fuse_volumes(
    images: Sequence[Image],
    *,
    masks: Image | Sequence[Image | None] | None = None,
    volume: int | Sequence[int] | None = None,
    slice_thickness: float | Sequence[float] | None = None,
    slice_profile: Any = "gaussian",
    spacing: float | None = None,
    **settings: Any,
) -> FusedStacks:
    """Fuse stacks of thick slices, best in several orientations, into one isotropic volume, corrected for motion.

    Parameters
    ----------
    images : sequence of Image
        Two or more, from :func:`read`: NIfTI, DICOM, or any volumes on an affine grid (RAS+ or LPS+; mm, m or um). The
        first one's frame, field and intensities are the result's.
    masks : Image, or sequence of Image or None, optional
        What to use of each stack (not 0), on the stack's grid; in the order of the stacks, or one for the first.
    volume : int or sequence of int, optional
        Of images that hold several volumes, which one, from 0.
    slice_thickness : float or sequence of float, optional
        Full width of the slices at half maximum, mm; one or one each. By default what the header says, else the
        distance of slices, with a warning.
    slice_profile : {"gaussian", "rect", "sinc"}, path, or pair of sequences
        Shape of the slices; a file or a pair holds distances in mm and weights.
    spacing : float, optional
        Voxel size of the result, mm; the finest in-plane spacing of all stacks by default.
    **settings
        ``register``, ``slice_motion`` (bool), ``prior``, ``seed``, ``device``, ``progress``; see
        :func:`sciSR.stacks.fuse_stacks`.

    Returns
    -------
    FusedStacks
        ``.image`` with its uncertainty, ``.weight``, ``.stacks``; ``.write("iso.nii.gz")``.

    Raises
    ------
    UsageError
        One stack only, or settings that do not fit.
    UnsupportedError
        Label maps, phases, complex values, single slices, several volumes and none chosen.
    GeometryError
        A mask on another grid than its stack, or stacks that do not overlap.
    """
    from sciSR.workflow.fusing_stacks import fuse_images  # torch is needed from here on only

    return fuse_images(
        images,
        masks=masks,
        volume=volume,
        slice_thickness=slice_thickness,
        slice_profile=slice_profile,
        spacing=spacing,
        **settings,
    )


def write_fused(fused: Fused, path: Path | str, *, overwrite: bool = False) -> Path:
    """Write a fused image with its error, weight, coverage and a table of its frames, atomically.

    Parameters
    ----------
    fused : Fused
        From :func:`fuse`.
    path : path
        The suffix chooses the format.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    UsageError
        The format of that suffix has no fused products, or the file exists.
    """
    return fused_writer(path)(Path(path), fused, overwrite=overwrite)


def fused_writer(path: Path | str) -> Callable[..., Path]:
    """The `write_fused` of the adapter whose suffix an output name carries.

    Raises
    ------
    UsageError
        No adapter writes such a file, or not fused products.
    """
    adapter = adapter_for_output(path)
    writer: Callable[..., Path] | None = getattr(adapter, "write_fused", None)
    if writer is None:
        able = [a for a in adapters().values() if hasattr(a, "write_fused")]
        suffixes = " ".join(sorted({suffix for a in able for suffix in a.suffixes}))
        raise UsageError(
            f"the {adapter.name} format has no fused products",
            where=path,
            remedy=f"give a name in {suffixes}",
        )
    return writer


def _writing_adapter(path: Path, images: Sequence[Image]) -> Adapter:
    """The adapter of the name's suffix; a name without a known one is a folder, for images read from a folder."""
    try:
        return adapter_for_output(path)
    except UsageError:
        source = images[0].source if images else None
        if source is None or not Path(source).is_dir():
            raise
        return adapter_for(source)


def _planes(image: Image) -> list[tuple[slice | int, ...]]:
    """Indices of all planes along the spatial axes."""
    spatial = image.spatial_axes
    outer = [range(1) if axis in spatial else range(n) for axis, n in enumerate(image.shape)]
    return [
        tuple(slice(None) if axis in spatial else i for axis, i in enumerate(index))
        for index in np.ndindex(*(len(r) for r in outer))
    ]
