"""The OME-Zarr adapter. Importing it is cheap: zarr is imported when a store is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sciSR.adapter import Option
from sciSR.errors import UnreadableError
from scisr_zarr.ngff import is_ngff

if TYPE_CHECKING:
    from sciSR.adapter import Writer
    from sciSR.image import Image


class OmeZarrAdapter:
    """OME-Zarr images and labels in folders; see :mod:`scisr_zarr`."""

    name = "zarr"
    suffixes = (".ome.zarr", ".zarr")
    writes_uncertainty = True
    writes_any = True
    options = (
        Option(
            "domain",
            "what an OME-Zarr shows, where it does not say so (default: generic)",
            "choice",
            ("astronomy", "mr", "ct", "generic"),
        ),
        Option("labels", "treat as a label map: nearest neighbour only", "flag"),
        Option(
            "ngff",
            "version of a written OME-Zarr (default: the input's, or 0.5)",
            "choice",
            ("0.4", "0.5"),
            writes=True,
        ),
    )

    def sniff(self, path: Path) -> bool:
        """Whether a folder's attributes name an OME-Zarr image, plate or collection. Never raises."""
        return is_ngff(Path(path))

    def read(self, path: Path, **options: Any) -> list[Image]:
        """The image of a group, lazily.

        Parameters
        ----------
        path : Path
            A folder: an image, or one of its label images (``cells.ome.zarr/labels/nuclei``).
        domain : {"astronomy", "mr", "ct", "generic"}
        labels : bool

        Raises
        ------
        SciSRError
        """
        path = Path(path)
        if not path.is_dir():
            raise UnreadableError("is no OME-Zarr folder", where=path)
        from scisr_zarr.reader import read_image, reading

        with reading(path):
            return read_image(path, **options)

    def open_writer(
        self, path: Path, images: Sequence[Image], *, overwrite: bool = False, **options: Any
    ) -> Writer:
        """Begin an output; see :class:`sciSR.adapter.Adapter` and :class:`scisr_zarr.writer.OmeZarrWriter`."""
        from scisr_zarr.writer import OmeZarrWriter

        return OmeZarrWriter(Path(path), images, overwrite=overwrite, **options)

    def open_shared(
        self,
        path: Path,
        images: Sequence[Image],
        *,
        temporary: Path,
        overwrite: bool = False,
        align: tuple[int, int] = (1, 1),
        **options: Any,
    ) -> Any:
        """Begin an output that several processes fill, chunk by chunk."""
        from scisr_zarr.shared_writer import SharedOmeZarrWriter

        return SharedOmeZarrWriter(
            Path(path), images, temporary=temporary, overwrite=overwrite, align=align, **options
        )

    def shared_store(self, ticket: Mapping[str, Any]) -> Any:
        """Where another process puts its blocks: a context manager with ``put(index, block)``."""
        from scisr_zarr.shared_writer import ZarrStore

        return ZarrStore(ticket)

    def describe(self, path: Path) -> Mapping[str, Any]:
        """Axes, shape, grid, levels and labels; pixels are not read."""
        [image] = self.read(path)
        found = image.metadata.multiscale
        return {
            "format": f"OME-Zarr {found.version}",
            "name": found.name,
            "axes": [axis.as_dict() for axis in found.axes],
            "shape": list(image.shape),
            "dtype": str(image.dtype),
            "kind": image.kind,
            "unit": image.unit,
            "levels": len(found.ome["multiscales"][0]["datasets"]),
            "labels": list(image.metadata.labels),
            "uncertainty": image.uncertainty is not None,
            "mask": image.mask is not None,
            "grid": dict(image.grid.describe()),
        }

    def default_output(self, path: Path, scale: str) -> Path:
        """``cells.ome.zarr`` gives ``cells_x2.ome.zarr``."""
        path = Path(path)
        match = re.fullmatch(r"(.*?)((?:\.ome)?\.zarr)?", path.name, flags=re.I | re.S)
        assert match is not None
        return path.with_name(f"{match[1]}_x{scale}{(match[2] or '.ome.zarr').lower()}")


adapter = OmeZarrAdapter()
