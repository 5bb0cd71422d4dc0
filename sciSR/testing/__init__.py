"""The conformance suite that every adapter passes, ours or a stranger's.

>>> from sciSR.testing import check_adapter                     # doctest: +SKIP
>>> def test_my_adapter_keeps_the_promises(tmp_path):           # doctest: +SKIP
...     check_adapter(adapter, ["small.xyz", "cube.xyz"], tmp_path)

Every check is a plain function that raises :class:`AssertionError` with what was promised and what was found, so it
runs under pytest or without. Give small files (they are read and written many times) that cover what the format
can hold; each check copies what it damages and never touches the files themselves. One more check,
:func:`sciSR.testing.killing.check_killing`, takes longer and is called by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from sciSR.adapter import Adapter
from sciSR.testing.reading import (
    check_damaged_files,
    check_default_output,
    check_description,
    check_images,
    check_lazy_reading,
    check_protocol,
    check_sniffing,
    check_strangers,
)
from sciSR.testing.tools import Subject, digest, expect, refine_nearest, write_images
from sciSR.testing.writing import (
    check_atomic_writing,
    check_block_order,
    check_determinism,
    check_geometry,
    check_open_files,
    check_overwriting,
    check_round_trip,
)

__all__ = [
    "Subject",
    "check_adapter",
    "check_atomic_writing",
    "check_block_order",
    "check_damaged_files",
    "check_default_output",
    "check_description",
    "check_determinism",
    "check_geometry",
    "check_images",
    "check_lazy_reading",
    "check_open_files",
    "check_overwriting",
    "check_protocol",
    "check_round_trip",
    "check_sniffing",
    "check_strangers",
    "refine_nearest",
    "write_images",
]


def check_adapter(
    adapter: Adapter,
    files: Sequence[Path | str],
    tmp_path: Path,
    *,
    strangers: Sequence[Path | str] = (),
    judge: Callable[[Path, Path, Fraction], None] | None = None,
    **how: Any,
) -> None:
    """Run every check on every file.

    Parameters
    ----------
    adapter : Adapter
    files : sequence of path
        Valid, small files of the format, or folders.
    tmp_path : Path
        An empty folder to work in.
    strangers : sequence of path, optional
        Files of other formats, which must not be recognised.
    judge : callable, optional
        ``judge(input, output, scale)`` is called for each written result, so that an independent reader of the
        format can raise where header or geometry are wrong.
    **how
        ``read``, ``write``, ``tolerance``, ``content`` of :class:`Subject`.

    Raises
    ------
    AssertionError
        The first promise that is broken, with the file and what was found.
    """
    check_protocol(adapter)
    check_strangers(adapter, strangers, tmp_path / "strangers")
    for number, path in enumerate(files):
        subject = Subject(adapter, Path(path), **how)
        folder = tmp_path / str(number)
        before = digest(subject.path)
        check_sniffing(subject)
        check_images(subject)
        check_lazy_reading(subject)
        check_description(subject)
        check_default_output(subject)
        check_round_trip(subject, folder / "trip", judge=judge)
        check_block_order(subject, folder / "order")
        check_determinism(subject, folder / "twice")
        check_atomic_writing(subject, folder / "atomic")
        check_overwriting(subject, folder / "overwrite")
        check_damaged_files(subject, folder / "damaged")
        check_open_files(subject, folder / "handles")
        expect(digest(subject.path) == before, subject, "the input must not change", "its bytes changed")
