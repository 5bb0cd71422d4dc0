"""The step ``degrade``: what an instrument would have made of a sharp image."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

from sciSR.workflow.pipelines.products import (
    images_of,
    input_file,
    one_input,
    product_of,
    reading,
    run_one,
)
from sciSR.workflow.pipelines.work import InputPath, Product, Work

Range = float | list[float]
"""A number, or two between which it is drawn."""


def degrade(
    work: Work,
    *,
    scale: int | None = None,
    forward: Literal["auto", "kspace", "gaussian", "detector", "bicubic"] | None = None,
    fwhm: Range | None = None,
    psf: Literal["gaussian", "moffat", "airy"] | None = None,
    ellipticity: Range | None = None,
    noise: Literal["none", "gaussian", "poisson", "rician"] | None = None,
    snr: Range | None = None,
    sigma: float | None = None,
    gain: float | None = None,
    read_noise: float | None = None,
    config: InputPath | None = None,
    set: list[str] | None = None,
    seed: int | None = None,
) -> Product:
    """Make the coarse image that an instrument would have seen, as ``scisr degrade`` does.

    Parameters
    ----------
    scale : int
        Fine pixels for each coarse pixel and axis; 2 by default, 1 for blur and noise alone.
    forward : str
        Truncated k-space, a Gaussian profile, optics and the pixels of a detector, MATLAB's bicubic. By default
        detector for astronomy, kspace for MR, else gaussian.
    fwhm : number or two
        Width of the PSF in coarse pixels (gaussian, detector); of two, one between them is drawn.
    psf : str
        Profile of the PSF (detector).
    ellipticity : number or two
        Of the PSF, 1 - b/a, at a random angle (detector).
    noise : str
        Kind of noise added to the coarse pixels.
    snr : number or two
        Signal to noise of a bright pixel (99.5 % quantile).
    sigma : float
        Standard deviation of the noise in the image's unit, instead of snr (gaussian, rician).
    gain : float
        Electrons for each unit of the image's values, instead of snr (poisson).
    read_noise : float
        Electrons (poisson).
    config : str
        A YAML file below the inputs with these and the other parameters, or a training configuration.
    set : list of str
        KEY=VALUE for any parameter of the configuration: ["partial_fourier=0.75"].
    seed : int
        Of everything random; the item's by default. Each file gets draws of its own.

    Raises
    ------
    SciSRError
        Naming the file, what is wrong and what to do.
    """
    from sciSR.workflow.degrade_settings import settings_of

    given: dict[str, Any] = {
        "scale": scale,
        "kind": forward,
        "fwhm": fwhm,
        "psf": psf,
        "ellipticity": ellipticity,
        "noise": noise,
        "snr": snr,
        "sigma": sigma,
        "gain": gain,
        "read_noise": read_noise,
        "seed": seed or 0,
    }
    file = None if config is None else input_file(work, config, "config")
    settings = settings_of(file, given, set or ())
    factor = Fraction(1, settings.scale)
    target, outcome = run_one(work, settings.plan, named=(factor, factor))
    return _in_the_same_plane(work, product_of(work, target, outcome))


def _in_the_same_plane(work: Work, product: Product) -> Product:
    """The product, to be read with the axes that were made coarse: they may no longer be the finest two."""
    from sciSR.plugins import adapter_for

    path = one_input(work)
    if "axes" not in reading(adapter_for(path), {"axes": None}):
        return product
    image = images_of(path, work.product.options)[0]
    return replace(product, options={"axes": ",".join(image.spatial), **product.options})
