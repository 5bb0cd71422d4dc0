"""What a page says in sentences: the verdict, the command, the methods."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sciSR import __version__
from sciSR.report.page_citations import WORKS, Citation, bibliography, of_model, software
from sciSR.report.page_facts import Facts

Mood = Literal["good", "caution", "bad", "unknown"]


@dataclass(frozen=True)
class Sentence:
    """One finding of the verdict, and how good that is."""

    mood: Mood
    text: str


def number(value: Any, digits: int = 3) -> str:
    """A number for people: a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    text = f"{value:.{digits}g}"
    return (
        text.replace("e-0", "e-").replace("e+0", "e").replace("-", "−")
        if isinstance(value, float)
        else str(value)
    )


def verdict(facts: Facts) -> list[Sentence]:
    """What can be said of the output: broken promises first."""
    found = [_agreement(facts), *_checks(facts), *_features(facts), *_uncertain(facts), *_familiar(facts)]
    return sorted(found, key=lambda sentence: sentence.mood != "bad")


def in_short(sentences: Sequence[Sentence]) -> str:
    """The reasons for the mood of the whole: one line of an index."""
    mood = mood_of(sentences)
    reasons = [sentence for sentence in sentences if sentence.mood == mood]
    return in_one(reasons[:1] if mood == "good" else reasons)


def mood_of(sentences: Sequence[Sentence]) -> Mood:
    """Of the whole: the worst."""
    moods = {sentence.mood for sentence in sentences}
    return next((m for m in ("bad", "caution", "good") if m in moods), "unknown")  # type: ignore[return-value]


def _agreement(facts: Facts) -> Sentence:
    told = facts.step.get("agreement")
    if not told:
        return Sentence("unknown", "The output has no record of its agreement with the measurement")
    share = told.get("max_relative_to_range")
    operator = told.get("operator", "forward model")
    if told.get("enforced"):
        good: Mood = "good" if share is not None and share < 1e-4 else "caution"
        return Sentence(good, f"Agrees with the measurement to {number(share)} of its range ({operator})")
    return Sentence(
        "caution",
        f"Agreement was not enforced: differs from the measurement by up to {number(share)} of its range",
    )


def _checks(facts: Facts) -> list[Sentence]:
    found = facts.verification
    if found is None:
        return []
    failed = [c for c in found.checks if c.status == "failed"]
    broken = [k for k in found.keys if not k.allowed]
    run = [c for c in found.checks if c.status != "skipped"]
    if found.passed:
        return [Sentence("good", f"{_count(len(run), 'check')} passed")]
    words = [_count(len(failed), "check") + " failed"] if failed else []
    words += (
        [_count(len(broken), "metadata key") + (" breaks" if len(broken) == 1 else " break") + " a rule"]
        if broken
        else []
    )
    return [Sentence("bad", " and ".join(words))]


def _features(facts: Facts) -> list[Sentence]:
    found = facts.support
    if found is None or not found.features:
        return []
    kinds = {feature.kind for feature in found.features}
    name = "feature" if len(kinds) > 1 else kinds.pop()
    bad, every = len(found.unsupported), len(found.features)
    if not bad:
        return [Sentence("good", f"all {_count(every, name)} are backed by the data at {found.limit:g}σ")]
    verb = "is" if bad == 1 else "are"
    return [
        Sentence(
            "caution", f"{bad} of {_count(every, name)} {verb} not backed by the data at {found.limit:g}σ"
        )
    ]


def _uncertain(facts: Facts) -> list[Sentence]:
    told = facts.step.get("uncertainty")
    if not told:
        return [] if facts.std is None else [Sentence("unknown", "a standard deviation came with the output")]
    unit = f" {facts.after.unit}" if facts.after.unit else ""
    median = f", median {number(told['median'])}{unit}" if told.get("median") is not None else ""
    if told.get("calibrated"):
        wide = told.get("interval_95")
        reach = f"; ±{number(wide)} of them cover 95 %" if wide else ""
        return [Sentence("good", f"the standard deviation is calibrated on held-out files{median}{reach}")]
    return [Sentence("caution", f"the standard deviation is not calibrated for this kind of image{median}")]


def _familiar(facts: Facts) -> list[Sentence]:
    told = facts.step.get("familiarity")
    if not told:
        return []
    notes = told.get("notes") or []
    if not notes:
        return [Sentence("good", "the input is like what the network learned from")]
    return [
        Sentence(
            "caution", f"the input is unlike what the network learned from: {_count(len(notes), 'note')}"
        )
    ]


