"""The protocols by name, on the check files of a data root."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sciSR.evaluation import astronomy, methods, mr, natural
from sciSR.evaluation.table import Table

NAMES = ("mr-kspace", "mr-gaussian", "astro-simulated", "astro-real", "set5", "set14")
NOT_IN_MEAN = ("phantom_GE_13_Ax_T2_FLAIR_FS_DL_High.nii.gz",)
"""A phantom: marked for tests of geometry and ringing, no anatomy."""


def run(name: str, weights: Sequence[str | Path], data: Path, scale: int) -> Table:
    """Every network of `weights` and every classical method by one protocol.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    weights : sequence of str or Path
        Names of shipped networks, or paths.
    data : Path
        Root with ``mri/check``, ``astro/check``, ``natural/set5`` and so on.
    scale : int
    """
    networks = [methods.trained(item) for item in weights]
    rivals = methods.all_classical()
    rows = {}
    if name.startswith("mr-"):
        forward = name.removeprefix("mr-")
        for path in sorted((data / "mri/check").glob("*.nii.gz")):
            rows[path.name] = mr.measure_file(
                path, forward, scale, [*rivals, *mr.oracles(forward), *networks]
            )
    elif name == "astro-simulated":
        for key, scene in astronomy.scenes(scale).items():
            rows[key] = astronomy.measure_scene(scene, scale, [*rivals, *networks])
    elif name == "astro-real":
        for path in sorted((data / "astro/check").glob("*.fits")):
            rows[path.name] = astronomy.measure_file(path, scale, [*rivals, *networks])
    else:
        folder = data / "natural" / name
        natural.prove(folder, name, scale)
        rivals = [natural.bicubic()]
        for path in natural.photographs(folder):
            rows[path.name] = natural.measure_file(path, scale, [*rivals, *networks])
    return Table(name, rows, methods.names_of(rivals, "classical"), NOT_IN_MEAN)


def report(table: Table) -> str:
    """PSNR of all methods in each file, and the networks' gains over the best classical one."""
    lines = []
    others = [m for m in table.methods if m not in table.classical]
    for method in table.methods:
        psnr, similar = table.mean(method, "psnr"), table.mean(method, "ssim")
        line = f"{method:<28} {psnr.mean:7.3f} ± {psnr.error:.2f} dB  SSIM {similar.mean:.4f}"
        if (bias := table.mean(method, "bias")).files:
            line += f"  bias {bias.mean:+.2f} %"
        if (scatter := table.mean(method, "scatter")).files:
            line += f"  scatter {scatter.mean:.2f} %"
        lines.append(f"{line}  {table.mean(method, 's_per_mpix').mean:.2f} s/Mpixel")
    for method in others:
        gain = table.gain(method)
        lines.append(f"\n{method}: gain over the best classical method in each file")
        lines += [f"  {value:+6.2f}  {name}" for name, value in gain.files.items()]
        lines.append(
            f"  mean {gain.mean:+.2f} ± {gain.error:.2f}, median {gain.median:+.2f}, least {gain.least:+.2f} dB"
        )
    return "\n".join(lines)
