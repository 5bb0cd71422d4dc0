"""What a user does with an input: describe it, read it, upscale it; load a configuration, a card, weights."""

from __future__ import annotations

import contextlib
import os
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_geometry import Refused, WrongGrid, judge
from fuzz_seeds import Seed

from sciSR.errors import ResourceError, SciSRError, SciSRWarning

METHODS = ("cubic", "cubic", "linear", "auto")


def travel(
    seed: Seed, path: Path, work: Path, number: int = 0, honest: list[Any] | None = None
) -> dict[str, Any]:
    """Go the way of one input.

    Parameters
    ----------
    seed : Seed
    path : Path
    work : Path
        An empty folder for what is written.
    number : int
        Chooses among methods.
    honest : list, optional
        The pixels of the honest file, to compare with.

    Returns
    -------
    dict
        ``outcome``: ``"same"`` or ``"changed"`` pixels, ``"warned"`` (changed, with a warning), ``"refused"``; or one
        of the defects ``"traceback"``, ``"wrong grid"``, ``"litter"``. ``detail`` says more.
    """
    said: list[str] = []
    try:
        with _listening(said):
            found = go(seed, path, work, number)
    except ResourceError as error:
        return {"outcome": "traceback" if "out of memory" in str(error) else "refused", "detail": str(error)}
    except SciSRError as error:
        if left := sorted(p.name for p in work.iterdir()):
            return {"outcome": "litter", "detail": f"{error}: left {left}"}
        if "\n" in str(error):
            return {"outcome": "traceback", "detail": f"a message of several lines: {error!s:.300}"}
        return {"outcome": "refused", "detail": str(error)}
    except (WrongGrid, Refused) as error:
        if said:
            return {"outcome": "warned", "detail": f"{said[0]} / {error}"}
        return {"outcome": "wrong grid", "detail": f"{type(error).__name__}: {error}"}
    except Exception:
        return {"outcome": "traceback", "detail": traceback.format_exc()[-3000:]}
    same = honest is not None and _same(found, honest)
    return {"outcome": "same" if same else "warned" if said else "changed", "detail": (said or [""])[0]}


def go(seed: Seed, path: Path, work: Path, number: int) -> list[Any]:
    """The same, with whatever is raised; the pixels, weights or values that were read."""
    return _JOURNEYS.get(seed.format, _image)(seed, path, work, number)


@contextlib.contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", SciSRWarning)

        def hear(message: Any, *_: Any) -> None:
            said.append(" ".join(str(message).split()))

        warnings.showwarning = hear
        yield


def pixels(path: Path) -> list[np.ndarray]:
    """All images of a file, as a user reads them."""
    from sciSR.api import read_all

    return [np.asarray(image.data[(slice(None),) * len(image.shape)]) for image in read_all(path)]


def _same(found: list[Any], honest: list[Any]) -> bool:
    if len(found) != len(honest):
        return False
    return all(
        np.array_equal(a, b, equal_nan=True)
        if isinstance(a, np.ndarray) and a.dtype.kind in "fc"
        else np.array_equal(a, b)
        for a, b in zip(found, honest, strict=True)
    )


def _image(seed: Seed, path: Path, work: Path, number: int) -> list[Any]:
    import json

    from sciSR.plugins import adapter_for
    from sciSR.workflow.run import upscale_file

    adapter = adapter_for(path)
    json.dumps(adapter.describe(path), allow_nan=False)
    found = pixels(path)
    target = work / (adapter.default_output(path, "2").name)
    outcome = upscale_file(
        path, target, scale=2, model=METHODS[number % len(METHODS)], device="cpu", consistency="auto"
    )
    if seed.name != "dicom/dicomdir":
        judge(adapter.name if adapter.name != seed.format else seed.format, path, outcome.output)
    return found


def _yaml(seed: Seed, path: Path, work: Path, number: int) -> list[Any]:
    if seed.name == "yaml/train":
        from sciSR.training.config_file import load_config

        return [repr(load_config(path))]
    if seed.name == "yaml/degrade":
        from sciSR.workflow.degrade_settings import settings_of

        return [repr(settings_of(path))]
    if seed.name == "yaml/card":
        return _card(path, work)
    from sciSR.workflow.pipelines.loading import load_pipeline

    return [repr(load_pipeline(path))]


def _card(path: Path, work: Path) -> list[Any]:
    from sciSR.models.files import load_card
    from sciSR.models.user_models import add_model, remove_model

    os.environ["SCISR_MODELS"] = str(work / "models")
    found = [repr(load_card(path))]
    added = add_model(path, "mine")
    found.append(repr(load_card("mine")).replace(added.stem, ""))
    remove_model("mine")
    (work / "models").rmdir()
    return found


def _weights(seed: Seed, path: Path, work: Path, number: int) -> list[Any]:
    import sciSR
    from sciSR.models.files import load_model
    from sciSR.models.user_models import add_model

    os.environ["SCISR_MODELS"] = str(work / "models")
    model, _, _ = load_model(path)
    scene = np.random.default_rng(0).gamma(2, 50, (12, 10))
    out = np.asarray(sciSR.upscale(sciSR.Image.from_array(scene), 2, str(path), device="cpu"))
    found = [value.numpy() for value in model.state_dict().values()]
    if number % 4 == 0:
        add_model(path, "mine")
    if out.shape != (24, 20):
        raise WrongGrid(f"(12, 10) became {out.shape}")
    return found


_JOURNEYS: dict[str, Callable[..., list[Any]]] = {"yaml": _yaml, "safetensors": _weights}
