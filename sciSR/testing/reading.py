"""Checks of recognising, reading and describing."""

from __future__ import annotations

import gc
import inspect
import json
import os
import random
import tracemalloc
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sciSR.adapter import Adapter, Option
from sciSR.errors import SciSRError, SciSRWarning
from sciSR.testing.tools import (
    SEED,
    Subject,
    check_message,
    copy_with_companions,
    expect,
    floats,
    probes,
    quiet,
)

_SLACK_BYTES = 8 << 20


def check_protocol(adapter: Adapter) -> None:
    """The attributes of :class:`sciSR.adapter.Adapter`, usable by the command line."""
    if not isinstance(adapter, Adapter):
        raise AssertionError(f"{adapter!r} lacks attributes of sciSR.adapter.Adapter")
    name = adapter.name
    expect(
        name == name.lower() and name.isidentifier(), name, "the name must be one lower-case word", repr(name)
    )
    for suffix in adapter.suffixes:
        fits = suffix.startswith(".") and suffix == suffix.lower()
        expect(fits, name, "a suffix must be like '.nii'", repr(suffix))
    seen = set()
    for option in adapter.options:
        expect(isinstance(option, Option), name, "options must be sciSR.adapter.Option", repr(option))
        expect(
            option.name.isidentifier(), name, "an option's name must be a Python keyword", repr(option.name)
        )
        expect(bool(option.help), name, f"option {option.name} needs a help text", "it has none")
        known = option.type in ("text", "flag", "choice")
        expect(known, name, f"option {option.name} must be text, flag or choice", option.type)
        both = (option.type == "choice") == bool(option.choices)
        expect(
            both, name, f"option {option.name}: a choice has choices, others have none", str(option.choices)
        )
        method = adapter.open_writer if option.writes else adapter.read
        taken = inspect.signature(method).parameters
        known = option.name in taken or any(p.kind is p.VAR_KEYWORD for p in taken.values())
        expect(
            known,
            name,
            f"{method.__name__} must take the option {option.name}",
            f"it takes {', '.join(taken)}",
        )
        expect(option.name not in seen, name, f"option {option.name} must be there once", "it is there twice")
        seen.add(option.name)


def check_strangers(adapter: Adapter, strangers: Sequence[Path | str], folder: Path) -> None:
    """Other content is neither recognised nor read, whatever it is called, and :meth:`sniff` never raises."""
    for path in [Path(s) for s in strangers] + _strange_files(adapter, folder):
        subject = Subject(adapter, path)
        try:
            answer = adapter.sniff(path)
        except Exception as error:
            raise AssertionError(f"{subject.where}: sniff must never raise, but raised {error!r}") from error
        expect(answer is False, subject, "sniff must be False for another format", f"it is {answer!r}")
        try:
            subject.images()
        except SciSRError as error:
            check_message(subject, error)
        except Exception as error:
            raise AssertionError(
                f"{subject.where}: read must raise SciSRError, but raised {error!r}"
            ) from error
        else:
            expect(False, subject, "another format must be refused", "read returned an image")


def _strange_files(adapter: Adapter, folder: Path) -> list[Path]:
    """Empty files, text, noise and zeros under this adapter's own suffixes; an empty folder; a missing file."""
    folder.mkdir(parents=True)
    noise = random.Random(SEED).randbytes(20_000)
    contents = {
        "empty": b"",
        "text": b"not an image\n" * 400,
        "noise": noise,
        "zeros": bytes(20_000),
        "one": b"\0",
    }
    found = []
    for suffix in ("", *adapter.suffixes):
        for kind, content in contents.items():
            path = folder / f"{kind}{suffix}"
            path.write_bytes(content)
            found.append(path)
    (folder / "folder").mkdir()
    return [*found, folder / "folder", folder / "missing"]


def check_sniffing(subject: Subject) -> None:
    """Own files are recognised."""
    answer = subject.adapter.sniff(subject.path)
    expect(answer is True, subject, "sniff must be True for its own file", f"it is {answer!r}")


