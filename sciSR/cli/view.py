"""``scisr view``: images in a browser on this computer, or in napari."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from sciSR.cli.options import GroupedCommand, add_format_options, given_format_options
from sciSR.cli.output import configure, print_error, print_json, print_line
from sciSR.plugins import adapters


@click.command("view", cls=GroupedCommand)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IN [OUT] ...")
@click.option("--part", help="Which image, of files that hold several; all by default.")
@click.option(
    "--volume", type=click.IntRange(min=0), default=0, help="Which one, of several volumes (time), from 0."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes any that is free."
)
@click.option("--no-open", is_flag=True, help="Do not start the browser.")
@click.option("--napari", is_flag=True, help="Open a window of napari instead, if that is installed.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON document on stdout, with the address, once ready."
)
def command(
    files: tuple[Path, ...],
    part: str | None,
    volume: int,
    port: int,
    no_open: bool,
    napari: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Look at images of any size: one, or an input and its result with a divider, or several to choose from.

    Pixels are read as they come into view. The page is served on 127.0.0.1 alone, under an address that nobody can
    guess; Ctrl-C ends it.

    Research use only, not for diagnosis.
    """
    configure(0)
    if napari:
        from sciSR.napari.window import open_files

        open_files(files)
        return 0
    from sciSR.report.view import Viewer

    viewer = Viewer(files, part=part, volume=volume, options=given_format_options(options))
    try:
        with viewer.server(port) as server:
            server.start()
            _tell(server.url, server.port, [view.name for view in viewer.views], as_json)
            if not no_open:
                _open_browser(server.url)
            _wait()
    finally:
        viewer.close()
    return 0


add_format_options(command, adapters(), reading_only=True)


def _tell(url: str, port: int, names: list[str], as_json: bool) -> None:
    if as_json:
        print_json({"url": url, "port": port, "views": names})
    else:
        click.echo("Ctrl-C ends it", err=True)
        print_line(url)
    sys.stdout.flush()


def _open_browser(url: str) -> None:
    import webbrowser

    try:
        opened = webbrowser.open(url)
    except (webbrowser.Error, OSError):
        opened = False
    if not opened:
        print_error("no browser was found; open the address yourself")


def _wait() -> None:
    """Until Ctrl-C, which is how a view is meant to end: no error."""
    import threading

    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        click.echo("", err=True)
