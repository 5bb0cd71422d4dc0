"""The JSON Schema of pipeline files: for editors that complete and check while one types."""

from __future__ import annotations

from typing import Any

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def pipeline_schema() -> dict[str, Any]:
    """The schema of pipeline files with the steps that are installed here.

    Returns
    -------
    dict
        JSON Schema, draft 2020-12.
    """
    from sciSR.workflow.pipelines.loading import model

    schema = model().model_json_schema(mode="validation")
    return {"$schema": DIALECT, **schema, "title": "sciSR pipeline"}
