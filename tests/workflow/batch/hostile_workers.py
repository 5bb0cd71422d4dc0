"""Makes the hostile steps known to the process that imports this: that of workers, and no other."""

from __future__ import annotations

import inspect

import hostile_steps

from sciSR.workflow.pipelines.registry import step_of, steps

for _name, _function in inspect.getmembers(hostile_steps, inspect.isfunction):
    if "work" in inspect.signature(_function).parameters:
        steps()[_name] = step_of(_name, _function)  # type: ignore[index]
