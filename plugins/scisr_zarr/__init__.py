"""OME-Zarr (NGFF 0.4 and 0.5) for sciSR: images and labels in chunks, read and written lazily.

Needs zarr 3 (``pip install 'sciSR[zarr]'``); without it the files are recognised, and one line says what is missing.

Read and written are the multiscale images of a store in a folder, in zarr format 2 (NGFF 0.4) or 3 (NGFF 0.5): level 0,
its axes, scales, translations and units, ``omero``, the name, and labels, which follow an image to its finer pixels.
Plates, transformations kept in arrays, and versions before 0.4 are refused by name.
"""
