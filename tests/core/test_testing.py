"""The conformance suite passes a good adapter and catches every way of breaking it that we know."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_adapter import Lazy, ToyAdapter, ToyWriter, write_toy

from sciSR.adapter import Option
from sciSR.errors import SciSRWarning, UnreadableError
from sciSR.grid import AffineGrid
from sciSR.testing import (
    Subject,
    check_adapter,
    check_damaged_files,
    check_lazy_reading,
    refine_nearest,
    write_images,
)
from sciSR.testing.killing import check_killing

AFFINE = np.array([[0.8, 0.1, 0, 5], [-0.1, 0.9, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]])


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    data = np.random.default_rng(3).normal(size=(3, 5, 7)).astype(np.float32)
    return write_toy(tmp_path / "one.toy", data, AFFINE)


def test_a_good_adapter_passes(toy: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.dat"
    stranger.write_bytes(b"something else" * 9)
    check_adapter(ToyAdapter(), [toy], tmp_path / "work", strangers=[stranger])


def test_whole_planes_of_a_cut_file_may_be_given_if_the_loss_is_told(toy: Path, tmp_path: Path) -> None:
    check_damaged_files(Subject(TellsOfLostPlanes(), toy), tmp_path / "work")


def test_the_judge_sees_every_written_result(toy: Path, tmp_path: Path) -> None:
    seen = []
    check_adapter(
        ToyAdapter(), [toy], tmp_path / "work", judge=lambda a, b, scale: seen.append((a, b.exists(), scale))
    )
    assert seen == [(toy, True, Fraction(2)), (toy, True, Fraction(3, 2))]


class SniffsAnything(ToyAdapter):
    def sniff(self, path: Path) -> bool:
        return True


class SniffRaises(ToyAdapter):
    def sniff(self, path: Path) -> bool:
        return path.read_bytes()[0] == 0x54


class SniffsNothing(ToyAdapter):
    def sniff(self, path: Path) -> bool:
        return False


class BareErrors(ToyAdapter):
    def read(self, path: Path, **options: Any) -> list:
        if path.stat().st_size == 0:
            raise ValueError("empty")
        return super().read(path, **options)


class NamelessErrors(ToyAdapter):
    def read(self, path: Path, **options: Any) -> list:
        try:
            return super().read(path, **options)
        except UnreadableError as error:
            raise UnreadableError("something is wrong somewhere") from error


class ReadsTruncatedFiles(ToyAdapter):
    """Fills up what is missing with zeros."""

    def read(self, path: Path, **options: Any) -> list:
        try:
            return super().read(path, **options)
        except UnreadableError:
            if not path.is_file():
                raise
            body = path.read_bytes()
            size = int.from_bytes(body[6:10], "little")
            if len(body) < 11 + size or not body.startswith(b"TOYIMG"):
                raise
            head = json.loads(body[10 : 10 + size])
            data = np.zeros(head["shape"], np.float32)
            found = np.frombuffer(body[10 + size : len(body) // 4 * 4 - 8], np.uint8)
            data.view(np.uint8).reshape(-1)[: len(found)] = found[: data.nbytes]
            return [self._image(path, data, head)]

    def _image(self, path: Path, data: np.ndarray, head: dict) -> Any:
        from sciSR.image import Image

        grid = AffineGrid(data.shape, np.array(head["affine"]))
        return Image(data=data, axes=("z", "y", "x"), spatial=("y", "x"), grid=grid, source=path)


class ReadsWholePlanes(ReadsTruncatedFiles):
    """Of a file that was cut it gives the planes that are whole, in silence."""

    def read(self, path: Path, **options: Any) -> list:
        (image,) = super().read(path, **options)
        body = path.read_bytes()
        start = 10 + int.from_bytes(body[6:10], "little")
        whole = min((len(body) - start) // (4 * 5 * 7), image.shape[0])
        if whole == image.shape[0]:
            return [image]
        if whole == 0:
            raise UnreadableError("holds no whole plane", where=path)
        self.tell(path)
        stored = np.frombuffer(body[start : start + 4 * whole * 35], "<f4").reshape(whole, 5, 7)
        return [image.replace(data=stored, grid=AffineGrid(stored.shape, AFFINE))]

    def tell(self, path: Path) -> None:
        pass


class TellsOfLostPlanes(ReadsWholePlanes):
    def tell(self, path: Path) -> None:
        warnings.warn(f"{path}: planes are lost", SciSRWarning, stacklevel=2)


class TellsNamelessly(ReadsWholePlanes):
    def tell(self, path: Path) -> None:
        warnings.warn("planes are lost somewhere", SciSRWarning, stacklevel=2)


class WrongDtype(ToyAdapter):
    def read(self, path: Path, **options: Any) -> list:
        (image,) = super().read(path, **options)
        lazy = image.data
        return [image.replace(data=Lazy(lazy.path, lazy.offset, lazy.shape, np.dtype(np.float64)))]


class SwappedPlanes(ToyAdapter):
    """Slices differently from reading whole."""

    def read(self, path: Path, **options: Any) -> list:
        (image,) = super().read(path, **options)

        class Swapped(Lazy):
            def __getitem__(self, index: Any) -> np.ndarray:
                block = super().__getitem__(index)
                return block[::-1] if block.ndim == 2 else block

        return [image.replace(data=Swapped(image.data.path, image.data.offset, image.data.shape))]


class NotJson(ToyAdapter):
    def describe(self, path: Path) -> dict:
        return {"path": path}


class SameName(ToyAdapter):
    def default_output(self, path: Path, scale: str) -> Path:
        return path


class HalfVoxelShift(ToyAdapter):
    """The classic: the first voxel's centre is kept where its edge should be."""

    def open_writer(self, path: Path, images: Any, *, overwrite: bool = False, **options: Any) -> ToyWriter:
        class Shifted(ToyWriter):
            def commit(self, images: Any) -> Path:
                grid = images[0].grid
                affine = grid.affine.copy()
                shift = [(1 - 1 / float(f)) / 2 * float(f) for f in grid.factors]
                affine[:3, 3] += affine[:3, :3] @ shift
                return super().commit([images[0].replace(grid=AffineGrid(grid.shape, affine))])

        return Shifted(path, images, overwrite)


