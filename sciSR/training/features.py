"""A network of a domain's own that knows its textures, for a perceptual loss where VGG's photographs mean nothing.

``python -m sciSR.training.features PATCHES -o features.safetensors`` trains it on the patches that the
super-resolution network is trained on, in a few minutes on a CPU and without labels: two views of the same place, a
little displaced, brighter or darker and with noise of their own, shall have the same features, while each channel has
to vary from place to place and to say something that the others don't (VICReg: Bardes, Ponce and LeCun, ICLR 2022,
arXiv 2105.04906, for every place of every stage instead of once for an image). What is left is what two looks at the
same structure have in common: how sharp it is and how it is textured, not where exactly each pixel lies.

Why this task. A loss that is to make images sharper must find missing detail worse than detail that is a little off;
a pixel loss finds it better. Distance of held-out patches whose finest detail (what a blur of 1 pixel sigma takes
away) is displaced by 1 or 2 pixels, replaced by a random texture of the same spectrum, or inverted, over the distance
where it is missing (median; last stage after 300 steps):

=======================  =======  ====  =======  ========  ========  ====  =======  ========
..                       MR 1 px  2 px  texture  inverted  sky 1 px  2 px  texture  inverted
=======================  =======  ====  =======  ========  ========  ====  =======  ========
L1 of the pixels         1.13     1.41  1.66     2.00      1.05      1.46  1.60     2.00
random weights           0.64     0.98  1.53     1.94      0.56      0.90  1.23     1.68
denoising                0.38     0.71  1.65     2.00      0.34      0.66  1.09     1.64
how blurred, how noisy?  0.25     0.47  1.21     1.60      0.13      0.35  0.37     0.94
this one                 0.18     0.41  1.15     1.83      0.18      0.48  0.59     1.13
=======================  =======  ====  =======  ========  ========  ====  =======  ========

The guess at the degradation is as tolerant, but finds inverted detail better than none.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sciSR.errors import ModelError, UsageError
from sciSR.training.pair import Patches

KIND = "sciSR feature network"
SHIFT = 2  # pixels by which two views lie apart, at most
PLACES = 512  # of each stage that a step compares
WIDE = 128  # channels in which they are compared; the projection is thrown away, as usual


class FeatureNetwork(nn.Module):
    """Two 3x3 convolutions at each of several resolutions, every one half of the one before.

    Parameters
    ----------
    widths : tuple of int
        Channels of each stage.

    Notes
    -----
    ``forward``: float32 ``[B, 1, H, W]`` in network units -> list of ``[B, C, H / 2^i, W / 2^i]``, scaled by `measure`.
    """

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96)) -> None:
        super().__init__()
        self.widths = tuple(widths)
        stages = []
        for before, width in zip((1, *widths), widths, strict=False):
            first, second = (
                nn.Conv2d(into, width, 3, padding=1, padding_mode="replicate") for into in (before, width)
            )
            stages.append(nn.Sequential(first, nn.GELU(), second))
        self.stages = nn.ModuleList(stages)
        for at, width in enumerate(widths):
            self.register_buffer(f"spread{at}", torch.ones(width, 1, 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for at, stage in enumerate(self.stages):
            x = stage(F.avg_pool2d(F.gelu(x), 2) if at else x)
            found.append(x / getattr(self, f"spread{at}"))
        return found

    @torch.no_grad()
    def measure(self, images: Tensor) -> None:
        """Set what each channel is divided by, from images ``[B, 1, H, W]``.

        First its standard deviation, so that all channels of a stage count alike; then each stage as a whole such that
        detail that is missing costs as much as in the L1 of the pixels: a weight of the loss says what it outweighs.
        """
        missing = blurred(images)
        cost = (missing - images).abs().mean()
        for at, values in enumerate(self(images)):
            self._divide(at, values.std((0, 2, 3))[:, None, None])
        for at, (values, without) in enumerate(zip(self(images), self(missing), strict=True)):
            self._divide(at, (values - without).abs().mean() / cost.clamp_min(1e-12))

    def _divide(self, stage: int, by: Tensor) -> None:
        getattr(self, f"spread{stage}").mul_(by.clamp_min(1e-6))


def blurred(images: Tensor) -> Tensor:
    """Images ``[B, 1, H, W]`` without their finest detail: a Gaussian of 1 pixel sigma, borders repeated."""
    taps = torch.exp(-0.5 * torch.arange(-4.0, 5.0, device=images.device) ** 2)
    taps = taps / taps.sum()
    wide = F.pad(images, (4, 4, 4, 4), mode="replicate")
    return F.conv2d(F.conv2d(wide, taps[None, None, None]), taps[None, None, :, None])


def vicreg(a: Tensor, b: Tensor) -> Tensor:
    """VICReg's loss of two views' embeddings ``[N, D]``, with the paper's weights (25, 25, 1).

    Invariance: mean square difference. Variance: no dimension's standard deviation may fall below 1. Covariance: mean
    square off the diagonal, by dimension.
    """
    loss = 25 * F.mse_loss(a, b)
    for z in (a, b):
        z = z - z.mean(0)
        deviation = (z.square().sum(0) / (len(z) - 1) + 1e-4).sqrt()
        covariance = z.mT @ z / (len(z) - 1)
        off = covariance.square().sum() - covariance.diagonal().square().sum()
        loss = loss + 25 * F.relu(1 - deviation).mean() / 2 + off / z.shape[1]
    return loss


def pretrain(
    patches: Patches, steps: int = 1500, batch: int = 16, seed: int = 1, crop: int = 32, lr: float = 2e-3
) -> FeatureNetwork:
    """Train a feature network on the truths of patches.

    Parameters
    ----------
    patches : Patches
    steps, batch, seed : int
    crop : int
        Fine pixels a side that each step sees of a patch.
    lr : float
        Peak learning rate of AdamW; falls linearly.

    Returns
    -------
    FeatureNetwork
        Frozen, on the CPU. The same for the same seed on the same machine.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FeatureNetwork()
        heads = nn.ModuleList(
            nn.Sequential(nn.GELU(), nn.Linear(width, WIDE), nn.GELU(), nn.Linear(WIDE, WIDE))
            for width in network.widths
        )
        optimizer = torch.optim.AdamW([*network.parameters(), *heads.parameters()], lr)
        truths = (item.truth for item in patches.batches(0, batch, seed))
        known = list(itertools.islice(truths, min(8, steps)))
        unit = torch.stack([truth.std() for truth in known]).mean()
        for step, truth in enumerate(itertools.islice(itertools.chain(known, truths), steps)):
            for group in optimizer.param_groups:
                group["lr"] = lr * min(1, (step + 1) / 50) * (1 - step / steps)
            found = network(torch.cat(_views(truth, crop, unit)))
            loss = sum(vicreg(*pair) for pair in _places(found, heads))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        smallest = min(truth.shape[-1] for truth in known)
        network.measure(torch.cat([truth[..., :smallest, :smallest] for truth in known]))
    return network.requires_grad_(False).eval()


