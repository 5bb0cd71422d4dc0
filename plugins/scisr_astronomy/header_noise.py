"""An image's noise by gain and read noise of its header, where its pixels agree."""

from __future__ import annotations

from sciSR.image import Image
from sciSR.sequence import NoiseModel


def header_noise(image: Image) -> tuple[NoiseModel | None, str | None]:
    """`noise` of an :class:`~sciSR.image.Image` that was read from FITS: see :func:`scisr_astronomy.noise.noise_of`."""
    from sciSR.planes import plane_of
    from scisr_astronomy.exposure_keywords import exposure_of
    from scisr_astronomy.noise import noise_of, sample_sky

    file, hdu = image.metadata.file, image.metadata.hdu
    exposure = exposure_of([file.peek(hdu), *([file.peek(0)] if hdu else [])])
    others = {
        axis: image.shape[axis] // 2 for axis, name in enumerate(image.axes) if name not in image.spatial
    }
    plane = plane_of(image, others) if others else image
    return noise_of(plane, exposure, sample_sky(plane))
