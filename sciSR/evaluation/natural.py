"""Set5 and Set14 as they have been measured since SRCNN: luminance, MATLAB's bicubic reduction, border cut.

The protocol is that of SRCNN's and VDSR's published test code: the image is cut to a multiple of the scale, the
luminance of MATLAB's ``rgb2ycbcr`` is rounded to 8 bits, reduced (and nothing rounded), enlarged; the result is rounded
to 8 bits, a border of `scale` pixels cut, and PSNR (peak 255) and SSIM (11 x 11 Gaussian window, sigma 1.5, where it
lies inside) taken of what is left. It proves itself first: the published bicubic rows must come out to 0.01 dB.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sciSR.errors import UnreadableError, VerificationError
from sciSR.evaluation.methods import Method, Sample, timed
from sciSR.evaluation.subject import cut
from sciSR.forward.bicubic import imresize
from sciSR.metrics import nrmse, psnr, ssim

PUBLISHED_BICUBIC = {
    ("set5", 2): 33.66,
    ("set5", 3): 30.39,
    ("set5", 4): 28.42,
    ("set14", 2): 30.24,
    ("set14", 3): 27.55,
    ("set14", 4): 26.00,
}
"""Mean PSNR, dB, of bicubic interpolation as published since VDSR (Kim et al. 2016, arXiv:1511.04587)."""

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg")


def luminance(image: NDArray) -> NDArray[np.float64]:
    """Y of MATLAB's ``rgb2ycbcr`` (BT.601, 16 to 235) of 8-bit RGB ``[H, W, 3]``, rounded; grey stays as it is."""
    values = np.asarray(image, np.float64)
    if values.ndim == 2:
        return values
    return eight_bits(16 + values[..., :3] @ np.array([65.481, 128.553, 24.966]) / 255)


def eight_bits(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounded half up and clipped to 0..255, as MATLAB's ``uint8``."""
    return np.clip(np.floor(values + 0.5), 0, 255)


def resized(values: NDArray[np.float64], factor: Fraction | int) -> NDArray[np.float64]:
    """MATLAB's ``imresize(values, factor)``, ``[..., H, W]``."""
    return imresize(torch.from_numpy(np.ascontiguousarray(values)), factor).numpy()


def bicubic() -> Method:
    """MATLAB's bicubic enlargement: the row that every paper has."""
    return Method("bicubic", "classical", timed(lambda sample, scale: resized(sample.coarse, scale)))


def exam(image: NDArray, scale: int) -> tuple[NDArray[np.float64], Sample]:
    """Truth and input of an 8-bit image ``[H, W]`` or ``[H, W, 3]``."""
    truth = cut(luminance(image), scale)[None]
    return truth, Sample(resized(truth, Fraction(1, scale)), forward="bicubic")


def score(truth: NDArray[np.float64], image: NDArray[np.float64], scale: int) -> dict[str, float]:
    """PSNR and SSIM of 8-bit luminance ``[1, H, W]`` within the border."""
    inside = (0, slice(scale, -scale), slice(scale, -scale))
    a, b = truth[inside], eight_bits(image)[inside]
    return {"psnr": psnr(a, b, 255.0), "ssim": ssim(a, b, 255.0, whole=True), "nrmse": nrmse(a, b)}


def score_plain(truth: NDArray[np.float64], image: NDArray[np.float64], scale: int) -> dict[str, float]:
    """Images of no known kind, ``[N, H, W]``: the peak is the truth's range, a frame of ``2 scale`` pixels is left out,
    and ``bias`` is the error of the mean in per cent of the range."""
    mask = np.isfinite(truth) & np.isfinite(image)
    rim = 2 * scale
    mask[:, :rim], mask[:, -rim:], mask[:, :, :rim], mask[:, :, -rim:] = False, False, False, False
    if not mask.any():
        return dict.fromkeys(("psnr", "ssim", "nrmse", "bias"), float("nan"))
    a, b = (np.where(mask, values, 0.0) for values in (truth, image))
    peak = float(np.ptp(a[mask])) or 1.0
    return {
        "psnr": psnr(a, b, peak, mask),
        "ssim": float(np.mean([ssim(t, r, peak, m) for t, r, m in zip(a, b, mask, strict=True) if m.any()])),
        "nrmse": nrmse(a, b, mask),
        "bias": 100 * float((b - a)[mask].mean()) / peak,
    }


def photographs(folder: Path) -> list[Path]:
    """The images of a folder, by name."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise UnreadableError("no images in this folder", where=folder)
    return found


def read_photograph(path: Path) -> NDArray:
    """8-bit pixels, ``[H, W]`` or ``[H, W, 3]``."""
    from skimage.io import imread

    try:
        pixels = imread(path)
    except (OSError, ValueError, SyntaxError) as error:
        raise UnreadableError(f"no readable picture ({error})", where=path) from error
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise UnreadableError("the protocol is one of 8-bit pictures", where=path)
    return pixels


def prove(folder: Path, name: str, scale: int) -> float:
    """The mean PSNR of bicubic interpolation on a set, if it is the published one to 0.01 dB.

    Parameters
    ----------
    folder : Path
    name : {"set5", "set14"}
    scale : {2, 3, 4}

    Raises
    ------
    VerificationError
        It is not: these are other images, or the protocol is broken.
    """
    method, rows = bicubic(), []
    for path in photographs(folder):
        truth, sample = exam(read_photograph(path), scale)
        rows.append(score(truth, method.run(sample, scale)[0], scale)["psnr"])
    found, published = float(np.mean(rows)), PUBLISHED_BICUBIC.get((name, scale))
    if published is not None and abs(found - published) > 0.01:
        raise VerificationError(
            f"bicubic x{scale} gives {found:.3f} dB where {published} is published", where=folder
        )
    return found
