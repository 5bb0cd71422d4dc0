"""What to train, and from where: a prepared patch file, or a configuration and the files it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from sciSR.errors import UsageError
from sciSR.training.config import TrainConfig
from sciSR.training.overrides import override
from sciSR.training.pair import Patches
from sciSR.training.patch_file import PatchFile

NEEDED = ("pydantic", "ruamel.yaml")
"""What reading a configuration takes; a patch file holds its own."""


def open_source(
    source: Path,
    sets: Sequence[str] = (),
    prepared: Path | None = None,
    data: Path | None = None,
    ready: Callable[[TrainConfig], None] = lambda config: None,
) -> tuple[TrainConfig, Patches]:
    """The configuration of a run and its patches.

    Parameters
    ----------
    source : Path
        A patch file (``.npz``), whose configuration it is, or a configuration (``.yaml``).
    sets : sequence of str
        ``key.key=value`` that replace values of the configuration.
    prepared : Path, optional
        Patch file to train a configuration from, instead of the files it names.
    data : Path, optional
        Folder of these files, instead of ``data.root``.
    ready : callable
        Called with the configuration before any file is opened: what it refuses costs no time.

    Raises
    ------
    UsageError
        The configuration has errors, or the patches were made for another one.
    """
    if source.suffix == ".npz":
        if prepared is not None:
            raise UsageError(
                "two patch files", where=prepared, remedy="name the configuration or one patch file"
            )
        patches = PatchFile(source)
        config = _overridden(patches.config, sets, source)
        _agree(config, patches)
        ready(config)
        return config, patches
    if not all(_installed(name) for name in NEEDED):
        raise UsageError(
            f"a configuration needs {' and '.join(NEEDED)}",
            where=source,
            remedy="install them or give a patch file",
        )
    from sciSR.training.config_file import load_config

    config = load_config(source, sets)
    ready(config)
    if prepared is not None:
        patches = PatchFile(prepared)
        _agree(config, patches)
        return config, patches
    from sciSR.training.dataset import FilePatches

    return config, FilePatches(config, data)


def _overridden(config: TrainConfig, sets: Sequence[str], source: Path) -> TrainConfig:
    """With the full check where pydantic is installed, with `override`'s own elsewhere."""
    config_ = override(config, sets)
    if not all(_installed(name) for name in NEEDED):
        return config_
    from sciSR.training.config_file import check

    return check(config_.as_dict(), str(source), {})


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the parent package
        return False


def _agree(config: TrainConfig, patches: PatchFile) -> None:
    """What is in the patches themselves can't be changed any more."""
    made, wanted = patches.config, config
    pairs = {
        "domain": (made.domain, wanted.domain),
        "normalisation": (made.normalisation, wanted.normalisation),
        "model.scale": (made.model.scale, wanted.model.scale),
        "model.scales": (made.model.scales, wanted.model.scales),
        "model.conditions": (made.model.conditions, wanted.model.conditions),
        **{
            f"forward.{key}": (value, getattr(wanted.forward, key))
            for key, value in vars(made.forward).items()
        },
    }
    different = [f"{key} is {old}, not {new}" for key, (old, new) in pairs.items() if old != new]
    if different:
        raise UsageError(
            f"was prepared otherwise: {', '.join(different)}",
            where=patches.path,
            remedy="prepare the patches anew",
        )
