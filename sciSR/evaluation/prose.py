"""What a card says in words: forward model, normalisation, consistency, and limits that are known or were measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from sciSR.evaluation.table import Table
from sciSR.models.spec import ModelSpec

NORMALISATION = {
    "range": "range: offset = 1 % quantile, scale = 99.5 % quantile minus that, of the whole volume.",
    "sky": "sky: asinh((x - median) / s), s = 2 x 1.4826 x median absolute deviation of the whole image.",
    "unit": "unit: least to greatest value of the image become 0 to 1.",
}
CONSISTENCY = {
    "kspace": (
        "The measured central coefficients are put back over the whole plane, x + A+(y - A x); the network alone fills "
        "the band beyond."
    ),
    "gaussian": "The result is moved to the nearest image whose blurred samples are the input, x + A+(y - A x).",
    "blockmean": "The mean over each input pixel is set to the measured value, x + A+(y - A x): flux is kept exactly.",
    "none": "None: the result is the network's own.",
}
_CONSISTENCY_ACROSS = (
    "None within the slices. Across them: the smoothest slices that agree with the measured ones, and of the network's "
    "detail what the profile can't see, (1 - A+ A) d; then the nearest volume whose thick slices are the measured ones."
)
_OF_FORWARD = {
    "kspace": (
        "Central crop of the 2-D spectrum by {scale} in both in-plane axes, edge-aligned (half-pixel phase ramp), then "
        "the magnitude"
    ),
    "gaussian": (
        "Gaussian profile, FWHM {fwhm} coarse pixels, sampled at the centres of the coarse pixels ({scale} fine ones "
        "each)"
    ),
    "detector": "Mean over {scale} x {scale} fine pixels: what a detector's larger pixel would have counted",
    "bicubic": "Bicubic reduction by {scale} as MATLAB's imresize does it (antialiased, a = -0.5)",
    "slice_profile": (
        "Thick slices of {ratio} thin ones each, seen through a profile ({profiles}) whose full width at half maximum "
        "is {thickness} of their spacing"
    ),
}
_SUBJECT = {"mr": "MR magnitude images", "astronomy": "images of the sky", "natural": "photographs"}
_UNDOES = {
    "kspace": "whose k-space was truncated (the usual acquisition)",
    "gaussian": "whose voxels have a Gaussian profile",
    "detector": "on a detector's pixels",
    "bicubic": "that were reduced",
    "slice_profile": "with thick slices",
}
_PLACEHOLDERS = ("(say", "Not evaluated yet")


def is_written(text: object) -> bool:
    """Whether a person has filled in what the training's draft leaves open."""
    return isinstance(text, str) and bool(text.strip()) and not text.startswith(_PLACEHOLDERS)


def summary(spec: ModelSpec) -> str:
    """One sentence on what a network is for."""
    if spec.forward_model == "slice_profile":
        return (
            f"{spec.architecture} for thin slices from thick ones, at any ratio, of {_SUBJECT[spec.domain]}."
        )
    factors = " and ".join(f"x{factor}" for factor in spec.factors)
    forwards = " or ".join(_UNDOES[forward] for forward in spec.forward_models)
    told = f", told {', '.join(spec.conditions)}" if spec.conditions else ""
    kind = "a picture, not a measurement: adversarially trained " if spec.adversarial else ""
    return f"{kind}{spec.architecture} for {factors} super-resolution of {_SUBJECT[spec.domain]} {forwards}{told}."


def forward(spec: ModelSpec, settings: Mapping[str, Any]) -> str:
    """The forward model in words; `settings` as in a training configuration, or an earlier card."""
    if is_written(settings.get("description")):
        return str(settings["description"])
    width = _range(settings.get("fwhm"), "1")
    text = "; or ".join(
        _OF_FORWARD[each].format(
            scale="/".join(map(str, spec.factors)),
            fwhm=width if each == "gaussian" else "",
            ratio=_range(settings.get("ratio"), "any number of"),
            thickness=_range(settings.get("thickness"), "any share"),
            profiles=", ".join(dict.fromkeys(settings.get("profiles", ["any"]))),
        )
        for each in spec.forward_models
    )
    extras = []
    if spec.forward_model == "detector" and settings.get("fwhm"):
        families = " or ".join(settings.get("psf", []))
        extras.append(f"after a further {families} PSF of {width} coarse pixels FWHM")
    for key, words, plain in (
        ("partial_fourier", "share of phase-encoding lines {}", 1.0),
        ("apodisation", "apodised by {} of a Hann window", 0.0),
        ("hot_pixels", "share of hot and dead pixels {}", 0.0),
    ):
        if settings.get(key, plain) != plain:
            extras.append(words.format(_range(settings[key], "")))
    noise = settings.get("noise", "none")
    extras.append("no noise added" if noise == "none" else _noise(noise, settings))
    return f"{text}; {'; '.join(extras)}."


def consistency(spec: ModelSpec) -> str:
    """What the engine does after the network."""
    return _CONSISTENCY_ACROSS if spec.forward_model == "slice_profile" else CONSISTENCY[spec.consistency]


def _noise(kind: str, settings: Mapping[str, Any]) -> str:
    if kind == "poisson":
        return "photon and read-out noise, drawn anew at every visit"
    return f"{kind} noise, signal to noise {_range(settings.get('snr'), '?')}, drawn anew at every visit"


def _range(value: Any, default: str) -> str:
    if value is None:
        return default
    return " to ".join(f"{each:g}" for each in value) if isinstance(value, list | tuple) else f"{value:g}"


def limits(spec: ModelSpec, written: Iterable[str], tables: Mapping[str, Table]) -> list[str]:
    """What a user must know before trusting a result: what was written, what follows from the kind and the tables."""
    found = [text for text in written if is_written(text) and not text.startswith("Measured:")]
    kept = list(dict.fromkeys([*_by_kind(spec, found), *found, *_measured(spec, tables)]))
    return kept


def _by_kind(spec: ModelSpec, written: list[str]) -> list[str]:
    if written and any("Research use" in text for text in written) and not spec.adversarial:
        return []  # a person has gone through it
    out = ["Research use only, not for diagnosis." if spec.domain == "mr" else "Research use."]
    if spec.adversarial:
        out.append(
            "Trained against a discriminator: it invents texture that looks right and was never measured. For pictures "
            "only; not for measurement, not for photometry, not for finding anything. PSNR is lower than that of the "
            "same network without it."
        )
    out.append(
        "Detail beyond what was measured is an estimate from training images, not a measurement: small features can be "
        "missed or altered."
    )
    if spec.forward_model == "slice_profile":
        out.append("Supposes parallel slices that are all in place: movement between them is not corrected.")
    elif spec.domain == "mr":
        out.append("In-plane only; slices are treated one by one; magnitude images.")
    if not spec.conditions:
        out.append(
            "Trained for this one forward model. On images of another kind (interpolated, filtered or blurred before) "
            "it can be worse than interpolation."
        )
    return out


def _measured(spec: ModelSpec, tables: Mapping[str, Table]) -> list[str]:
    """The images on which a classical method was better."""
    out = []
    for key, table in tables.items():
        gain = table.gain(spec.name)
        worse = {name: value for name, value in gain.files.items() if value < 0 and not math.isnan(value)}
        if worse:
            shown = ", ".join(f"{name} ({value:+.2f} dB)" for name, value in sorted(worse.items()))
            out.append(f"Measured: a classical method is better in {key} on {shown}.")
    return out
