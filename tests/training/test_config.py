"""Configurations: what is read is what was written, bases fill in, and every fault is named at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from sciSR.errors import UsageError
from sciSR.training import losses
from sciSR.training.config import LoopConfig, LossTerm, ModelConfig, TrainConfig
from sciSR.training.config_file import check, dump, load_config
from sciSR.training.config_sense import LOSSES
from sciSR.training.overrides import override

RECIPES = sorted((Path(__file__).parents[2] / "configs" / "train").glob("*.yaml"))
LEAST = "name: a\ndomain: mr\nnormalisation: range\nmodel: {architecture: ESPCN}\n"


@pytest.fixture
def write(tmp_path):
    """Write files and return the path of the last one."""

    def write(**files: str) -> Path:
        for name, text in files.items():
            path = tmp_path / f"{name}.yaml"
            path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(path, sets=()) -> str:
    with pytest.raises(UsageError) as caught:
        load_config(path, sets)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_least_configuration_has_all_defaults(write):
    config = load_config(write(a=LEAST))
    assert config == TrainConfig("a", "mr", "range", ModelConfig("ESPCN"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_written_back_unchanged(path, tmp_path):
    config = load_config(path)
    dump(config, tmp_path / "out.yaml")
    assert load_config(tmp_path / "out.yaml") == config
    assert TrainConfig.from_dict(config.as_dict()) == config


@given(
    lr=st.floats(1e-12, 1e3),
    low=st.floats(0, 10),
    width=st.floats(0, 10),
    words=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30),
    clip=st.none() | st.floats(1e-3, 10),
)
def test_dump_and_load_keep_every_value(tmp_path_factory, lr, low, width, words, clip):
    path = tmp_path_factory.mktemp("dump") / "a.yaml"
    values = TrainConfig("a", "mr", "range", ModelConfig("ESPCN")).as_dict()
    values["optimizer"] |= {"lr": lr, "clip": clip}
    values["forward"]["fwhm"] = [low, low + width]
    values["card"] = {"summary": words}
    config = TrainConfig.from_dict(values)
    dump(config, path)
    assert load_config(path) == config


def test_base_fills_in_what_the_file_leaves_out(write):
    path = write(
        ground="optimizer: {lr: 1.0e-4, clip: 0.5}\naugment: {rescale: [1.0, 0.9]}\n" + LEAST,
        middle="base: ground.yaml\noptimizer: {lr: 2.0e-4}\n",
        top="base: middle.yaml\nname: top\naugment: {rescale: [0.5]}\n",
    )
    config = load_config(path)
    assert (config.name, config.optimizer.lr, config.optimizer.clip) == ("top", 2e-4, 0.5)
    assert config.augment.rescale == (0.5,)  # lists are replaced


def test_arguments_are_not_merged_and_stay_with_their_network(write):
    model = "model: {architecture: ESPCN, scale: 3, arguments: {skip: lanczos}}\n"
    base = f"name: a\ndomain: mr\nnormalisation: range\n{model}"
    other = load_config(write(base=base, a="base: base.yaml\nmodel: {architecture: FSRCNN}\n")).model
    assert (other.scale, other.arguments) == (3, {})
    same = load_config(write(base=base, a="base: base.yaml\nmodel: {arguments: {finish: none}}\n")).model
    assert same.arguments == {"finish": "none"}
    kept = load_config(write(base=base, a="base: base.yaml\nmodel: {scale: 2}\n")).model
    assert kept.arguments == {"skip": "lanczos"}


def test_bases_that_lead_back_are_refused(write):
    message = refusal(write(a="base: b.yaml\n", b="base: a.yaml\n"))
    assert "b.yaml -> a.yaml -> b.yaml" in message


def test_missing_base_names_the_file(write):
    assert "nowhere.yaml" in refusal(write(a="base: nowhere.yaml\n" + LEAST))


def test_set_replaces_typed_values(write):
    sets = [
        "optimizer.lr=5e-4",
        "model.scales=[2, 3]",
        "loss.terms.0.weight=2",
        "training.patience=~",
        "name=b-1",
    ]
    config = load_config(write(a=LEAST + "loss: {terms: [{kind: mse}]}\n"), sets)
    assert config.optimizer.lr == 5e-4
    assert config.model.scales == (2, 3)
    assert config.loss.terms == (LossTerm("mse", 2.0),)
    assert config.training.patience is None
    assert config.name == "b-1"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("optimizer.lrr=1", "did you mean lr?"),
        ("optimiser.lr=1", "did you mean optimizer?"),
        ("optimizer.lr=fast", "must be a number"),
        ("optimizer.lr", "not of the form"),
        ("loss.terms.3.weight=1", "no entry 3 in a list of 1"),
        ("training.steps=1.5", "must be a whole number"),
    ],
)
def test_set_refuses_what_makes_no_sense(write, setting, said):
    path = write(a=LEAST + "loss: {terms: [{kind: mse}]}\n")
    assert said in refusal(path, [setting])


def test_all_faults_are_told_at_once_with_their_lines(write):
    text = (
        "name: a\ndomain: mrr\nmodel:\n  architecture: ESPCN\n  scal: 2\n  arguments: {skipp: lanczos}\n"
        "forward: {fwhm: [1, 2, 3], snr: [9, 2]}\noptimizer: {lr: -1}\ntrainin: {}\ntraining: {steps: x, batch: 0}\n"
    )
    message = refusal(write(a=text), ["optimizer.clp=3"])
    assert "11 errors" in message
    for said in (
        "domain [a.yaml:2]: must be 'mr', 'astronomy' or 'natural', not 'mrr'",
        "normalisation: is missing",
        "model.scal [a.yaml:5]: unknown key (did you mean scale?)",
        "model.arguments.skipp [a.yaml:6]: ESPCN has no such argument (did you mean skip?)",
        "forward.fwhm [a.yaml:7]",
        "forward.snr [a.yaml:7]: runs from 9.0 down to 2.0",
        "optimizer.lr [a.yaml:8]: must be above 0",
        "optimizer.clp [--set]: unknown key (did you mean clip?)",
        "trainin [a.yaml:9]: unknown key (did you mean training?)",
        "training.steps [a.yaml:10]",
        "training.batch [a.yaml:10]: must be at least 1, not 0",
    ):
        assert said in message


def test_fault_in_a_base_names_the_base(write):
    message = refusal(write(ground=LEAST + "optimizer: {lr: 0}\n", top="base: ground.yaml\nname: b\n"))
    assert "optimizer.lr [ground.yaml:5]" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: {architecture: ESPCNN}", "architecture 'ESPCNN' is unknown"),
        ("model: {architecture: ESPCN, arguments: {scale: 2}}", "belongs into model.scale"),
        ("model: {architecture: VDSR, scale: 2, scales: [3, 4]}", "must hold model.scale"),
        ("model: {architecture: ESPCN, conditions: [nois]}", "did you mean noise?"),
        ("forward: {kind: [kspace, gaussian]}", "add kspace to model.conditions"),
        ("loss: {consistency: inside}", "no step to be consistent with"),
        (
            "loss: {terms: [{kind: l1}, {kind: mes}]}",
            "loss.terms[1].kind: there is no 'mes' (did you mean mse?)",
        ),
        ("loss: {terms: []}", "must have one term at least"),
        ("data: {group: 'sub-'}", "has no group"),
        ("data: {group: '('}", "no regular expression"),
        ("name: a/b", "can't be a file name"),
        ("optimizer: {lr: .nan}", "optimizer.lr"),
    ],
)
def test_values_that_exclude_each_other_are_refused(write, text, said):
    values = YAML(typ="safe", pure=True).load(LEAST) | YAML(typ="safe", pure=True).load(text)
    with pytest.raises(UsageError, match=re.escape(said)):
        check(values, "a.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "not valid YAML"),
        ("- 1\n", "expected keys"),
        ("", "expected keys"),
        ("a: 1\na: 2\n", "duplicate"),
    ],
)
def test_files_that_hold_no_configuration_are_refused(write, text, said):
    assert said in refusal(write(a=text))


def test_every_loss_that_there_is_can_be_named():
    assert set(LOSSES) == set(losses._makers())


def test_missing_file_says_so(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.yaml")


class TestOverride:
    """The small sister of ``--set`` for machines without pydantic."""

    config = TrainConfig("a", "mr", "range", ModelConfig("ESPCN", {"skip": "lanczos"}))

    def test_values_are_json_or_words(self):
        made = override(
            self.config,
            [
                "optimizer.lr=5e-4",
                "name=b",
                "model.arguments.finish=none",
                "training.steps=7",
                "optimizer.clip=null",
            ],
        )
        assert (made.optimizer.lr, made.name, made.optimizer.clip) == (5e-4, "b", None)
        assert made.model.arguments == {"skip": "lanczos", "finish": "none"}
        assert made.training == LoopConfig(steps=7)

    def test_original_is_left_alone(self):
        override(self.config, ["model.arguments.finish=none"])
        assert self.config.model.arguments == {"skip": "lanczos"}

    @pytest.mark.parametrize(
        ("setting", "said"),
        [
            ("optimizer.lrr=1", "did you mean lr"),
            ("optimizer.lr=fast", "is no number"),
            ("optimizer.lr.x=1", "has no parts"),
            ("lr", "not of the form"),
        ],
    )
    def test_nonsense_is_refused(self, setting, said):
        with pytest.raises(UsageError, match=said):
            override(self.config, [setting])
