"""Results as they are kept: inputs that are named after their patient go by a name that says nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sciSR.workflow.pipelines.work import ItemResult, Task
from sciSR.workflow.stack_names import neutral_texts


def without_names(result: ItemResult, task: Task) -> ItemResult:
    """A result whose texts name inputs as records do; see :func:`sciSR.workflow.stack_names.record_name`."""
    texts = _texts(result.as_dict())
    paths = [Path(file) for file in task.files]
    # Names are looked up in headers, so only those that are said at all.
    named = [path for path in paths if any(path.name in text for text in texts)]
    named += [path.parent for path in paths[:1] if any(path.parent.name in text for text in texts)]
    named = [path for path in named if path.exists()]
    if not named:
        return result
    kept = dict(zip(texts, neutral_texts(texts, named), strict=True))
    if all(before == after for before, after in kept.items()):
        return result
    changed = _replaced({name: getattr(result, name) for name in ("error", "warnings", "steps")}, kept)
    return result.replace(
        error=changed["error"], warnings=tuple(changed["warnings"]), steps=tuple(changed["steps"])
    )


def _texts(value: Any) -> list[str]:
    """All texts of a JSON document, each once."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return list(dict.fromkeys(text for each in value for text in _texts(each)))
    return []


def _replaced(value: Any, kept: dict[str, str]) -> Any:
    if isinstance(value, str):
        return kept.get(value, value)
    if hasattr(value, "items"):
        return {key: _replaced(each, kept) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(each, kept) for each in value]
    return value
