"""To HTML: templates, the policy that keeps a page to itself, and JSON that can't leave its place."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from sciSR import __version__
from sciSR.files import encodable

NOTICE = "Research use only, not for diagnosis"
VIEWER = ("source.js", "pane.js", "hands.js", "page.js", "parts.js", "start.js")
PLAIN = ("parts.js", "start.js")
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")  # of the bidirectional algorithm


def asset(name: str) -> str:
    """Text of a style sheet or script."""
    return files("sciSR.report").joinpath("assets", name).read_text(encoding="utf-8")


def scripts(names: Sequence[str]) -> str:
    """Several scripts as one."""
    return "\n".join(asset(name) for name in names)


def policy(style: str, script: str, *, served: bool = False) -> str:
    """Content security policy of a page that runs this very script and style and asks nobody for anything.

    A page that is `served` may ask its own server.
    """
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data: blob:; "
        + ("connect-src 'self'; " if served else "")
        + "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def safe_json(document: Any) -> str:
    """JSON for a script element: no text in it can end the element or begin another."""
    text = json.dumps(document, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _upright(value: Any) -> Any:
    """Text whose marks can't turn the words around it: a name may look like another one otherwise."""
    if type(value) is not str or not _TURNING.search(value):
        return value
    return _TURNING.sub(lambda mark: f"\\u{ord(mark[0]):04x}", value)


def render(
    template: str, *, viewer: bool, extra: Sequence[str] = (), served: bool = False, **context: Any
) -> str:
    """A page.

    Parameters
    ----------
    template : str
        Name in ``templates/``.
    viewer : bool
        Whether it shows pictures that can be moved.
    extra : sequence of str
        Names of further scripts, in place of ``start.js``.
    served : bool
        Whether it asks the server that it came from for pixels.
    **context
        Escaped, but for `markupsafe.Markup`.
    """
    from jinja2 import Environment, FunctionLoader
    from markupsafe import Markup

    def load(name: str) -> str:
        return files("sciSR.report").joinpath("templates", name).read_text(encoding="utf-8")

    environment = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(load),
        finalize=_upright,
    )
    names = VIEWER if viewer else PLAIN
    script = scripts((*names[:-1], *extra) if extra else names)
    style = asset("page.css")
    text = environment.get_template(template).render(
        style=Markup(style),
        script=Markup(script),
        policy=policy(style, script, served=served),
        served=served,
        software=f"sciSR {__version__}",
        notice=NOTICE,
        **context,
    )
    return encodable(text)
