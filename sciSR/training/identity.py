"""Who or what a file shows, and which pixels it holds: what decides whether two files may stand on both sides."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.image import Image
from sciSR.training.planes import PlaneGroup, open_planes

WHOLE = 1 << 24
"""Pixels up to which all of an image are hashed; of larger ones pieces that are spread over it."""

_PIECES = 1 << 22
_SUBJECT = re.compile(r"(?i)^(?:sub|subj|subject|patient|pat|case|id|p|s)-?\d+[a-z]?$")
_NAMELESS = {"", "none", "unknown", "n/a", "test", "object", "light", "science", "sky"}

# Galactic and ecliptic axes in ICRS: Hipparcos catalogue, vol. 1, section 1.5.3; obliquity of J2000, 84381.406".
_GALACTIC = np.array(
    [
        [-0.0548755604, -0.8734370902, -0.4838350155],
        [0.4941094279, -0.4448296300, 0.7469822445],
        [-0.8676661490, -0.1980763734, 0.4559837762],
    ]
)
_OBLIQUITY = math.radians(84381.406 / 3600)
_ECLIPTIC = np.array(
    [
        [1.0, 0.0, 0.0],
        [0.0, math.cos(_OBLIQUITY), math.sin(_OBLIQUITY)],
        [0.0, -math.sin(_OBLIQUITY), math.cos(_OBLIQUITY)],
    ]
)
_SKIES = {"RA": np.eye(3), "GLON": _GALACTIC, "ELON": _ECLIPTIC}
_LATITUDES = {"RA": "DEC", "GLON": "GLAT", "ELON": "ELAT"}


@dataclass(frozen=True)
class Field:
    """A circle on the sky that holds an image.

    Parameters
    ----------
    centre : tuple of float
        Unit vector, ICRS.
    radius : float
        Radians.
    """

    centre: tuple[float, float, float]
    radius: float

    def overlaps(self, other: Field) -> bool:
        """Whether the circles meet."""
        chord = math.dist(self.centre, other.centre) / 2
        return 2 * math.asin(min(1.0, chord)) < self.radius + other.radius


@dataclass(frozen=True)
class Identity:
    """What is known of a file.

    Parameters
    ----------
    path : Path
    names : tuple of str
        Subjects or objects by name; a patient's identifier only as its hash.
    fields : tuple of Field
        Where on the sky its images lie.
    pixels : tuple of str
        Hash of each image's values, whatever the file's format, compression and order of pixels.
    planes : int
        How many planes patches are cut from.
    """

    path: Path
    names: tuple[str, ...]
    fields: tuple[Field, ...]
    pixels: tuple[str, ...]
    planes: int


def identify(path: Path, root: Path, domain: str, pattern: str | None = None) -> Identity:
    """Open a file and say what it shows.

    The user's `pattern` decides, where it fits the path. Else, on the sky, the world coordinates do; without them the
    name that the file's header gives its object; without that the file's name up to its last number, since numbered
    files are exposures of one field. Elsewhere it is the patient that the header names, else what `name_group` reads
    from the path.

    Raises
    ------
    SciSRError
        The file can't be read, or holds no intensity image.
    """
    planes = open_planes(path, domain)
    images = list({id(group.image): group.image for group in planes.groups}.values())
    pixels = tuple(pixel_hash(image) for image in images)
    count = sum(group.count for group in planes.groups)
    relative = path.relative_to(root)
    if pattern is not None and (match := re.search(pattern, relative.as_posix())):
        return Identity(path, (match[1] if match.re.groups else match[0],), (), pixels, count)
    fields: tuple[Field, ...] = ()
    if domain == "astronomy":
        found = [field_of(image) for image in images]
        fields = tuple(field for field in found if field is not None)
        if len(fields) == len(images):
            return Identity(path, (), fields, pixels, count)
    name = _header_name(path, images[0])
    if name is None:
        name = exposure_group(relative) if domain == "astronomy" else name_group(relative)
    return Identity(path, (name,), fields, pixels, count)


def _header_name(path: Path, image: Image) -> str | None:
    """What the file's adapter, if it can tell, calls the subject."""
    from sciSR.plugins import adapter_for

    if image.metadata is None:
        return None
    tell = getattr(adapter_for(path), "subject", None)
    name = None if tell is None else tell(image)
    return None if name is None or name.strip().lower() in _NAMELESS else str(name).strip()


