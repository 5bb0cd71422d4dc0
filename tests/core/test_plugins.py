"""Plugins come through entry points, a stranger's like our own; a broken one is named and skipped."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from toy_adapter import ToyAdapter, write_toy

import sciSR
from sciSR import plugins
from sciSR.errors import SciSRWarning, Terminated, UnreadableError, UsageError

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution with entry points on the path, as pip would."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def put(name: str, entry_points: str, **modules: str) -> None:
        for module, source in modules.items():
            (site / f"{module}.py").write_text(source)
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        plugins.load.cache_clear()

    yield put
    plugins.load.cache_clear()
    for module in [m for m in sys.modules if m.startswith("stranger_")]:
        del sys.modules[module]


TOY = "from toy_adapter import ToyAdapter\nadapter = ToyAdapter()\n"
RUDE = """
from toy_adapter import ToyAdapter

class Rude(ToyAdapter):
    name = "a_rude"
    def sniff(self, path):
        raise KeyError(path)

adapter = Rude()
"""
ENTRY = "[scisr.adapters]\ntoy = stranger_toy:adapter\n"


def test_a_strangers_adapter_works_like_our_own(install: Install, tmp_path: Path) -> None:
    install("stranger", ENTRY, stranger_toy=TOY)
    source = write_toy(tmp_path / "a.toy", np.ones((2, 3, 4), np.float32), np.eye(4))
    assert plugins.adapter_for(source).name == "toy"
    assert plugins.adapter_for_output(tmp_path / "out.toy").name == "toy"
    image = sciSR.read(source)
    sciSR.write(image, tmp_path / "b.toy")
    assert np.array_equal(np.asarray(sciSR.read(tmp_path / "b.toy")), np.ones((2, 3, 4)))


def test_our_own_adapters_are_found() -> None:
    with warnings.catch_warnings(action="ignore"):
        points = {p.name: p.target for p in plugins.load(plugins.ADAPTERS)}
    assert points["fits"] == "scisr_astronomy.fits_adapter:adapter"
    assert points["nifti"] == "scisr_medical.nifti_adapter:adapter"
    assert points["dicom"] == "scisr_medical.dicom_adapter:adapter"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError"),
        ("raise SystemError('boom')", "SystemError: boom"),
        ("adaptor = 1", "AttributeError"),
        ("adapter = 1", "lacks attributes"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit"),
        (TOY + "adapter.options = ('deep',)", "not all sciSR.adapter.Option"),
        (TOY + "adapter.suffixes = '.toy'", "no tuple of texts"),
    ],
)
def test_a_broken_plugin_is_named_and_the_others_work(install: Install, source: str, reason: str) -> None:
    install("broken", "[scisr.adapters]\nbad = stranger_bad:adapter\n", stranger_bad=source)
    install("stranger", ENTRY, stranger_toy=TOY)
    with pytest.warns(
        SciSRWarning, match=r"plugin 'bad' of broken \(stranger_bad:adapter\) is broken and skipped"
    ):
        found = plugins.adapters()
    assert "toy" in found
    assert "bad" not in found
    (broken,) = [p for p in plugins.load(plugins.ADAPTERS) if p.name == "bad"]
    assert reason in broken.error
    with warnings.catch_warnings(action="error"):
        plugins.adapters()  # once is enough


def test_a_stranger_can_not_replace_a_format_in_silence(install: Install) -> None:
    install("aaa", "[scisr.adapters]\nfits = a_stranger:adapter\n", a_stranger=TOY)
    with pytest.warns(SciSRWarning, match="plugin 'fits' of aaa .* its name is taken by sciSR"):
        assert plugins.adapters()["fits"].name == "fits"


@pytest.mark.parametrize("error", ["KeyError(path)", "SystemExit(0)"])
def test_a_sniff_that_raises_does_not_hide_the_other_adapters(
    install: Install, tmp_path: Path, error: str
) -> None:
    rude = RUDE.replace("KeyError(path)", error)
    install("rude", "[scisr.adapters]\na_rude = stranger_rude:adapter\n", stranger_rude=rude)
    install("stranger", ENTRY, stranger_toy=TOY)
    source = write_toy(tmp_path / "a.toy", np.ones((2, 3, 4), np.float32), np.eye(4))
    with pytest.warns(SciSRWarning, match="a_rude"):
        assert plugins.adapter_for(source).name == "toy"


def test_a_termination_is_not_taken_for_a_sniff_that_raises(install: Install, tmp_path: Path) -> None:
    ended = RUDE.replace("raise KeyError(path)", "from sciSR.errors import Terminated; raise Terminated(143)")
    assert ended != RUDE
    install("rude", "[scisr.adapters]\na_rude = stranger_rude:adapter\n", stranger_rude=ended)
    source = write_toy(tmp_path / "a.toy", np.ones((2, 3, 4), np.float32), np.eye(4))
    with pytest.raises(Terminated):
        plugins.adapter_for(source)


def test_an_unknown_file_is_refused_with_the_known_formats(install: Install, tmp_path: Path) -> None:
    install("stranger", ENTRY, stranger_toy=TOY)
    unknown = tmp_path / "a.dat"
    unknown.write_bytes(b"hello, world")
    with pytest.raises(UnreadableError, match=r"a\.dat: no adapter recognises it \(known: .*toy"):
        plugins.adapter_for(unknown)
    with pytest.raises(UnreadableError, match="no such file"):
        plugins.adapter_for(tmp_path / "missing")
    (tmp_path / "empty.toy").write_bytes(b"")
    with pytest.raises(UnreadableError, match="0 bytes"):
        plugins.adapter_for(tmp_path / "empty.toy")
    with pytest.raises(UsageError, match=r"no adapter writes this kind of file; use one of .*\.toy"):
        plugins.adapter_for_output("out.xyz")


def test_the_longest_suffix_wins(install: Install) -> None:
    longer = TOY + "adapter.name = 'longer'\nadapter.suffixes = ('.big.toy',)\n"
    install("stranger", ENTRY, stranger_toy=TOY)
    install("longer", "[scisr.adapters]\na_longer = stranger_longer:adapter\n", stranger_longer=longer)
    assert plugins.adapter_for_output("x.big.toy").name == "longer"
    assert plugins.adapter_for_output("X.TOY").name == "toy"


def test_an_unknown_option_is_refused_with_the_known_ones(install: Install, tmp_path: Path) -> None:
    install("stranger", ENTRY, stranger_toy=TOY)
    source = write_toy(tmp_path / "a.toy", np.ones((2, 3, 4), np.float32), np.eye(4))
    with pytest.raises(UsageError, match="the toy adapter has no option hdu for reading; it knows turn"):
        sciSR.read(source, hdu=1)
    with pytest.raises(UsageError, match="has no option dtyp for writing"):
        sciSR.write(sciSR.read(source), tmp_path / "b.toy", dtyp="keep")
    assert not (tmp_path / "b.toy").exists()


def test_the_toy_itself_is_an_adapter() -> None:
    from sciSR.adapter import Adapter

    assert isinstance(ToyAdapter(), Adapter)
