"""The step ``isotropic``: thick slices in, thin slices out."""

from __future__ import annotations

from functools import partial
from typing import Literal

from sciSR.workflow.pipelines.products import product_of, run_one
from sciSR.workflow.pipelines.steps.upscale import check_tile, uncertain
from sciSR.workflow.pipelines.values import Tile
from sciSR.workflow.pipelines.work import Product, Work


def isotropic(
    work: Work,
    *,
    spacing: float | None = None,
    model: str = "auto",
    self_training: Literal["0", "fast", "full"] = "fast",
    slice_profile: str = "gaussian",
    slice_thickness: float | None = None,
    consistency: Literal["auto", "none"] = "auto",
    label_method: Literal["nearest", "argmax"] = "nearest",
    uncertainty: bool = False,
    gain: float | None = None,
    read_noise: float | None = None,
    device: str = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    tile: Tile | None = None,
    seed: int | None = None,
) -> Product:
    """Make volumes of thick slices isotropic, as ``scisr upscale --isotropic`` does.

    A volume that is isotropic already stays as it is, and the record says so. Research use only, not for diagnosis.

    Parameters
    ----------
    spacing : float
        Of the result along all three axes, in mm; the finest of the three by default.
    model : str
        auto; scratch, smoothest, nearest, linear, cubic, lanczos; or a through-plane network.
    self_training : str
        How long the network learns from this very volume first: 0, fast (a minute or so), full.
    slice_profile : str
        gaussian, rect, sinc; estimate (from the volume's spectra); or a file of two columns, distance in mm and weight.
    slice_thickness : float
        Width of the slice profile at half its maximum, in mm; the header's by default, or the spacing of slices.
    consistency : str
        auto: the result, seen through the slice profile, is the measured slices.
    label_method : str
        For label maps: the nearest label, or the argmax of upscaled one-hot maps.
    uncertainty : bool
        Also write the standard deviation of each voxel.
    gain, read_noise : float
        For the uncertainty: electrons per unit of the image, and of the read-out.
    device : str
        auto, cpu, cuda, cuda:N or mps.
    precision : str
        bf16 is faster, and accurate to 65 dB.
    tile : int
        Tile size in input pixels, 16 or more; fitted to the memory at hand by default.
    seed : int
        Of all that is random; the item's by default.

    Raises
    ------
    SciSRError
        Naming the file, what is wrong and what to do.
    """
    from sciSR.throughplane import plan_isotropic

    check_tile(tile)
    wanted = uncertain(uncertainty, gain, read_noise)
    file = work.input / slice_profile
    make_plan = partial(
        plan_isotropic,
        spacing=spacing,
        model=model,
        self_training=self_training,
        profile=str(file) if file.is_file() else slice_profile,
        thickness=slice_thickness,
        consistency=consistency,
        label_method=label_method,
        uncertainty=wanted,
        device=device,
        precision=precision,
        tile=tile,
        seed=seed or 0,
    )
    target, outcome = run_one(work, make_plan, named="iso", uncertainty=wanted)
    return product_of(work, target, outcome)
