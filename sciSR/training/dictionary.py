"""Learns the dictionaries of `sciSR.models.sparse_coding.SparseCoding`: no gradients, one pass over the patches.

1. Features (derivatives of the interpolated input) and what the interpolation lacks are gathered at random pixels.
2. The features' principal components become one convolution of the coarse image.
3. scikit-learn learns one dictionary for both at once, so that a patch and its detail share their code (Yang et al.
   2010, doi:10.1109/TIP.2010.2050625; online learning: Mairal et al. 2009, doi:10.1145/1553374.1553463).
4. At inference only the features are known. So all patches are coded by them alone, with the very steps of the network,
   and the sharp atoms become the least-squares solution for these codes (Zeyde et al. 2010,
   doi:10.1007/978-3-642-27413-8_47): it undoes what thresholding takes away.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sciSR.errors import SciSRWarning, UsageError
from sciSR.models.sparse_coding import CHUNK, SparseCoding
from sciSR.training.config import TrainConfig
from sciSR.training.pair import Patches
from sciSR.training.run_folder import RunFolder

PER_STEP = 1000
"""Patches that are taken from each batch."""

PER_ATOM = 40
"""Patches for each atom that the dictionary is learned from; the least squares take all."""

FLOOR = 0.1
"""Length of a feature below which its code fades away, relative to the median length."""

RIDGE = 1e-4
"""Of the least squares, relative to the mean energy of an atom's codes."""


@dataclass
class Samples:
    """Patches at random pixels.

    Parameters
    ----------
    features : Tensor, float32 ``[N, 4 (s patch)^2]``
        Before their principal components are taken.
    details : Tensor, float32 ``[N, (s patch)^2]``
        Truth minus interpolation.
    """

    features: Tensor
    details: Tensor


def fit(
    config: TrainConfig,
    patches: Patches,
    folder: Path,
    *,
    fabric: Any = None,
    show: Callable[[str], None] = print,
) -> Path:
    """Learn the dictionaries of a configuration, and leave weights, measures and a draft of the card in a run's folder.

    Parameters
    ----------
    config : TrainConfig
        ``model.architecture`` is SparseCoding; ``training.steps`` batches are looked at, once.
    patches : Patches
    folder : Path
        Of the run; it exists.
    fabric : lightning.fabric.Fabric, optional
        That of the training loop.
    show : callable
        Gets one line for each part.

    Returns
    -------
    Path
        The weights.

    Raises
    ------
    UsageError
        scikit-learn is not installed, the patches are too small, or the network has other scales or conditions.
    """
    from sciSR.training.checkpoint import State
    from sciSR.training.losses import build
    from sciSR.training.machine import make_fabric
    from sciSR.training.networks import spec_of
    from sciSR.training.record import Record
    from sciSR.training.visit import visit

    _check(config)
    began = time.perf_counter()
    torch.manual_seed(config.training.seed)
    network = SparseCoding(config.model.scale, **config.model.arguments)
    with torch.no_grad():
        samples = gather(network, config, patches)
        show(f"{len(samples.features)} patches after {time.perf_counter() - began:.0f} s")
        learn(network, samples, config.training.seed)
        show(f"dictionary of {len(network.low)} atoms after {time.perf_counter() - began:.0f} s")
        mean = fit_high(network, samples)
        show(f"{mean:.1f} atoms a patch; learned in {time.perf_counter() - began:.0f} s")
    network.eval().requires_grad_(False)

    loop = config.training
    fabric = make_fabric("fp32", "cpu", 1, 1, loop.batch) if fabric is None else fabric
    network = network.to(fabric.device)
    spec = spec_of(config, network)
    loss = build(config, spec.receptive_field, fabric.device)
    seen = visit(next(iter(patches.batches(0, loop.batch, loop.seed))), config, 0).to(fabric.device)
    with torch.no_grad():
        value = float(loss(network(seen.input), seen)[0])
    state = State(loop.steps, {"loss": value}, 1, seconds=time.perf_counter() - began)
    run = RunFolder(Path(folder))
    record = Record(run, config, spec, patches, loss, fabric, show)
    record.begin(State())
    record.validate(network, state, 0.0)
    record.end(state, True)
    return run.weights


def _check(config: TrainConfig) -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "SparseCoding is learned with scikit-learn", remedy="pip install 'sciSR[train]'"
        ) from error
    if config.model.scales or config.model.conditions or config.model.start:
        raise UsageError(
            "SparseCoding has one scale, no conditions, and begins from nothing",
            remedy="leave model.scales, model.conditions and model.start away",
        )


# -- features ---------------------------------------------------------------------------------------------------------


def derivatives() -> Tensor:
    """Gradient and second derivative along x and along y, ``[4, 1, 5, 5]`` (as Yang et al.)."""
    kernels = torch.zeros(4, 1, 5, 5)
    kernels[0, 0, 2] = torch.tensor([0.0, -1, 0, 1, 0])
    kernels[2, 0, 2] = torch.tensor([1.0, 0, -2, 0, 1]) / 2
    kernels[1], kernels[3] = kernels[0].mT, kernels[2].mT
    return kernels