class LosesPixels(ToyAdapter):
    def open_writer(self, path: Path, images: Any, *, overwrite: bool = False, **options: Any) -> ToyWriter:
        class Rounding(ToyWriter):
            def put(self, part: int, index: Any, block: np.ndarray) -> None:
                super().put(part, index, np.rint(block))

        return Rounding(path, images, overwrite)


class AppendsOnly(ToyAdapter):
    """Takes blocks in the order they come, wherever they belong."""

    def open_writer(self, path: Path, images: Any, *, overwrite: bool = False, **options: Any) -> ToyWriter:
        class Appending(ToyWriter):
            at = 0

            def put(self, part: int, index: Any, block: np.ndarray) -> None:
                self.data.reshape(-1)[self.at : self.at + block.size] = block.reshape(-1)
                self.at += block.size

        return Appending(path, images, overwrite)


class WritesInPlace(ToyAdapter):
    def open_writer(self, path: Path, images: Any, *, overwrite: bool = False, **options: Any) -> ToyWriter:
        class InPlace(ToyWriter):
            def put(self, part: int, index: Any, block: np.ndarray) -> None:
                super().put(part, index, block)
                self.path.write_bytes(b"half a file")

            def commit(self, images: Any) -> Path:
                self.path.unlink()
                return super().commit(images)

        return InPlace(path, images, overwrite)


class LeavesLitter(ToyAdapter):
    def open_writer(self, path: Path, images: Any, *, overwrite: bool = False, **options: Any) -> ToyWriter:
        writer = ToyWriter(path, images, overwrite)
        path.with_name("scratch.tmp").write_bytes(b"")
        return writer


class Overwrites(ToyAdapter):
    def open_writer(self, path: Path, images: Any, *, overwrite: bool = False, **options: Any) -> ToyWriter:
        return ToyWriter(path, images, True)


class DiesInCommit(ToyAdapter):
    """Removes the old file, then fails."""

    def open_writer(self, path: Path, images: Any, *, overwrite: bool = False, **options: Any) -> ToyWriter:
        class Dying(ToyWriter):
            def commit(self, images: Any) -> Path:
                self.path.unlink(missing_ok=True)
                return super().commit(images)

        return Dying(path, images, overwrite)


class Dates(ToyAdapter):
    """Something new in each file."""

    count = 0

    def open_writer(self, path: Path, images: Any, *, overwrite: bool = False, **options: Any) -> ToyWriter:
        class Dated(ToyWriter):
            def commit(self, images: Any) -> Path:
                Dates.count += 1
                image = images[0]
                return super().commit([image.replace(provenance=image.provenance.add(now=Dates.count))])

        return Dated(path, images, overwrite)


