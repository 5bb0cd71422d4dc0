"""Curves of detail: power spectra of input and result, and ring correlations."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sciSR.errors import SciSRError
from sciSR.report.page_facts import Facts
from sciSR.report.page_plots import correlation, spectra
from sciSR.report.page_scene import Scene, Sources
from sciSR.report.page_words import number

_MOST = 1024


def curves_of(facts: Facts, sources: Sources, scene: Scene) -> list[dict[str, Any]]:
    """The plots with their captions; none that can't be drawn."""
    found = [_spectra(sources, scene)]
    found.append(_against_truth(sources, scene) if sources.truth is not None else _self_check(facts, sources))
    return [curve for curve in found if curve is not None]


def _spectra(sources: Sources, scene: Scene) -> dict[str, Any] | None:
    from markupsafe import Markup

    from sciSR.metrics.spectrum import radial_power_spectrum

    steps = {"before": (1.0, 1.0), "after": (1 / sources.factors[1], 1 / sources.factors[2])}
    if scene.planes[0]["axis"] != "z":
        steps["after"] = tuple(1 / f for f in reversed(scene.planes[0]["factor"]))  # type: ignore[assignment]
    curves = []
    for name, label in (("before", "input"), ("after", "result")):
        values = scene.pictures.get(name)
        if values is None:
            continue
        with contextlib.suppress(SciSRError, ValueError):
            curve = radial_power_spectrum(_grey(values), spacing=steps[name], unit=sources.unit or None)
            curves.append((label, curve))
    if not curves:
        return None
    return {
        "plot": Markup(spectra(curves, 0.5)),
        "caption": "Radial power spectra of the part shown first. What the result has beyond the limit of the input's "
        "pixels is the method's estimate; below it both should agree.",
    }


def _against_truth(sources: Sources, scene: Scene) -> dict[str, Any] | None:
    from markupsafe import Markup

    from sciSR.metrics.resolution import frc_report

    if "error" not in scene.pictures or scene.pictures["after"].ndim != 2:
        return None
    after = scene.pictures["after"][:_MOST, :_MOST]
    truth = after - scene.pictures["error"][:_MOST, :_MOST]
    factor = scene.planes[0]["factor"][0]
    with contextlib.suppress(SciSRError, ValueError):
        found = frc_report(after, truth, factor=factor)
        return {
            "plot": Markup(
                correlation({**found, "coarse_limit": 0.5}, "Fourier ring correlation with the truth")
            ),
            "caption": f"Fourier ring correlation of the result with the truth. {_resolution(found)}",
        }
    return None


def _self_check(facts: Facts, sources: Sources) -> dict[str, Any] | None:
    """The input degraded once more and brought back by the same model, where the factor allows it."""
    from markupsafe import Markup

    from sciSR.comparison.self_check import self_resolution

    model, factor = facts.step.get("model"), sources.factors[1]
    usable = (
        sources.factors[1] == sources.factors[2] and factor in (2.0, 3.0, 4.0) and sources.factors[0] == 1
    )
    if facts.before is None or not model or not usable or sources.after.channels != 1:
        return None
    with contextlib.suppress(SciSRError, ValueError):
        found = self_resolution(facts.before, int(factor), str(model), most=256).as_dict()
        return {
            "plot": Markup(correlation(found, "Self-check by ring correlation")),
            "caption": f"Self-check: the input was made {int(factor)} times coarser, upscaled by {found['method']}, "
            f"and correlated with itself. {_resolution(found)} Right of the dotted line the method had to estimate.",
        }
    return None


def _resolution(found: dict[str, Any]) -> str:
    each = found["resolution"]["1/7"]
    if not each["frequency"]:
        return "The curve never lies above 1/7."
    bound = "at least " if each["reached_end"] else ""
    return f"It stays above 1/7 up to {bound}{number(each['frequency'])} cycles per input pixel."


def _grey(values: NDArray) -> NDArray:
    values = values if values.ndim == 2 else values.mean(-1)
    return np.asarray(values[:_MOST, :_MOST], float)
