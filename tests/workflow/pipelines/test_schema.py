"""The schema says what the loader does: an editor's marks are right."""

import json
from pathlib import Path

import pytest

from sciSR.cli.main import main
from sciSR.workflow.pipelines.registry import described, steps
from sciSR.workflow.pipelines.schema import pipeline_schema

jsonschema = pytest.importorskip("jsonschema")
CONFIGS = sorted(Path(__file__).parents[3].glob("configs/pipelines/*.yaml"))


def values_of(path):
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_pipelines_fit_the_schema(path):
    jsonschema.Draft202012Validator.check_schema(pipeline_schema())
    jsonschema.validate(values_of(path), pipeline_schema())


def test_what_the_loader_refuses_the_schema_refuses():
    validator = jsonschema.Draft202012Validator(pipeline_schema())
    good = {"pipeline": "a", "inputs": {"files": "*.fits"}, "steps": [{"step": "read"}]}
    assert validator.is_valid(good)
    assert validator.is_valid({**good, "limits": {"time": "2 min", "memory": 1000}})
    for bad in (
        {**good, "stepz": 1},
        {**good, "steps": [{"step": "raed"}]},
        {**good, "steps": [{"step": "upscale", "scal": 2}]},
        {**good, "steps": [{"branches": {"a": [{"step": "no"}]}}]},
        {**good, "inputs": {"fils": []}},
    ):
        assert not validator.is_valid(bad), bad


def test_every_parameter_of_every_step_is_described():
    for name, step in steps().items():
        assert step.summary.endswith("."), name
        for key, field in step.entry.model_fields.items():
            if key not in ("step", "name"):
                assert field.description, f"{name}.{key}"


def test_command_writes_and_prints_it(tmp_path, capsys):
    assert main(["schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    target = tmp_path / "schema.json"
    assert main(["schema", "-o", str(target)]) == 0
    assert json.loads(target.read_text()) == printed
    assert main(["schema", "-o", str(target)]) == 2


def test_descriptions_come_from_numpydoc():
    doc = """Do it.

    Parameters
    ----------
    scale, factor : float
        How much.
        More.
    name : str

    Returns
    -------
    x : int
        Nothing.
    """
    assert described(doc) == {"scale": "How much. More.", "factor": "How much. More."}
