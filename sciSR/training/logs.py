"""What a run leaves to look at: a line and a CSV row at each validation, TensorBoard events, curves, samples."""

from __future__ import annotations

import contextlib
import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciSR.files import atomic_output
from sciSR.training.run_folder import RunFolder

Row = dict[str, Any]


def write_history(path: Path, history: list[Row]) -> None:
    """All rows as CSV; rewritten whole, so that a resumed run holds every step once."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    with atomic_output(path, overwrite=True) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def line(row: Row, steps: int) -> str:
    """One validation in words."""
    left = row["ms_per_step"] * (steps - row["step"]) / 1000
    return (
        f"step {row['step']}/{steps}  loss {row['train_loss']:.5f}  valid {row['loss']:.5f}  "
        f"PSNR {row['psnr']:.3f} dB ({row['psnr'] - row['psnr_interpolation']:+.3f} over interpolation)  "
        f"lr {row['lr']:.2e}  {row['ms_per_step']:.1f} ms/step  {duration(left)} left"
    )


def duration(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def heartbeat(show: Callable[[str], None], steps: int, pause: float = 60.0) -> Callable[[int, float], None]:
    """A function that is told (steps done, milliseconds of one) and shows a line now and then: for long ways between
    validations where there is no bar.

    Parameters
    ----------
    show : callable
    steps : int
        Of the run.
    pause : float
        Least seconds between two lines.
    """
    last = time.monotonic()

    def tick(step: int, ms: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= pause:
            last = now
            show(f"step {step}/{steps}  {ms:.1f} ms/step  {duration(ms * (steps - step) / 1000)} left")

    return tick


class Events:
    """TensorBoard events, where it is installed.

    Parameters
    ----------
    run : RunFolder
    done : int
        Steps done before: what an interrupted run wrote after its last checkpoint is not shown.
    """

    def __init__(self, run: RunFolder, done: int = 0) -> None:
        self.writer: Any = None
        with contextlib.suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(run.path / "events"), purge_step=done + 1 if done else None)

    def write(self, row: Row) -> None:
        """All numbers of one validation."""
        if self.writer is not None:
            for key, value in row.items():
                if key != "step":
                    self.writer.add_scalar(key, value, row["step"])

    def close(self) -> None:
        """Write what is still held back."""
        if self.writer is not None:
            self.writer.close()


def draw_curves(path: Path, history: list[Row], title: str) -> None:
    """Losses, PSNR and learning rate over the steps, where matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    steps = [row["step"] for row in history]
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    loss, psnr, rate = figure.subplots(1, 3)
    for key, label in (("train_loss", "training"), ("loss", "validation")):
        loss.plot(steps, [row[key] for row in history], label=label)
    if all(row[key] > 0 for row in history for key in ("train_loss", "loss")):
        loss.set_yscale("log")
    loss.set_title("loss")
    loss.legend()
    psnr.plot(steps, [row["psnr"] for row in history], label="network")
    psnr.plot(steps, [row["psnr_interpolation"] for row in history], label="interpolation")
    psnr.set_title("PSNR of validation patches / dB")
    psnr.legend()
    rate.plot(steps, [row["lr"] for row in history])
    rate.set_title("learning rate")
    for axis in (loss, psnr, rate):
        axis.set_xlabel("step")
    figure.suptitle(title, fontsize="medium")
    with atomic_output(path, overwrite=True) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def draw_samples(path: Path, coarse: Tensor, output: Tensor, truth: Tensor) -> None:
    """Input (nearest), output, truth and error of some patches, one row each; where matplotlib is installed.

    All but the error share the grey range of the truth; the error's is a fifth of it, around zero.

    Parameters
    ----------
    path : Path
    coarse, output, truth : Tensor, float32 ``[N, 1, h, w]``, ``[N, 1, H, W]`` twice
    """
    try:
        from matplotlib.image import imsave
    except ImportError:
        return
    nearest = coarse
    for axis in (-2, -1):
        fine, count = truth.shape[axis], coarse.shape[axis]
        at = torch.arange(fine, device=coarse.device) * count // fine
        nearest = nearest.index_select(axis, at)
    rows = []
    for x, y, t in zip(*(_images(tensor) for tensor in (nearest, output, truth)), strict=True):
        low, high = np.quantile(t, (0.005, 0.995))
        width = max(high - low, 1e-6)
        shown = [(image - low) / width for image in (x, y, t)] + [(y - t) / (width / 5) + 0.5]
        rows.append(np.concatenate([np.pad(image.clip(0, 1), 2, constant_values=1) for image in shown], 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_output(path, overwrite=True) as temporary:
        imsave(temporary, np.concatenate(rows), cmap="gray", vmin=0, vmax=1, format="png")


def _images(tensor: Tensor) -> NDArray[np.float32]:
    return tensor[:, 0].detach().float().cpu().numpy()