def fine_features(network: SparseCoding, x: Tensor) -> Tensor:
    """Derivatives of the interpolation over the patch around each pixel, ``[B, 1, h, w]`` -> ``[B, n, h', w']``.

    Only around pixels at least `features_radius` from the border: ``h' = h - 2 radius``.
    """
    reach, s = network.features_radius(), network.scale
    fine = F.conv2d(network.skip(x), derivatives(), padding=2)
    wide = s * network.patch
    inner = s * (reach - network.patch // 2)
    blocks = F.unfold(fine[..., inner:-inner, inner:-inner], wide, stride=s)
    height, width = (n - 2 * reach for n in x.shape[-2:])
    return blocks.unflatten(2, (height, width))


def as_convolution(network: SparseCoding, components: Tensor) -> Tensor:
    """The convolution of the coarse image that gives the features' components, ``[d, n]`` -> ``[d, 1, k, k]``.

    Everything before the components is linear, so the answer to each single pixel tells all.
    """
    side = 2 * network.features_radius() + 1
    pixels = torch.eye(side * side).reshape(side * side, 1, side, side)
    answers = fine_features(network, pixels)[:, :, 0, 0]
    return (components @ answers.mT).reshape(len(components), 1, side, side)


def gather(network: SparseCoding, config: TrainConfig, patches: Patches) -> Samples:
    """Features and details at random inner pixels of all batches, augmented and with noise as for any network."""
    from sciSR.training.visit import visit

    loop, reach = config.training, network.features_radius()
    generator = torch.Generator().manual_seed(loop.seed)
    features, details = [], []
    for step, batch in zip(range(loop.steps), patches.batches(0, loop.batch, loop.seed), strict=False):
        batch = visit(batch, config, step)
        if min(batch.input.shape[-2:]) < 2 * reach + 1:
            raise UsageError(
                f"patches of {batch.input.shape[-1]} pixels are too small for SparseCoding",
                remedy=f"data.patch must be at least {2 * reach + 1}",
            )
        found = fine_features(network, batch.input).permute(0, 2, 3, 1).flatten(0, 2)
        lacking = _lacking(network, batch.input, batch.truth)
        chosen = torch.randperm(len(found), generator=generator)[:PER_STEP]
        features.append(found[chosen])
        details.append(lacking[chosen])
    return Samples(torch.cat(features), torch.cat(details))


def _lacking(network: SparseCoding, x: Tensor, truth: Tensor) -> Tensor:
    """What the interpolation lacks over the patches around the same pixels, ``[N, (s patch)^2]``."""
    reach, s = network.features_radius(), network.scale
    rim = s * (reach - network.patch // 2)
    rest = (truth - network.skip(x))[..., rim:-rim, rim:-rim]
    return F.unfold(rest, s * network.patch, stride=s).mT.flatten(0, 1)


# -- dictionaries -----------------------------------------------------------------------------------------------------


def learn(network: SparseCoding, samples: Samples, seed: int) -> None:
    """Principal components, floor and the dictionary of features, into the network."""
    components = principal(samples.features, len(network.analysis))
    network.analysis.copy_(as_convolution(network, components))
    features = samples.features @ components.mT
    length = features.norm(dim=1, keepdim=True)
    network.floor.fill_(FLOOR * float(length.median()))
    structured = (length[:, 0] > network.floor).nonzero()[:, 0]
    atoms = len(network.low)
    if len(structured) < 10 * atoms:
        warnings.warn(
            f"{len(structured)} patches with structure are few for {atoms} atoms: raise training.steps",
            SciSRWarning,
            stacklevel=2,
        )
    order = torch.randperm(len(structured), generator=torch.Generator().manual_seed(seed))
    chosen = structured[order[: PER_ATOM * atoms]]
    network.low.copy_(
        joint_dictionary(features[chosen], samples.details[chosen], length[chosen], network, seed)
    )


def principal(features: Tensor, count: int) -> Tensor:
    """The first principal components, ``[count, n]``, orthonormal; no mean is taken out (derivatives have none)."""
    if count > features.shape[1]:
        raise UsageError(
            f"model.arguments.components is {count}, more than the {features.shape[1]} of a feature"
        )
    energy = (features.mT @ features).double()
    return torch.linalg.eigh(energy)[1].flip(1)[:, :count].mT.float().contiguous()


def joint_dictionary(
    features: Tensor, details: Tensor, length: Tensor, network: SparseCoding, seed: int
) -> Tensor:
    """Atoms of features, of length 1, from a dictionary of features and details, ``[atoms, components]``."""
    from sklearn.decomposition import MiniBatchDictionaryLearning
    from sklearn.exceptions import ConvergenceWarning

    size = features.shape[1]
    scaled = details / length
    scaled = scaled / scaled.square().sum(1).mean().sqrt().clamp_min(1e-12)  # both halves weigh the same
    learner = MiniBatchDictionaryLearning(
        len(network.low), alpha=network.sparsity, batch_size=256, max_iter=1, fit_algorithm="cd",
        transform_max_iter=20, random_state=seed,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # codes need not be exact to learn from
        learner.fit(torch.cat([features / length, scaled], 1).numpy())
    atoms = torch.from_numpy(learner.components_).float()[:, :size]
    return F.normalize(atoms, dim=1)


def fit_high(network: SparseCoding, samples: Samples) -> float:
    """The sharp atoms for the codes that the network really finds, by least squares, into the network.

    Returns
    -------
    float
        Mean number of atoms in a code.
    """
    atoms = len(network.low)
    components = principal(samples.features, len(network.analysis))
    left = torch.zeros(atoms, atoms, dtype=torch.float64)
    right = torch.zeros(atoms, samples.details.shape[1], dtype=torch.float64)
    used = 0
    for features, details in zip(samples.features.split(CHUNK), samples.details.split(CHUNK), strict=True):
        code = network.codes(features @ components.mT)
        used += int(code.count_nonzero())
        left += (code.mT @ code).double()
        right += (code.mT @ details).double()
    ridge = RIDGE * left.diagonal().mean() * torch.eye(atoms, dtype=torch.float64)
    network.high.copy_(torch.linalg.solve(left + ridge, right).float())
    return used / len(samples.features)
