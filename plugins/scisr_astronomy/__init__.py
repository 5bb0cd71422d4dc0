"""Astronomy for sciSR: FITS images and WCS grids, clips, pictures.

What is read
    Images and cubes of every BITPIX with BSCALE, BZERO and BLANK; several extensions; plain, ``.gz``, ``.bz2`` and
    tile-compressed ``.fz``. The two celestial axes are upscaled; without a pair of them, the first two FITS axes
    longer than one pixel. One-dimensional spectra, tables alone, random groups and images without pixels are
    refused by name.
What is science
    Every image with two such axes, unless its EXTNAME says that it goes with another one of the same EXTVER and
    shape: ERR, VAR, IVAR, DQ, MASK, WHT, TIME, COVERAGE and their like (:mod:`scisr_astronomy.roles`). ``--hdu``
    chooses otherwise. Images that are not chosen, tables and everything else are copied byte by byte, in their
    place. JWST's ASDF extension is dropped and named, since it holds a WCS of the input's pixels. Flags and labels
    that are upscaled themselves keep their integers.
What is a frame of a sequence (:mod:`scisr_astronomy.frames`)
    Every science image, every plane of a cube along time, every picture of a video. Masks and weights in files of
    their own go with their image. Exposure, time, filter and noise come from the header; a noise model that the
    pixels contradict is not used.
Bad pixels
    NaN, infinite, BLANK, and where a DQ or MASK extension is not zero; ``--dq-bits 1,4`` lets only these bits
    count, ``--dq-bits none`` none.
Companions of a finer image (:mod:`scisr_astronomy.carry`)
    Repeated over the finer pixels. With totals, a standard deviation is divided by the product P of the factors,
    a variance by P squared, an inverse variance multiplied by it; relative weights, exposure and coverage stay.
Companions of a coarser image (:mod:`scisr_astronomy.coarse`)
    Errors averaged or added as the image was, flags united, exposure, coverage and weights averaged.
Quantity (:mod:`scisr_astronomy.quantity`)
    Counts, electrons, DN, Jy, anything per pixel and their rates are totals and shared out; anything per solid
    angle or beam, and temperatures, are densities and kept. Unknown units are densities, with a warning.
World coordinates (:mod:`scisr_astronomy.wcs_keywords`)
    CRPIX, CD, PC with CDELT, CROTA, SIP with its inverse, look-up distortions (CPDIS, D2IMDIS), -TAB, TPV, TNX, the
    DSS plate solution, and all alternate descriptions. What can't be carried over exactly is refused;
    ``--wcs none`` then upscales the pixels alone. Without a WCS, LTV and LTM tell the original pixel of each finer one.
Other keywords (:mod:`scisr_astronomy.detector_keywords`)
    Pixel scales, pixel areas, DATASEC, TRIMSEC, BIASSEC and LTV/LTM are updated; CCDSEC and DETSEC speak of the
    detector's pixels and stay; statistics of the old pixels are dropped. HISTORY names each.
Sums and sizes
    Declared sizes are held against the file before anything believes them; CRCs, DATASUM and CHECKSUM are verified.
    A wrong sum is refused, since only the user can tell an edited header from a damaged one: ``--ignore-checksum``.
Output
    Uncompressed float32 under the HDU's own name (``.fits.gz`` if the name says so), with CHECKSUM, DATASUM and
    HISTORY, and the full record of what was done in a table ``SCISR_PROV`` at the end.

Pictures: PNG and TIFF, JPEG and BMP as input (:mod:`scisr_astronomy.picture_adapter`); see docs/colour.md.

Clips: SER, and AVI, MP4, MOV, MKV through PyAV (:mod:`scisr_astronomy.clip`); see docs/video.md.
"""
