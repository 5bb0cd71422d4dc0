"""The networks of the literature, trained on T91 by this code, beside their papers; and all shipped networks.

``python benchmarks/zoo.py [--data ../shared/data] [--runs runs] [--threads 1] [--shipped] [--cache scores.json]
[--json out.json]``

1. The protocol proves itself: bicubic Set5 and Set14 x2, x3, x4 against the published figures, to 0.01 dB.
2. Every network found as ``RUNS/set5-*/set5-*.safetensors`` (trained by ``configs/train/set5-*.yaml``; T91 has no
   explicit licence, so these weights are not shipped): Y-PSNR and SSIM on Set5 and Set14 beside the published values,
   parameters and multiply-adds as it runs, time for a Set14 image, and the budget of its training.
3. With ``--shipped``, every shipped x2 network on the MR and sky check files.

Time is the engine's, for the whole image, the shortest of three, on as many CPU threads as asked; the load of the
machine beforehand is printed with it.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from sciSR.evaluation import methods, natural, protocols
from sciSR.evaluation.__main__ import without_nan
from sciSR.evaluation.cache import ScoreCache
from sciSR.evaluation.card import read_draft
from sciSR.evaluation.render import markdown, number, report
from sciSR.models.files import list_models, load_model
from sciSR.models.reparameterised import merge


@dataclass(frozen=True)
class Published:
    """What a paper reports for x2: PSNR dB and SSIM on Y, and where."""

    set5: tuple[float, float]
    set14: tuple[float, float]
    source: str


PUBLISHED = {
    "SRCNN": Published((36.66, 0.9542), (32.42, 0.9063), "Dong et al. 2014, arXiv:1501.00092 (9-5-5, ImageNet)"),
    "FSRCNN": Published((37.00, 0.9558), (32.63, 0.9088), "Dong et al. 2016, arXiv:1608.00367 (T91 + General-100)"),
    "VDSR": Published((37.53, 0.9587), (33.03, 0.9124), "Kim et al. 2016, arXiv:1511.04587 (T91 + BSD200)"),
    "LapSRN": Published((37.52, 0.9591), (32.99, 0.9124), "Lai et al. 2017, arXiv:1704.03915 (T91 + BSD200)"),
    "EDSR": Published((37.99, 0.9604), (33.57, 0.9175), "Lim et al. 2017, arXiv:1707.02921 (baseline, DIV2K)"),
    "SPAN": Published((38.08, 0.9608), (33.71, 0.9183), "Wan et al. 2024, arXiv:2311.12770 (DIV2K + Flickr2K)"),
}  # fmt: skip
"""x2. ESPCN's and SRResNet's papers report other factors only (ESPCN x3: 33.13 on Set5, 29.49 on Set14, trained on
ImageNet, arXiv:1609.05158; SRResNet x4: 32.05 and 28.49, arXiv:1609.04802)."""

GOAL = 0.15
"""Decibel that a network may stay below its paper."""


def prove(data: Path) -> list[list[str]]:
    """The bicubic rows, measured and published; raises if they differ by more than 0.01 dB."""
    lines = [["bicubic", "PSNR dB", "published"]]
    for (name, scale), published in natural.PUBLISHED_BICUBIC.items():
        found = natural.prove(data / "natural" / name, name, scale)
        lines.append([f"{name} x{scale}", f"{found:.3f}", f"{published:.2f}"])
    return lines


def multiply_adds(weights: Path, height: int = 720, width: int = 1280) -> float:
    """Multiply-adds, 10^9, for an output of 1280 x 720 pixels, as papers count them (convolutions alone)."""
    model, spec, _ = load_model(weights)
    side = 48
    x = torch.zeros(1, 1, side, side)
    told = [torch.zeros(1, len(spec.conditions))] if spec.conditions else []
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        merge(model)(x, *told)
    return counter.get_total_flops() / 2 / (side * spec.scale) ** 2 * height * width / 1e9


def seconds_an_image(weights: Path, data: Path, scale: int, times: int = 3) -> float:
    """Mean over Set14 of the shortest of some runs."""
    method, found = methods.trained(weights, scale), []
    for path in natural.photographs(data / "natural/set14"):
        _, sample = natural.exam(natural.read_photograph(path), scale)
        found.append(min(method.run(sample, scale)[1] for _ in range(times)))
    return float(np.mean(found))


def budget(weights: Path) -> str:
    """Steps and time of a training, from what it left beside the weights."""
    training = read_draft(weights).get("training", {})
    if not isinstance(training, dict):
        return str(training)
    steps = training.get("steps", "?")
    return f"{steps} steps, {str(training.get('time', '?')).split(' (')[0]}, {training.get('hardware', '?')}"


def literature(data: Path, runs: Path, scale: int = 2) -> list[dict[str, Any]]:
    """One record a network that was trained on T91."""
    records = []
    for weights in sorted(runs.glob("set5-*/set5-*.safetensors")):
        method = methods.trained(weights)
        if method.spec is None or scale not in method.spec.factors:
            continue
        scores = {}
        for name in ("set5", "set14"):
            table = protocols.run(name, [weights], data, scale)
            scores[name] = [table.mean(method.name, key).mean for key in ("psnr", "ssim")]
        paper = PUBLISHED.get(method.spec.architecture)
        records.append(
            {
                "network": method.spec.architecture,
                "weights": weights.stem,
                **scores,
                "published": None if paper is None else {"set5": paper.set5, "set14": paper.set14},
                "source": "" if paper is None else paper.source,
                "parameters": method.parameters,
                "multiply_adds_G": multiply_adds(weights),
                "seconds": seconds_an_image(weights, data, scale),
                "budget": budget(weights),
            }
        )
    return records


def literature_table(records: list[dict[str, Any]]) -> str:
    """The records as Markdown."""
    head = ["network", "Set5", "published", "difference", "Set14", "published", "difference", "parameters"]
    lines = [[*head, "mult-adds G", "s/image", "budget"]]
    for record in records:
        cells = [record["weights"]]
        for name in ("set5", "set14"):
            psnr, ssim = record[name]
            paper = record["published"][name] if record["published"] else None
            cells += [
                f"{psnr:.2f} / {ssim:.4f}",
                "-" if paper is None else f"{paper[0]:.2f} / {paper[1]:.4f}",
                "-" if paper is None else number(psnr - paper[0], 2, sign=True),
            ]
        cells += [f"{record['parameters']:,}", f"{record['multiply_adds_G']:.1f}", f"{record['seconds']:.3f}"]
        lines.append([*cells, record["budget"]])
    return markdown(lines)


def remarks(records: list[dict[str, Any]]) -> list[str]:
    """What the seeds claim, and what falls short of its paper."""
    by = {record["network"]: record for record in records}
    said = []
    if {"ESPCN", "SRCNN"} <= set(by):
        faster = by["SRCNN"]["seconds"] / by["ESPCN"]["seconds"]
        better = by["ESPCN"]["set5"][0] - by["SRCNN"]["set5"][0]
        said.append(f"ESPCN against SRCNN: {better:+.2f} dB on Set5, {faster:.1f} times as fast.")
    for record in records:
        if record["published"] and record["set5"][0] < record["published"]["set5"][0] - GOAL:
            short = record["published"]["set5"][0] - record["set5"][0]
            said.append(
                f"{record['weights']} stays {short:.2f} dB below its paper on Set5, at {record['budget']}."
            )
    return said


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shipped", action="store_true", help="all shipped x2 networks too")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    load = os.getloadavg()[0]
    bicubic = prove(given.data)
    print(markdown(bicubic), end="\n\n", flush=True)
    records = literature(given.data, given.runs)
    print(literature_table(records), end="\n\n")
    idle = "idle" if load < 0.5 else f"busy: load {load:.1f}"
    print(f"Time on {given.threads} CPU thread{'s' if given.threads > 1 else ''} (machine {idle}).")
    for line in dict.fromkeys(record["source"] for record in records if record["source"]):
        print(f"Published: {line}.")
    print("\n".join(remarks(records)), end="\n\n", flush=True)
    document: dict[str, Any] = {
        "threads": given.threads,
        "load": load,
        "bicubic": bicubic,
        "literature": records,
    }
    if given.shipped:
        cache, document["shipped"] = ScoreCache(given.cache), []
        for name in ("mr-kspace", "mr-gaussian", "astro-simulated", "astro-real"):
            able = [s for s in list_models() if 2 in s.factors and name in protocols.protocols_of(s)]
            table = protocols.run(name, [spec.name for spec in able], given.data, 2, cache=cache)
            print(report(table, "markdown"), end="\n\n", flush=True)
            document["shipped"].append(table.as_dict())
    if given.json:
        given.json.write_text(json.dumps(without_nan(document), indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
