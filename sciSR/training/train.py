"""Train a network: ``python -m sciSR.training.train PATCHES.npz [--set training.steps=5000]``.

From a patch file it needs no more than torch, lightning, numpy and safetensors; from a configuration (``CONFIG.yaml``)
all of sciSR. ``scisr train`` is the same with a progress bar.
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

from sciSR.errors import SciSRError
from sciSR.training.config import TrainConfig


def main(arguments: list[str] | None = None) -> int:
    """Command line; 0 done, 130 interrupted, 2 and 3 for errors."""
    parser = argparse.ArgumentParser(prog="python -m sciSR.training.train", description=__doc__)
    parser.add_argument("source", type=Path, help="patch file of `scisr prepare`, or a configuration")
    parser.add_argument("--patches", type=Path, help="patch file, for a configuration")
    parser.add_argument("--data", type=Path, help="folder of the files that a configuration names")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. optimizer.lr=5e-4"
    )
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--resume", action="store_true", help="go on with a run")
    parser.add_argument("--overwrite", action="store_true", help="start a run anew")
    parser.add_argument("--threads", type=int, help="CPU threads of PyTorch")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--devices", type=int, default=1, help="processes of a node")
    parser.add_argument("--nodes", type=int, default=1)
    given = parser.parse_args(arguments)
    try:
        return run(given)
    except SciSRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def run(given: argparse.Namespace) -> int:
    """Train with the options of the command line."""
    import torch

    from sciSR.training.logs import heartbeat
    from sciSR.training.loop import train
    from sciSR.training.machine import is_first
    from sciSR.training.run_folder import refuse_older
    from sciSR.training.source import open_source

    if given.threads:
        torch.set_num_threads(given.threads)

    def ready(config: TrainConfig) -> None:
        refuse_older(given.out, config.name, resume=given.resume, overwrite=given.overwrite)

    show = functools.partial(print, flush=True)
    config, patches = open_source(given.source, given.set, given.patches, given.data, ready)
    folder, whole = train(
        config,
        patches,
        given.out,
        resume=given.resume,
        overwrite=given.overwrite,
        device=given.device,
        devices=given.devices,
        nodes=given.nodes,
        show=show,
        tick=heartbeat(show, config.training.steps),
    )
    if not is_first():  # of several processes one speaks
        return 0 if whole else 130
    if not whole:
        print(
            f"interrupted; the same command with --resume goes on from {folder.checkpoint}", file=sys.stderr
        )
        return 130
    print(folder.weights)
    return 0


if __name__ == "__main__":
    sys.exit(main())