def check_images(subject: Subject) -> None:
    """What :meth:`read` returns is whole: named source, grid unrefined, planes equal to the whole."""
    images = subject.images()
    expect(bool(images), subject, "read must return images", "it returned none")
    parts = [image.part for image in images]
    expect(len(set(parts)) == len(parts), subject, "each image needs its own part name", f"they are {parts}")
    for image in images:
        expect(image.source is not None, subject, "images must know their source", f"{image.where} has none")
        expect(
            all(f == 1 for f in image.grid.factors),
            subject,
            "a grid just read has factors of 1",
            str(image.grid.factors),
        )
        arrays = {"data": image.data, "uncertainty": image.uncertainty, "mask": image.mask}
        for name, array in arrays.items():
            if array is None:
                continue
            whole = np.asarray(array[(slice(None),) * len(image.shape)])
            expect(
                whole.shape == image.shape,
                subject,
                f"{name} must have shape {image.shape}",
                f"it has {whole.shape}",
            )
            expect(
                np.dtype(array.dtype) == whole.dtype and whole.dtype.isnative,
                subject,
                f"{name} must yield its declared dtype {array.dtype}, in native byte order",
                f"it yields {whole.dtype}",
            )
            for index in probes(image):
                block = np.asarray(array[index])
                same = block.shape == whole[index].shape and np.array_equal(
                    block, whole[index], equal_nan=floats(block)
                )
                expect(same, subject, f"{name}[{index}] must equal the same block of the whole", "it differs")


def check_lazy_reading(subject: Subject) -> None:
    """Reading a large file takes little memory: pixels stay on disk until they are asked for.

    Says something for files above 16 MB; below, any reader passes.
    """
    subject.images()  # imports and caches are paid for here
    gc.collect()
    tracemalloc.start()
    try:
        images = subject.images()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = sum(int(np.prod(image.shape)) * image.dtype.itemsize for image in images)
    allowed = max(_SLACK_BYTES, size // 2)
    expect(peak <= allowed, subject, f"read must stay below {allowed} bytes of memory", f"it took {peak}")


def check_description(subject: Subject) -> None:
    """:meth:`describe` gives JSON without NaN."""
    with quiet():
        record = subject.adapter.describe(subject.path)
    try:
        json.dumps(record, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{subject.path.name}: describe must be JSON-ready: {error}") from error


def check_default_output(subject: Subject) -> None:
    """The name of a result lies beside the input, tells the scale, and leads back to the same adapter."""
    for scale in ("2", "1.5"):
        target = subject.adapter.default_output(subject.path, scale)
        expect(
            target.parent == subject.path.parent, subject, "the result must lie beside the input", str(target)
        )
        expect(f"x{scale}" in target.name, subject, f"the result's name must tell 'x{scale}'", target.name)
        expect(target.name != subject.path.name, subject, "the result needs another name", target.name)
    if subject.path.is_file():
        fits = any(target.name.lower().endswith(s) for s in subject.adapter.suffixes)
        expect(fits, subject, f"the result must end in one of {subject.adapter.suffixes}", target.name)


def check_damaged_files(subject: Subject, folder: Path) -> None:
    """A truncated copy raises a SciSRError with its name in one line, or has lost nothing but padding.

    Or it gives the planes that are whole, as they were, and a SciSRWarning with its name says that others are lost.
    """
    whole = [np.asarray(image) for image in subject.images()]
    for number, keep in enumerate((0.0, 0.02, 0.3, 0.5, 0.8, 0.99)):
        copy, victim = copy_with_companions(subject.path, folder / str(number))
        size = victim.stat().st_size
        os.truncate(victim, int(size * keep))
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                pixels = [np.asarray(image) for image in subject.adapter.read(copy, **subject.read)]
        except SciSRError as error:
            check_message(subject, error)
            continue
        except Exception as error:
            raise AssertionError(
                f"{subject.path.name} cut to {keep:.0%}: must raise SciSRError, raised {error!r}"
            ) from error
        said = any(issubclass(w.category, SciSRWarning) and copy.name in str(w.message) for w in caught)
        same = len(pixels) == len(whole) and all(
            (a.shape == b.shape or (said and a.size)) and np.array_equal(a, b[: len(a)], equal_nan=floats(a))
            for a, b in zip(pixels, whole, strict=True)
        )
        expect(same, subject, f"cut to {keep:.0%} it must be refused", "it gave other pixels in silence")
