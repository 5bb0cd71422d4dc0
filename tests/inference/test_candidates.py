"""Which network `auto` takes among those that are there, and what it never takes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

import sciSR
from networks import random_network
from scenes import brain, mr_image
from sciSR.errors import ModelError, SciSRWarning
from sciSR.inference import plan_upscale
from sciSR.inference.candidates import best_network, is_adversarial, reach
from sciSR.inference.choose import Wish, choose
from sciSR.models.files import save_model
from sciSR.models.spec import ModelSpec


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the shipped weights."""
    monkeypatch.setattr("sciSR.models.files.WEIGHTS", tmp_path)
    monkeypatch.setenv("SCISR_MODELS", str(tmp_path / "mine"))
    return tmp_path


def put(
    shelf: Path, name: str, architecture: str = "ESPCN", scale: int = 2, gain: float | None = None, **fields
) -> None:
    model, spec = random_network(architecture, scale, **fields)
    save_model(shelf / f"{name}.safetensors", model, ModelSpec(**{**vars(spec), "name": name}))
    if gain is not None:
        (shelf / f"{name}.yaml").write_text(f"measured: {{tables: {{t: {{gain_db: {{mean: {gain}}}}}}}}}\n")


def chosen(scale: int = 2, forward: str = "kspace", conditions: tuple[str, ...] = ()) -> str | None:
    way = best_network("mr", forward, (Fraction(scale),) * 2, conditions)
    return None if way is None else way.spec.name


def test_our_default_architecture_comes_first_then_what_measured_best(shelf: Path) -> None:
    put(shelf, "a", gain=1.0)
    put(shelf, "b", "EDSR", gain=2.0)
    put(shelf, "c", "VDSR")  # without a card
    assert chosen() == "b"
    put(shelf, "d", "ECBSR", gain=0.5)
    assert chosen() == "d"


def test_each_forward_model_has_its_own_network(shelf: Path) -> None:
    put(shelf, "k")
    put(shelf, "g", forward_model="gaussian")
    assert (chosen(), chosen(forward="gaussian"), chosen(forward="bicubic")) == ("k", "g", None)


def test_a_network_of_the_factor_comes_before_a_smaller_one_applied_again(shelf: Path) -> None:
    put(shelf, "two", "ECBSR", 2)
    assert chosen(4) == "two"
    put(shelf, "four", "ESPCN", 4)
    assert chosen(4) == "four"
    assert chosen(3) is None
    put(shelf, "any", "VDSR", 3, scales=(2, 3, 4))
    assert chosen(3) == "any"
    assert chosen(8) == "two"


def test_adversarial_networks_are_never_taken_unasked(shelf: Path) -> None:
    put(shelf, "texture", "SRResNet", adversarial=True, gain=9.0)
    put(shelf, "srgan-mr-x2", "SRResNet", gain=9.0)
    assert chosen() is None
    for name in ("texture", "srgan-mr-x2"):
        with pytest.warns(SciSRWarning, match="invents texture"):
            result = sciSR.upscale(mr_image(brain((24, 20))), 2, name)
        assert result.provenance.steps[-1]["adversarial"] is True


def test_a_conditional_network_is_taken_where_something_is_told(shelf: Path) -> None:
    put(shelf, "cond", "ConditionalECBSR")
    assert chosen() == chosen(forward="gaussian") == "cond"  # told which it is
    put(shelf, "plain")
    assert chosen() == "cond"
    put(shelf, "best", "ECBSR")
    assert chosen() == "best"
    assert chosen(conditions=("noise",)) == "cond"


def test_what_can_not_be_told_or_undone_is_refused(shelf: Path) -> None:
    put(shelf, "plain")
    image, two = mr_image(brain((24, 20))), (Fraction(2), Fraction(2))
    for wish, what in (
        (Wish(noise=1.0), "is told the noise"),
        (Wish("plain", noise=1.0), "can't be told the noise"),
        (Wish("plain", forward="gaussian"), "undoes kspace, not gaussian"),
        (Wish(forward="gaussian"), "undoes gaussian"),
        (Wish("cubic", noise=1.0), "can't be told"),
        (Wish("cubic", psf_fwhm=1.0), "can't be told the fwhm"),
        (Wish("plain", noise=1.0, psf_fwhm=1.0), "can't be told the fwhm, noise"),
    ):
        with pytest.raises(ModelError, match=what):
            choose(image, two, wish)


@pytest.mark.parametrize(
    "bad", [{"forward": "magic"}, {"noise": -1.0}, {"noise": float("nan")}, {"psf_fwhm": -2.0}]
)
def test_impossible_wishes_are_usage_errors(bad: dict) -> None:
    with pytest.raises(sciSR.SciSRError) as caught:
        plan_upscale(mr_image(brain((24, 20))), 2, **bad)
    assert caught.value.exit_code == 2


def test_a_repeated_network_says_that_it_is_seldom_worth_it(shelf: Path) -> None:
    put(shelf, "two")
    choice = choose(mr_image(brain((24, 20))), (Fraction(4), Fraction(4)), Wish())
    assert (choice.times, choice.step) == (2, 2)
    assert choice.messages[0] == "no network trained for x4"
    assert "two is a x2 network, applied twice to make x4: often no better" in choice.messages[1]


def test_an_image_of_no_domain_keeps_its_classical_method_whatever_is_wished(shelf: Path) -> None:
    put(shelf, "plain")
    image = sciSR.Image.from_array(brain((24, 20)))
    assert choose(image, (Fraction(2), Fraction(2)), Wish(forward="kspace")).name == "cubic"


def test_unequal_and_fractional_factors_have_no_network() -> None:
    spec = ModelSpec("x", "VDSR", scale=2, scales=(2, 3))
    for scale in ((Fraction(2), Fraction(3)), (Fraction(3, 2),) * 2, (Fraction(6),) * 2):
        assert reach(spec, scale) is None
    assert reach(spec, (Fraction(9),) * 2).step == 3
    assert not is_adversarial(spec)


def test_auto_takes_what_its_cards_say_is_best() -> None:
    """The preferred architectures are constants, because cards are slow to read: they must not go stale."""
    from sciSR.inference.candidates import _measured_gain, is_adversarial
    from sciSR.models.files import WEIGHTS, list_models

    shipped = [spec for spec in list_models() if (WEIGHTS / f"{spec.name}.safetensors").is_file()]
    tasks = {(spec.domain, spec.forward_model, spec.scale) for spec in shipped}
    for domain, forward, scale in tasks:
        rivals = [
            spec
            for spec in shipped
            if (spec.domain, spec.forward_model, spec.scale) == (domain, forward, scale)
            and not is_adversarial(spec)
            and not spec.conditions  # measured on more than this task
        ]
        taken = best_network(domain, forward, (Fraction(scale), Fraction(scale)))
        if taken is None or len(rivals) < 2:
            continue
        best = max(_measured_gain(spec.name) for spec in rivals)
        assert _measured_gain(taken.spec.name) >= best - 0.05, (domain, forward, scale, taken.spec.name)
