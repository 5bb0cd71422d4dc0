"""The page of ``scisr view``: the report's viewer, with pixels that come as tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sciSR.report.page_render import VIEWER, asset, policy, render, safe_json, scripts
from sciSR.report.server import Answer
from sciSR.report.tiles import TileScene

if TYPE_CHECKING:
    from sciSR.report.view import View

_EXTRA = ("tiles.js",)


def page_of(views: Sequence[View], chosen: int, volume: int, scene: TileScene, up: str) -> Answer:
    """The page of one view and volume; `up` leads from its address to the token's."""
    from markupsafe import Markup

    view, document = views[chosen], scene.describe()
    layers = document["layers"]
    choices = [(name, layers[name]["label"]) for name in ("after", "std") if name in layers]
    text = render(
        "view.html.j2",
        viewer=True,
        extra=_EXTRA,
        served=True,
        name=view.name,
        lead=view.lead,
        is_pair="before" in layers,
        panes=range(len(document["planes"])),
        choices=choices,
        features=[],
        notes=view.facts.notes,
        views=[(f"{up}/{number}/", each.name) for number, each in enumerate(views)],
        chosen=chosen,
        volumes=view.volumes,
        volume=volume,
        scene=Markup(safe_json(document | {"root": f"{up}/{chosen}/{volume}", "volumes": f"{up}/{chosen}"})),
    )
    allowed = policy(asset("page.css"), scripts((*VIEWER[:-1], *_EXTRA)), served=True)
    return Answer.html(text, f"{allowed}; frame-ancestors 'none'")