def _views(truth: Tensor, crop: int, unit: Tensor) -> tuple[Tensor, Tensor]:
    """Two looks ``[B, 1, crop, crop]`` at the same place of each patch."""
    side = truth.shape[-1]
    crop = min(crop, (side - 2 * SHIFT) // 8 * 8)
    if crop < 8:
        raise UsageError(
            f"patches of {side} fine pixels are too small to learn features from", remedy="use 12 or more"
        )
    turn, row, column = (int(torch.randint(n, ())) for n in (4, *(2 * [side - crop - 2 * SHIFT + 1])))
    truth = torch.rot90(truth, turn, (-2, -1))

    def look() -> Tensor:
        dy, dx = (int(torch.randint(2 * SHIFT + 1, ())) for _ in range(2))
        seen = truth[..., row + dy : row + dy + crop, column + dx : column + dx + crop]
        gain, level, noise = (torch.rand(len(truth), 1, 1, 1) for _ in range(3))
        noise = torch.exp(-5 + 2.7 * noise)  # 0.7 to 10 % of the patches' deviation
        seen = torch.exp(0.6 * (gain - 0.5)) * seen + 0.2 * unit * (level - 0.5)
        return seen + unit * noise * torch.randn(seen.shape)

    return look(), look()


def _places(found: list[Tensor], heads: nn.ModuleList) -> Iterator[tuple[Tensor, Tensor]]:
    """Embeddings of the same random places of both views, ``[N, D]`` each, stage by stage."""
    for features, head in zip(found, heads, strict=True):
        a, b = (view.movedim(1, -1).flatten(0, 2) for view in features.chunk(2))
        chosen = torch.randperm(len(a))[:PLACES]
        yield head(a[chosen]), head(b[chosen])


def save_features(path: str | Path, network: FeatureNetwork, normalisation: str, **about: object) -> None:
    """Write a feature network as safetensors; `about` goes into its metadata."""
    from safetensors.torch import save_file

    values = {"kind": KIND, "normalisation": normalisation, "widths": ",".join(map(str, network.widths))}
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(tensors, path, values | {key: str(value) for key, value in about.items()})


def load_features(path: str | Path, normalisation: str, device: torch.device | str = "cpu") -> FeatureNetwork:
    """Read a feature network that was trained on patches of the same normalisation; frozen.

    Raises
    ------
    ModelError
        No such file, not a feature network, or one for other values.
    """
    from safetensors import SafetensorError, safe_open

    remedy = "make one with python -m sciSR.training.features PATCHES -o FILE"
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError("there is no such file", where=path, remedy=remedy) from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"it can't be read ({error})", where=path, remedy=remedy) from error
    if metadata.get("kind") != KIND:
        raise ModelError("it is no feature network", where=path, remedy=remedy)
    if metadata["normalisation"] != normalisation:
        raise ModelError(
            f"its patches were normalised for {metadata['normalisation']!r}, this run's for {normalisation!r}",
            where=path,
            remedy=remedy,
        )
    network = FeatureNetwork(tuple(int(width) for width in metadata["widths"].split(",")))
    network.load_state_dict(tensors)
    return network.requires_grad_(False).eval().to(device)


def main() -> None:
    """Command line."""
    from sciSR.training.patch_file import PatchFile

    parser = argparse.ArgumentParser(description="Train a feature network on a patch file.")
    parser.add_argument("patches", type=Path, help="made by scisr prepare")
    parser.add_argument("-o", "--out", type=Path, required=True, help="features.safetensors")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    patches = PatchFile(arguments.patches)
    network = pretrain(patches, arguments.steps, seed=arguments.seed)
    config = patches.config
    save_features(
        arguments.out,
        network,
        config.normalisation,
        patches=config.name,
        steps=arguments.steps,
        seed=arguments.seed,
    )
    print(f"{arguments.out}: {sum(p.numel() for p in network.parameters()):,} parameters")


if __name__ == "__main__":
    main()
