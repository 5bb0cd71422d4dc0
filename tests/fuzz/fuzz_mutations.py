"""One input of the fuzzer: an honest file, mutated as a seed and a number say, the same in every run."""

from __future__ import annotations

import random
import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fuzz_bytes import mutate_bytes
from fuzz_dicom import elements, mutate_dicom
from fuzz_images import mutate_avi, mutate_fits, mutate_nifti, mutate_png, mutate_ser, mutate_tiff
from fuzz_seeds import PACK, UNPACK, Seed
from fuzz_texts import mutate_safetensors, mutate_yaml

Mutation = Callable[[bytes, random.Random], tuple[bytes, str]]
_BY_FORMAT: Mapping[str, Mutation] = {
    "fits": mutate_fits,
    "nifti": mutate_nifti,
    "dicom": mutate_dicom,
    "ser": mutate_ser,
    "video": mutate_avi,
    "yaml": mutate_yaml,
    "safetensors": mutate_safetensors,
}


@dataclass(frozen=True)
class Case:
    """One input: which seed of the run, of which honest file, and its number."""

    seed: int
    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.seed}:{self.name}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Case:
        seed, name, number = text.split(":")
        return cls(int(seed), name, int(number))


def build(case: Case, seed: Seed, honest: Path, folder: Path, others: list[Path]) -> tuple[Path, str]:
    """Write the mutated input.

    Parameters
    ----------
    case : Case
    seed : Seed
    honest : Path
        Folder of the honest input.
    folder : Path
        Where the mutated one goes; made anew.
    others : list of Path
        Honest files of the same format to splice from.

    Returns
    -------
    path : Path
        What a user opens.
    what : str
        Which mutations were made.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(honest, folder)
    victim = folder / seed.victim
    rng = random.Random(str(case))
    content, what = mutate(victim.read_bytes(), seed, rng, rng.choice(others).read_bytes())
    victim.write_bytes(content)
    return folder / seed.opened, what


def mutate(raw: bytes, seed: Seed, rng: random.Random, other: bytes) -> tuple[bytes, str]:
    """One to five mutations; of packed files half of them inside, so that the CRC is right."""
    inside = bool(seed.packing) and rng.random() < 0.5
    content, said = (_unpack(raw, seed.packing) if inside else raw), ["inside"] if inside else []
    aware = _aware(seed) if inside or not seed.packing else None
    for _ in range(rng.choice((1, 1, 1, 1, 2, 4))):
        if aware is not None and rng.random() < 0.65:
            content, what = aware(content, rng)
        else:
            content, what = mutate_bytes(content, rng, other)
        said.append(what)
    return (_pack(content, seed.packing) if inside else content), ", ".join(said)


def _aware(seed: Seed) -> Mutation | None:
    if seed.format == "picture":
        return mutate_png if "png" in seed.name else mutate_tiff
    return _BY_FORMAT.get(seed.format)


def _body(raw: bytes) -> int:
    """Where a DICOM file's dataset begins, behind the meta information."""
    return next((e.start for e in elements(raw) if e.tag[0] != 2), len(raw))


def _unpack(raw: bytes, packing: str) -> bytes:
    if packing == "deflated":
        at = _body(raw)
        return raw[:at] + zlib.decompress(raw[at:], -zlib.MAX_WBITS)
    return UNPACK[packing](raw)


def _pack(content: bytes, packing: str) -> bytes:
    if packing == "deflated":
        at = min(_body(content), len(content))
        engine = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
        return content[:at] + engine.compress(content[at:]) + engine.flush()
    return PACK[packing](content)