def name_group(path: Path) -> str:
    """Subject of a file by its path.

    BIDS's ``sub-<label>`` anywhere in the path; else the first part of the name (parts end at ``_``, ``-`` or blanks)
    that reads like a subject's number (``p01``, ``patient7``); else the name up to its first part with a digit:
    ``studyforrest_7T_T1.nii.gz`` gives ``studyforrest_7T``. Coarse on purpose: what may belong together is not parted.
    """
    if match := re.search(r"(?:^|[/_])sub-([0-9A-Za-z]+)", path.as_posix()):
        return f"sub-{match[1]}"
    parts = [part for part in re.split(r"[_\-\s]+", path.name.split(".")[0]) if part]
    for part in parts:
        if _SUBJECT.match(part):
            return part.lower()
    for end, part in enumerate(parts, start=1):
        if re.search(r"\d", part):
            return "_".join(parts[:end])
    return path.name.split(".")[0]


def exposure_group(path: Path) -> str:
    """Folder and name without its last number: ``night1/light_0017.fits`` gives ``night1/light``."""
    return (path.parent / re.sub(r"[_\-\s]*\d+$", "", path.name.split(".")[0])).as_posix()


def field_of(image: Image) -> Field | None:
    """Where on the sky an image lies; None if its grid does not say.

    The circle is about the middle pixel and reaches to the farthest corner; an image whose corners are off the
    projection, such as a map of the whole sky, reaches everywhere.
    """
    about = image.grid.describe()
    types = [str(name).upper() for name in about.get("ctype", ())]
    for longitude, latitude in _LATITUDES.items():
        first = [n for n, name in enumerate(types) if name.split("-")[0] == longitude]
        second = [n for n, name in enumerate(types) if name.split("-")[0] == latitude]
        if len(first) == len(second) == 1:
            break
    else:
        return None
    ends = [(n - 1) / 2 + np.array([0.0, -n / 2, -n / 2, n / 2, n / 2]) * sign for n, sign in _corners(image)]
    world = image.grid.world(np.stack(ends, -1))
    angles = np.radians(np.stack([world[:, first[0]], world[:, second[0]]]))
    if not np.isfinite(angles[:, 0]).all():
        return None
    vectors = _unit(angles) @ _SKIES[longitude]
    distance = np.linalg.norm(vectors[1:] - vectors[0], axis=-1) / 2
    radius = (
        math.pi if not np.isfinite(distance).all() else 2 * float(np.arcsin(np.minimum(1, distance)).max())
    )
    x, y, z = (float(value) for value in vectors[0])
    return Field((x, y, z), radius)


def _corners(image: Image) -> list[tuple[int, NDArray[np.float64]]]:
    """Size of each axis and how it goes to the four corners of the middle plane."""
    rows, columns = image.spatial_axes
    signs = {rows: np.array([1.0, 1, 1, 1, 1]), columns: np.array([1.0, 1, -1, 1, -1])}
    still = np.zeros(5)
    return [(n, signs.get(axis, still)) for axis, n in enumerate(image.shape)]


def _unit(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    longitude, latitude = angles
    return np.stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], -1
    )


def pixel_hash(image: Image) -> str:
    """Hash of an image's values as a set: the same for a copy in another format, compressed, mirrored or turned.

    Values are compared as float32; those that are not finite count as one. Of images above `WHOLE` pixels only pieces
    are read.
    """
    group = PlaneGroup(image, image.spatial_axes)
    size = math.prod(image.shape)
    if size <= WHOLE:
        pieces: Any = (group.read(number) for number in range(group.count))
    else:
        pieces = group.spread(_PIECES, 16, whole=False)
    total = np.zeros(2, np.uint64)
    for piece in pieces:
        bits = (piece.astype(np.float32) + np.float32(0)).view(np.uint32)  # -0 and 0 are one
        bits = np.where(np.isfinite(piece), bits, np.uint32(0x7FC00000)).astype(np.uint64)
        for k, key in enumerate((0x9E3779B97F4A7C15, 0xD1B54A32D192ED03)):
            with np.errstate(over="ignore"):
                total[k] += _mix(bits + np.uint64(key)).sum(dtype=np.uint64)
    return hashlib.sha256(f"{size}:{total[0]:x}:{total[1]:x}".encode()).hexdigest()


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195)."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
