"""Which software a run uses."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_LIBRARIES = ("numpy", "torch", "scipy", "astropy", "nibabel", "pydicom", "highdicom", "dask", "distributed")


def versions() -> dict[str, str]:
    """Versions of sciSR, Python and the libraries that decide results, by name; nothing is imported."""
    from sciSR import __version__

    found = {"sciSR": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