def _count(n: int, name: str) -> str:
    many = f"{n:,}".replace(",", "\u202f")  # a thin space
    return f"{many} {name}" if n == 1 else f"{many} {name}s"


def in_one(sentences: Sequence[Sentence]) -> str:
    """The verdict as one sentence, parts divided by semicolons."""
    text = "; ".join(sentence.text for sentence in sentences)
    return text[:1].upper() + text[1:] + "."


def shell(arguments: Sequence[str]) -> str:
    """A command line that can be pasted into a shell."""
    return shlex.join(arguments)


def command_of(facts: Facts) -> str:
    """The command that makes this output, from its record: what ``scisr upscale`` was told or decided."""
    step = facts.step
    name = facts.input_name or "INPUT"
    if step.get("step", "upscale") != "upscale" or not step:
        return ""
    words = ["scisr", "upscale", name, "-o", facts.output_name]
    for key, option in (
        ("scale", "--scale"),
        ("model", "--model"),
        ("forward_model", "--forward"),
        ("consistency", "--consistency"),
    ):
        value = step.get(key)
        if value not in (None, "") and not isinstance(value, Mapping):
            words += [option, str(value)]
    if step.get("uncertainty"):
        words.append("--uncertainty")
    return shell(words)


def methods(facts: Facts) -> tuple[str, list[Citation]]:
    """A paragraph for a paper, and what it cites."""
    step, version = facts.step, _version(facts)
    cited = [software(version)]
    model = str(step.get("model", ""))
    words = [_made(facts, model, version)]
    work = of_model(model)
    if work is not None:
        cited.append(work)
    told = step.get("agreement")
    if told:
        share = number(told.get("max_relative_to_range"))
        operator = told.get("operator", "forward model")
        words.append(
            f"The result was required to reproduce the measurement under the forward model ({operator}) and does so "
            f"to {share} of its range."
            if told.get("enforced")
            else f"The result differs from the measurement, under the forward model ({operator}), by at most {share} "
            "of its range."
        )
    words += _uncertainty_methods(step, cited)
    if facts.support is not None and facts.support.features:
        s = facts.support
        words.append(
            f"Of {len(s.features)} features detected in the result, {len(s.unsupported)} are not backed by the input "
            f"at {s.limit:g} standard deviations of its noise."
        )
    if facts.verification is not None:
        ok = "passed" if facts.verification.passed else "did not pass"
        words.append(
            f"The output {ok} the automatic verification of its geometry, flux, metadata and provenance."
        )
    if step.get("weights_sha256"):
        words.append(f"Weights: SHA-256 {step['weights_sha256']}.")
    return " ".join(words), cited


def _made(facts: Facts, model: str, version: str) -> str:
    scale = " × ".join(dict.fromkeys(number(float(f)) for f in facts.factors if f != 1)) or "1"
    work = of_model(model)
    by = f" ({work.short})" if work is not None else ""
    forward = facts.step.get("forward_model")
    how = f", trained to undo the forward model “{forward}”" if forward else ""
    kind = "the network" if facts.step.get("weights_sha256") else "the method"
    if not model:
        return f"The image was brought to pixels {scale} times finer."
    return f"The image was upscaled by a factor of {scale} with sciSR {version} and {kind} {model}{by}{how}."


def _uncertainty_methods(step: Mapping[str, Any], cited: list[Citation]) -> list[str]:
    told = step.get("uncertainty")
    if not told:
        return []
    text = "The standard deviation of each pixel was found by carrying the input's noise through the method"
    if told.get("model"):
        text += f" and adding the network's own error (model {told['model']})"
    if told.get("calibrated"):
        cited.append(WORKS["conformal"])
        text += (
            "; it was calibrated by split conformal prediction (Lei et al. 2018) on files that were not trained on, "
            "so that one standard deviation either way covers 68 %"
        )
        if told.get("interval_95"):
            text += f" and {number(told['interval_95'])} cover 95 %"
    return [text + "."]


def _version(facts: Facts) -> str:
    words = str(facts.step.get("software", "")).split()
    return words[1] if len(words) > 1 and words[0] == "sciSR" else __version__


__all__ = [
    "Sentence",
    "bibliography",
    "command_of",
    "in_one",
    "methods",
    "mood_of",
    "number",
    "shell",
    "verdict",
]