class KeepsFilesOpen(ToyAdapter):
    kept: list = []  # noqa: RUF012

    def read(self, path: Path, **options: Any) -> list:
        found = super().read(path, **options)
        self.kept.append(open(path, "rb"))  # noqa: SIM115
        return found


class ForgetsTheQuantity(ToyAdapter):
    def read(self, path: Path, **options: Any) -> list:
        (image,) = super().read(path, **options)
        return [image.replace(quantity="density" if "x2" in path.name else "total")]


class BadOption(ToyAdapter):
    options = (Option("mode", "choose", "choice"),)


class DeafOption(ToyAdapter):
    """Offers an option that its reader does not take."""

    def read(self, path: Path) -> list:
        return super().read(path)


BROKEN = {
    SniffsAnything: "sniff must be False for another format",
    SniffRaises: "sniff must never raise",
    SniffsNothing: "sniff must be True for its own file",
    BareErrors: "must raise SciSRError",
    NamelessErrors: "a message must name",
    ReadsTruncatedFiles: "must be refused, but: it gave other pixels in silence",
    ReadsWholePlanes: "must be refused, but: it gave other pixels in silence",
    TellsNamelessly: "must be refused, but: it gave other pixels in silence",
    WrongDtype: "must yield its declared dtype",
    SwappedPlanes: "must equal the same block of the whole",
    NotJson: "describe must be JSON-ready",
    SameName: "the result's name must tell",
    HalfVoxelShift: "must keep their place in the world",
    LosesPixels: "pixels must come back as they were put",
    AppendsOnly: "pixels must come back|the order of blocks must not matter",
    WritesInPlace: "an unfinished write must leave",
    LeavesLitter: "an unfinished write must leave nothing",
    Overwrites: "open_writer must refuse an existing target",
    DiesInCommit: "a failed commit must leave the old file",
    Dates: "the same input must give the same bytes",
    KeepsFilesOpen: "no file may stay open",
    ForgetsTheQuantity: "quantity must come back as 'total'",
    BadOption: "a choice has choices",
    DeafOption: "read must take the option turn",
}


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_every_known_breach_is_caught_and_named(kind: type, toy: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=BROKEN[kind]):
        check_adapter(kind(), [toy], tmp_path / "work")
    for stream in KeepsFilesOpen.kept:
        stream.close()


def test_an_object_without_the_attributes_is_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="lacks attributes"):
        check_adapter(object(), [], tmp_path)  # type: ignore[arg-type]


def test_a_reader_that_loads_everything_is_caught(tmp_path: Path) -> None:
    large = write_toy(tmp_path / "large.toy", np.zeros((6, 1024, 1024), np.float32), AFFINE)
    with pytest.raises(AssertionError, match="read must stay below 12582912 bytes"):
        check_lazy_reading(Subject(ToyAdapter(), large))


def test_content_may_leave_dates_out(toy: Path, tmp_path: Path) -> None:
    check_adapter(Dates(), [toy], tmp_path / "work", content=lambda path: path.read_bytes()[-200:-4])


@pytest.mark.parametrize("quantity", ["density", "total"])
def test_refine_nearest_keeps_levels_or_sums(toy: Path, quantity: str) -> None:
    (image,) = ToyAdapter().read(toy)
    result = refine_nearest(image.replace(quantity=quantity), 2)
    assert result.shape == (3, 10, 14)
    mean, total = np.asarray(image).mean(), np.asarray(image).sum()
    if quantity == "density":
        assert np.asarray(result).mean() == pytest.approx(mean)
    else:
        assert np.asarray(result).sum() == pytest.approx(total, rel=1e-5)


def test_shuffled_writing_covers_every_pixel(toy: Path, tmp_path: Path) -> None:
    subject = Subject(ToyAdapter(), toy)
    result = refine_nearest(subject.images()[0], 3)
    target = write_images(subject, [result], tmp_path / "out.toy", shuffled=True)
    assert np.array_equal(np.asarray(subject.images(target)[0]), np.asarray(result))


def test_the_suite_needs_no_pytest() -> None:
    code = "import sys, sciSR.testing; print('pytest' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_good_adapter_survives_being_killed(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    check_killing(Subject(ToyAdapter(), toy), tmp_path / "work", "toy_adapter:adapter", moments=4)


def test_an_adapter_that_writes_in_place_is_caught_when_killed(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with pytest.raises(AssertionError, match="the old output, the new or none must be left"):
        check_killing(Subject(ToyAdapter(), toy), tmp_path / "work", "toy_adapter:careless", moments=8)
