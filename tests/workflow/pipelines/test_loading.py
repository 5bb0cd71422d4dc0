"""A pipeline file with faults is refused with all of them at once, each at its line and with what was meant."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sciSR.cli.main import main
from sciSR.errors import ConfigurationError, UsageError
from sciSR.workflow.pipelines.loading import check_pipeline, load_pipeline
from sciSR.workflow.pipelines.nodes import chain, compile_steps, with_overrides

GOOD = """\
pipeline: test
inputs: {files: "*.fits", exclude: [bad*]}
steps:
  - step: read
  - branches:
      net: [{step: upscale, model: auto}]
      cubic: [{step: upscale, model: cubic, name: classical}]
      same: []
  - step: evaluate
    against: read
  - step: write
outputs: {name: "{stem}_{branch}"}
limits: {time: 2 min, memory: 1.5 GB}
overrides:
  - where: {FILTER: Ha}
    set: {classical: {scale: 3}}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "pipeline.yaml"
    path.write_text(text)
    return path


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_pipeline(written(folder, text))
    return list(caught.value.faults)


def test_good_file(tmp_path):
    config, lines = load_pipeline(written(tmp_path, GOOD))
    assert config.limits.time == 120
    assert config.limits.memory == 1_500_000_000
    assert config.inputs.files == ["*.fits"]
    assert lines["steps", 2, "against"] == "pipeline.yaml:10"


def test_all_faults_at_once_with_lines_and_what_was_meant(tmp_path):
    found = faults(
        tmp_path,
        """\
pipeline: test
inputs: {fils: "*.fits"}
limits: {time: soon}
steps:
  - step: raed
  - step: upscale
    scal: 2
    tile: big
  - branches:
      net: [{step: upscale, modl: auto}, {step: upscal}]
  - {step: evaluate, against: nothing}
  - {scale: 3}
overrides: [{match: "a*", set: {upscale: {tile: x}}}]
""",
    )
    expected = [
        ("inputs.fils", 2, "did you mean files?"),
        ("limits.time", 3, "must be a time"),
        ("steps[0].step", 5, "did you mean read?"),
        ("steps[1].scal", 7, "did you mean scale?"),
        ("steps[1].tile", 8, "whole number"),
        ("steps[2].branches.net[0].modl", 10, "did you mean model?"),
        ("steps[2].branches.net[1].step", 10, "did you mean upscale?"),
        ("steps[3].against", 11, "no step before is called"),
        ("steps[4]", 12, "'step: NAME' or 'branches:'"),
        ("overrides[0].set.upscale.tile", 13, "whole number"),
    ]
    for key, line, text in expected:
        assert any(f.startswith(f"{key} [pipeline.yaml:{line}]") and text in f for f in found), (key, found)
    assert len(found) == len(expected), found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pipeline: t\nsteps: []\n", "at least 1"),
        ("pipeline: t\nsteps: [{step: read}]\noutputs: {name: '{branch}'}\n", "no branches"),
        (
            "pipeline: t\nsteps: [{branches: {a: [], b: []}}, {step: write}]\noutputs: {name: out}\n",
            "put {branch} into it",
        ),
        ("pipeline: t\nsteps: [{step: read}]\noverrides: [{skip: [read]}]\n", "fits no item"),
        (
            "pipeline: t\nsteps: [{step: read}]\noverrides: [{match: '*', skip: [raed]}]\n",
            "did you mean read?",
        ),
        (
            "pipeline: t\nsteps: [{step: read, name: a}, {step: write, name: a}]\n",
            "the name of another step",
        ),
        ("pipeline: t\nsteps: [{step: upscale, model: cubik}]\n", "did you mean cubic?"),
        (
            "pipeline: t\nsteps: [{step: upscale}]\noverrides: [{match: a, set: {upscale: {model: ecbsr-astro-x3}}}]",
            "there is no model 'ecbsr-astro-x3'",
        ),
        ("pipeline: t\ninputs: {bids: {}, dicom: {}}\nsteps: [{step: read}]\n", "both bids and dicom"),
        ("steps: [{step: read}]\n", "pipeline [pipeline.yaml]: is missing"),
        ("pipeline: t\n!!binary YWI=: 3\nsteps: [{step: read}]\nseed: x\n", "whole number"),
    ],
)
def test_what_can_not_work_is_named(tmp_path, text, said):
    found = faults(tmp_path, text)
    assert any(said in fault or said.replace(" [pipeline.yaml]", "") in fault for fault in found), found


@pytest.mark.parametrize(
    "text",
    [
        "- a\n- b\n",
        "pipeline: [\n",
        "pipeline: a\npipeline: b\n",
        "pipeline: !!python/object/apply:os.system ['true']\nsteps: []\n",
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi")),  # noqa: B905
        "a: &a [*a]\n",
        "\x00\x01",
    ],
)
def test_no_yaml_or_an_attack_is_one_line(tmp_path, text):
    with pytest.raises(UsageError) as caught:
        load_pipeline(written(tmp_path, text))
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["pipeline", "inputs", "steps", "outputs", "limits", "overrides", "seed", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("read"),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["step", "branches", "name", "files", "set"]), inner, max_size=3
                )
            ),
            max_leaves=8,
        ),
    )
)
def test_any_values_load_or_are_refused_by_name(values):
    faults = None
    try:
        check_pipeline(values, "values")
    except ConfigurationError as error:
        faults = error.faults
    assert faults is None or faults


def test_branches_fan_out_and_share_what_comes_before(tmp_path):
    config, _ = load_pipeline(written(tmp_path, GOOD))
    nodes = compile_steps(config.steps)
    ends = {node.branch: node for node in nodes if node.step == "write"}
    assert set(ends) == {"net", "cubic", "same"}
    assert [n.id for n in chain(nodes, ends["net"])] == [
        "01-read",
        "02-upscale.net",
        "03-evaluate.net",
        "04-write.net",
    ]
    assert [n.step for n in chain(nodes, ends["same"])] == ["read", "evaluate", "write"]
    assert sum(node.step == "read" for node in nodes) == 1


def test_a_step_left_out_hands_its_parents_product_on(tmp_path):
    config, _ = load_pipeline(written(tmp_path, GOOD))
    nodes = with_overrides(compile_steps(config.steps), {"classical": {"scale": 3}}, ["evaluate"])
    by_id = {node.id: node for node in nodes}
    assert by_id["04-write.net"].parent == "02-upscale.net"
    assert by_id["02-upscale.cubic"].parameters["scale"] == 3
    assert by_id["02-upscale.net"].parameters["scale"] == 2


def test_set_replaces_values_of_the_file(tmp_path):
    config, _ = load_pipeline(written(tmp_path, GOOD), ["limits.retries=0", "steps.2.name=judge"])
    assert config.limits.retries == 0
    assert config.steps[2].name == "judge"


def test_command_line_gives_each_fault_a_line(tmp_path, capsys):
    path = written(tmp_path, "pipeline: test\nsteps: [{step: raed}, {step: upscale, scal: 2}]\n")
    assert main(["run", str(path), "--input", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("2 errors")
    assert all("[pipeline.yaml:2]" in line for line in lines[1:])
    assert len(lines) == 3
    assert not (tmp_path / "out").exists()
