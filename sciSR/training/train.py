"""The training loop, one visible page: ``python -m sciSR.training.train configs/train/NAME.yaml``.

Every random choice is a function of (seed, step), so a run that was stopped goes on exactly where it was.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sciSR.forward.kspace import KSpaceCrop
from sciSR.models.files import ARCHITECTURES, load_model, save_model
from sciSR.models.spec import ModelSpec, receptive_field
from sciSR.training.recipe import Recipe, load_recipe


def keep_memory() -> None:
    """Ask glibc to keep freed memory: large activations are otherwise mapped and unmapped at every layer (a
    factor of 2)."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
    except (OSError, AttributeError):
        pass


def draw(
    data: dict[str, Tensor], recipe: Recipe, step: int, held: int, validate: bool = False
) -> tuple[Tensor, Tensor]:
    """A batch (input ``[B, 1, P, P]``, truth ``[B, 1, sP, sP]``), float32; the first `held` patches are for
    validation."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    if validate:
        index = torch.arange(held)
    else:
        index = torch.randint(held, len(data["truth"]), (recipe.batch,), generator=generator)
    truth = data["truth"][index].float()[:, None]
    if recipe.domain == "mr":
        x = data["input"][index].float()[:, None]
        if not validate:  # intensity jitter: what the volume's quantiles leave open
            gain = torch.exp((torch.rand(len(index), 1, 1, 1, generator=generator) - 0.5) * 0.7)
            level = (torch.rand(len(index), 1, 1, 1, generator=generator) - 0.5) * 0.06
            x, truth = x * gain + level, truth * gain + level
    else:  # fresh noise at every visit; Gaussian with the detector's Poisson + read-out variance
        mean = F.avg_pool2d(truth.sinh(), recipe.scale)
        v0, v1 = data["variance"][index].float()[:, :, None, None, None].unbind(1)
        noise = torch.randn(mean.shape, generator=generator)
        x = (mean + noise * (v0 + v1 * mean).clamp_min(0).sqrt()).asinh()
    if not validate:
        turn, flip = (int(torch.randint(n, (), generator=generator)) for n in (4, 2))
        x, truth = (torch.rot90(t.flip(-1) if flip else t, turn, (-2, -1)) for t in (x, truth))
    return x.contiguous(), truth.contiguous()


def loss_of(out: Tensor, x: Tensor, truth: Tensor, recipe: Recipe, halo: int) -> Tensor:
    """L1 over the valid region (a rim of `halo` input pixels is cut), on what is left after the engine's
    consistency step."""
    s = recipe.scale
    rim = s * halo
    if recipe.loss in (
        "consistent",
        "decibel",
    ):  # detector: the block mean is set to the measurement, in linear units
        linear = out.clamp(-20, 20).sinh()
        mean = F.avg_pool2d(linear, s)
        level = (
            (mean.asinh() - x)[..., halo:-halo, halo:-halo].abs().mean()
        )  # nearly right without that step too
        out = (linear + F.interpolate(x.sinh() - mean, scale_factor=s, mode="nearest")).asinh()
    error = (out - truth)[..., rim:-rim, rim:-rim]
    if (
        recipe.loss == "consistent"
    ):  # the block means' noise is not the network's: judge what is within blocks
        within = error - F.interpolate(F.avg_pool2d(error, s), scale_factor=s, mode="nearest")
        return F.huber_loss(within, torch.zeros_like(within), delta=0.5) + 0.02 * error.abs().mean()
    if (
        recipe.loss == "decibel"
    ):  # every patch counts by its PSNR, in nepers, quiet ones as much as bright ones
        return 0.5 * (error.square().mean((1, 2, 3)) + 1e-5).log().mean() + 0.5 * level
    loss = error.abs().mean()
    if (
        recipe.loss == "out_of_band"
    ):  # k-space: the measured coefficients are put back, only the others matter
        beyond = KSpaceCrop(s).out_of_band(error)[..., 8:-8, 8:-8]
        loss = beyond.abs().mean() + 0.1 * loss
    return loss


def train(recipe: Recipe, patches: Path, out: Path, report: int = 500, stop_after: int | None = None) -> Path:
    """Train a recipe from its patch file; writes ``out/NAME.safetensors`` (averaged weights) and a
    checkpoint beside the patches."""
    keep_memory()
    torch.manual_seed(recipe.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load(patches) as archive:
        data = {key: torch.from_numpy(archive[key]) for key in archive.files}
    held = min(64, len(data["truth"]) // 10)
    model: nn.Module = ARCHITECTURES[recipe.architecture](**recipe.arguments).to(
        device, memory_format=torch.channels_last
    )
    average = {key: value.detach().clone() for key, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.99)
    )
    halo = math.ceil(receptive_field(model))
    spec = ModelSpec(
        recipe.name, recipe.architecture, recipe.arguments, recipe.scale, halo,
        forward_model=recipe.forward_model, domain=recipe.domain, normalisation=recipe.normalisation,
        consistency=recipe.consistency,
    )  # fmt: skip
    if recipe.start:
        model.load_state_dict(load_model(recipe.start, str(device))[0].state_dict())
        average = {key: value.detach().clone() for key, value in model.state_dict().items()}
    checkpoint, target, first = (
        patches.with_name(f"{recipe.name}.ckpt"),
        out / f"{recipe.name}.safetensors",
        0,
    )
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        average, first = state["average"], state["step"]
    running, clock = 0.0, time.perf_counter()
    for step in range(first, recipe.steps):
        progress = step / recipe.steps
        rate = (
            recipe.learning_rate
            * min(1.0, (step + 1) / 200)
            * (0.5 * (1 + math.cos(math.pi * progress)) + 1e-3)
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        x, truth = draw(data, recipe, step, held)
        x = x.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            prediction = model(x)
        loss = loss_of(prediction.float(), x, truth.to(device), recipe, halo)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        decay = min(recipe.ema, (step + 1) / (step + 10))
        for key, value in model.state_dict().items():
            average[key].lerp_(value, 1 - decay)
        running += loss.item()
        last = step + 1 == recipe.steps or step + 1 == stop_after
        if (step + 1) % report == 0 or last:
            online = {key: value.clone() for key, value in model.state_dict().items()}
            model.load_state_dict(average)
            with torch.no_grad():
                x, truth = (t.to(device) for t in draw(data, recipe, 0, held, validate=True))
                valid = loss_of(model(x).float(), x, truth, recipe, halo).item()
                base = (
                    loss_of(model.skip(x), x, truth, recipe, halo).item()
                    if hasattr(model, "skip")
                    else float("nan")
                )
            save_model(target, model, spec)
            model.load_state_dict(online)
            seconds = (time.perf_counter() - clock) / report
            print(
                f"step {step + 1}/{recipe.steps} loss {running / report:.5f} valid {valid:.5f} "
                f"interpolation {base:.5f} lr {rate:.2e} {seconds * 1e3:.0f} ms/step", flush=True
            )  # fmt: skip
            state = {
                "model": online,
                "optimiser": optimiser.state_dict(),
                "average": average,
                "step": step + 1,
            }
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
            running, clock = 0.0, time.perf_counter()
        if last:
            break
    return target


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--patches", type=Path, help="patch file; patches/NAME.npz if not given")
    parser.add_argument("--out", type=Path, default=Path("sciSR/weights"))
    parser.add_argument("--threads", type=int, help="CPU threads of PyTorch")
    parser.add_argument("--steps", type=int, help="instead of the recipe's number of steps")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe = load_recipe(arguments.recipe, {"steps": arguments.steps} if arguments.steps else None)
    train(recipe, arguments.patches or Path("patches") / f"{recipe.name}.npz", arguments.out)


if __name__ == "__main__":
    main()
