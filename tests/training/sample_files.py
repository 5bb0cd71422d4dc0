"""Small image files with known content, and configurations that draw from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from sciSR.training.config import (
    AugmentConfig,
    DataConfig,
    ForwardConfig,
    LoopConfig,
    ModelConfig,
    TrainConfig,
)


def smooth(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Positive values that differ between neighbours but not wildly, float32."""
    from scipy import ndimage

    noise = np.random.default_rng(seed).standard_normal(shape)
    field = ndimage.gaussian_filter(noise, [0.0 if n < 16 else 1.2 for n in shape])
    return (500 + 300 * field / field.std()).clip(1).astype(np.float32)


def write_volume(
    path: Path,
    shape: tuple[int, ...] = (64, 56, 3),
    zooms: tuple[float, ...] = (1, 1, 4),
    seed: int = 0,
    values: np.ndarray | None = None,
) -> Path:
    """A NIfTI file."""
    import nibabel

    values = smooth(shape, seed) if values is None else values
    image = nibabel.Nifti1Image(values, np.diag([*zooms[:3], 1.0]))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)
    return path


def write_sky(
    path: Path,
    shape: tuple[int, ...] = (80, 90),
    seed: int = 0,
    centre: tuple[float, float] | None = (10.0, 20.0),
    galactic: bool = False,
    values: np.ndarray | None = None,
    **cards: Any,
) -> Path:
    """A FITS file; pixels of 1 arcsecond about `centre` (degrees), or without world coordinates."""
    from astropy.io import fits

    header = fits.Header()
    if centre is not None:
        names = ("GLON-TAN", "GLAT-TAN") if galactic else ("RA---TAN", "DEC--TAN")
        for axis, (name, value) in enumerate(zip(names, centre, strict=True), start=1):
            header[f"CTYPE{axis}"], header[f"CRVAL{axis}"] = name, value
            header[f"CUNIT{axis}"] = "deg"
            header[f"CRPIX{axis}"] = shape[-axis] / 2 + 0.5
            header[f"CDELT{axis}"] = (-1 if axis == 1 else 1) / 3600
    header["BUNIT"] = "MJy/sr"
    header.update(cards)
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.writeto(path, smooth(shape, seed) if values is None else values, header, overwrite=True)
    return path


def write_picture(path: Path, shape: tuple[int, int] = (90, 80), seed: int = 0) -> Path:
    """A grey 8-bit picture."""
    from PIL import Image

    values = smooth(shape, seed)
    scaled = (255 * (values - values.min()) / (values.max() - values.min())).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scaled).save(path)
    return path


DOMAINS = {
    "mr": {"normalisation": "range", "forward": ForwardConfig("kspace")},
    "astronomy": {"normalisation": "sky", "forward": ForwardConfig("detector")},
    "natural": {"normalisation": "unit", "forward": ForwardConfig("bicubic")},
}


def config_of(
    root: Path,
    domain: str = "mr",
    *,
    forward: ForwardConfig | None = None,
    model: dict[str, Any] | None = None,
    augment: dict[str, Any] | None = None,
    seed: int = 1,
    **data: Any,
) -> TrainConfig:
    """A configuration that draws 12-pixel patches from all files below `root`."""
    chosen = DOMAINS[domain] | ({} if forward is None else {"forward": forward})
    data = {"train": ("**/*",), "patch": 12, "patches": 24, "validation_patches": 6} | data
    return TrainConfig(
        name="sample",
        domain=domain,  # type: ignore[arg-type]
        model=ModelConfig(**({"architecture": "ESPCN"} | (model or {}))),
        data=DataConfig(root=str(root), **data),
        augment=AugmentConfig(**(augment or {})),
        training=LoopConfig(seed=seed),
        **chosen,  # type: ignore[arg-type]
    )


def with_data(config: TrainConfig, **data: Any) -> TrainConfig:
    """The same with other values of `data`."""
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **data))
