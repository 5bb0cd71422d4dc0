"""The step ``upscale``: the same field on finer pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sciSR.errors import UsageError
from sciSR.workflow.pipelines.products import product_of, run_one
from sciSR.workflow.pipelines.values import Scale, Tile
from sciSR.workflow.pipelines.work import Product, Work


def upscale(
    work: Work,
    *,
    scale: Scale = 2,
    model: str = "auto",
    forward: Literal["auto", "kspace", "gaussian", "detector", "bicubic"] = "auto",
    noise: float | None = None,
    psf_fwhm: float | None = None,
    consistency: Literal["auto", "block", "kspace", "gaussian", "none"] = "auto",
    label_method: Literal["nearest", "argmax"] = "nearest",
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    tile: Tile | None = None,
    uncertainty: bool = False,
    gain: float | None = None,
    read_noise: float | None = None,
    strict: bool = False,
    blocks: int | None = None,
) -> Product:
    """Upscale every image of the item, as ``scisr upscale`` does.

    Parameters
    ----------
    scale : number or str
        2, 1.5, "3/2", or "rows,columns" in data order.
    model : str
        auto; nearest, linear, cubic, lanczos, fourier; or a trained model.
    forward : str
        How the image came to its pixels, which the network undoes.
    noise : float
        Noise in the image's unit, for networks that are told it; estimated from the image by default.
    psf_fwhm : float
        Full width at half maximum of the PSF in input pixels.
    consistency : str
        What the result must reproduce: the mean of each pixel, the acquired k-space, samples of a blur, nothing.
    label_method : str
        For label maps: the nearest label, or the argmax of upscaled one-hot maps.
    device : str
        auto, cpu, cuda, cuda:N or mps.
    precision : str
        bf16 is faster, and accurate to 65 dB.
    tile : int
        Tile size in input pixels, 16 or more; fitted to the memory at hand by default.
    uncertainty : bool
        Also write the standard deviation of each pixel.
    gain : float
        For the uncertainty: electrons per unit of the image; the header's by default.
    read_noise : float
        For the uncertainty: of the detector, in electrons.
    strict : bool
        Refuse images that are unlike what the network was trained on, instead of warning.
    blocks : int
        For very large images: how many processes compute them together, block by block; the same to the bit.

    Raises
    ------
    SciSRError
        Naming the file, what is wrong and what to do.
    """
    from sciSR.inference.choose import parse_scale

    check_tile(tile)
    factors = parse_scale(scale)
    settings = {
        "model": model,
        "forward": forward,
        "noise": noise,
        "psf_fwhm": psf_fwhm,
        "consistency": consistency,
        "label_method": label_method,
        "device": device,
        "precision": precision,
        "tile": tile,
        "uncertainty": uncertain(uncertainty, gain, read_noise),
        "strict": strict,
    }
    target, outcome = run_one(work, scale=factors, run=_by_blocks(blocks, factors, settings), **settings)
    return product_of(work, target, outcome)


def _by_blocks(blocks: int | None, factors: Any, settings: Mapping[str, Any]) -> Any:
    """What runs the job over several processes, where that is asked for.

    Raises
    ------
    UsageError
    """
    if blocks is None:
        return None
    if blocks < 1:
        raise UsageError(f"{blocks} processes for blocks", remedy="give 1 or more")
    from functools import partial

    from sciSR.workflow.cluster.blocks_run import run_job

    return partial(run_job, factors=factors, workers=blocks, **settings)


def check_tile(tile: int | None) -> None:
    """As the command line has it: 16 or more.

    Raises
    ------
    UsageError
    """
    if tile is not None and tile < 16:
        raise UsageError(f"a tile of {tile} pixels", remedy="give 16 or more")


def uncertain(wanted: bool, gain: float | None, read_noise: float | None) -> object:
    """False, or the settings of the uncertainty.

    Raises
    ------
    UsageError
        What the detector is like, though no uncertainty is asked for.
    """
    if wanted:
        from sciSR.uncertainty.interface import Uncertain

        return Uncertain(gain=gain, read_noise=read_noise, model="auto")
    for name, value in (("gain", gain), ("read_noise", read_noise)):
        if value is not None:
            raise UsageError(f"'{name}' is for the uncertainty", remedy="give 'uncertainty: true' too")
    return False
