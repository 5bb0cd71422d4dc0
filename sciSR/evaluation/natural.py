"""Set5 and Set14 as they have been measured since SRCNN: luminance, MATLAB's bicubic reduction, border cut.

The protocol is that of SRCNN's and VDSR's published test code: the image is cut to a multiple of the scale, the
luminance of MATLAB's ``rgb2ycbcr`` is rounded to 8 bits, reduced (and nothing rounded), enlarged; the result is rounded
to 8 bits, a border of `scale` pixels cut, and PSNR (peak 255) and SSIM (11 x 11 Gaussian window, sigma 1.5, where it
lies inside) taken of what is left. It proves itself first: the published bicubic rows must come out to 0.01 dB.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from sciSR.errors import UnreadableError, VerificationError
from sciSR.evaluation.methods import Method, Sample
from sciSR.evaluation.mr import Scores, cut
from sciSR.forward.bicubic import imresize
from sciSR.metrics import psnr, ssim

PUBLISHED_BICUBIC = {
    ("set5", 2): 33.66,
    ("set5", 3): 30.39,
    ("set5", 4): 28.42,
    ("set14", 2): 30.23,
    ("set14", 3): 27.54,
    ("set14", 4): 26.00,
}
"""Mean PSNR, dB, of bicubic interpolation in the SRCNN paper (Dong et al., arXiv:1501.00092, table 2)."""

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg")


def luminance(image: NDArray) -> NDArray[np.float64]:
    """Y of MATLAB's ``rgb2ycbcr`` (ITU-R BT.601, 16 to 235) of 8-bit RGB ``[H, W, 3]``, rounded; grey stays as it is."""
    values = np.asarray(image, np.float64)
    if values.ndim == 2:
        return values
    return np.floor(16.5 + values[..., :3] @ np.array([65.481, 128.553, 24.966]) / 255)


def eight_bits(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounded half up and clipped to 0..255, as MATLAB's ``uint8``."""
    return np.clip(np.floor(values + 0.5), 0, 255)


def resized(values: NDArray[np.float64], factor: Fraction | int) -> NDArray[np.float64]:
    """MATLAB's ``imresize(values, factor)``, ``[..., H, W]``."""
    return imresize(torch.from_numpy(np.ascontiguousarray(values)), factor).numpy()


def bicubic() -> Method:
    """MATLAB's bicubic enlargement: the row that every paper has."""
    return Method("bicubic", "classical", lambda sample, scale: resized(sample.coarse, scale))


def score(truth: NDArray[np.float64], image: NDArray[np.float64], scale: int) -> dict[str, float]:
    """PSNR and SSIM of 8-bit luminance ``[H, W]`` within the border."""
    inside = (slice(scale, -scale),) * 2
    a, b = truth[inside], eight_bits(image)[inside]
    window = np.zeros(a.shape, bool)
    window[5:-5, 5:-5] = True
    return {"psnr": psnr(a, b, 255.0), "ssim": ssim(a, b, 255.0, window)}


def measure(image: NDArray, scale: int, methods: Sequence[Method]) -> Scores:
    """Every method on one 8-bit image, ``[H, W]`` or ``[H, W, 3]``."""
    truth = cut(luminance(image), scale)
    sample, scores = Sample(resized(truth, Fraction(1, scale))[None]), {}
    for method in methods:
        stack, seconds = method.timed(sample, scale)
        scores[method.name] = score(truth, stack[0], scale) | {"s_per_mpix": seconds}
    return scores


def photographs(folder: Path) -> list[Path]:
    """The images of a folder, by name."""
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise UnreadableError("no images in this folder", where=folder)
    return found


def measure_file(path: Path, scale: int, methods: Sequence[Method]) -> Scores:
    """Every method on one image file."""
    from skimage.io import imread

    return measure(imread(path), scale, methods)


def prove(folder: Path, name: str, scale: int) -> float:
    """The mean PSNR of bicubic interpolation on a set, if it is the published one to 0.01 dB.

    Raises
    ------
    VerificationError
        It is not: these are other images, or the protocol is broken.
    """
    rows = [measure_file(path, scale, [bicubic()])["bicubic"]["psnr"] for path in photographs(folder)]
    found, published = float(np.mean(rows)), PUBLISHED_BICUBIC[name, scale]
    if abs(found - published) > 0.01:
        raise VerificationError(
            f"bicubic x{scale} gives {found:.3f} dB where {published} is published", where=folder
        )
    return found
