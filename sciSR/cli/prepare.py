"""``scisr prepare``: one file of patches, to train from where the data are not."""

from __future__ import annotations

from pathlib import Path

import click

from sciSR.cli.output import configure, print_json, print_line
from sciSR.cli.progress import shown

HELP = """Draw the patches of a training configuration into one file.

The file holds the patches, the held-out ones, the configuration and the names and hashes of the files they were
drawn from. It has 60 MB at most; training from it needs no reader of any of these formats.

\b
  scisr prepare configs/train/mri-x2.yaml -o patches.npz --data /data
  scisr prepare mine.yaml -o patches.npz --set data.patches=500 --set data.workers=4
  scisr train patches.npz

Exit code: 0 done (what was missing or left out is named), 2 usage: no file, or a subject, sky field or image that
would train and be held out.
"""


@click.command("prepare", help=HELP)
@click.argument("config", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The patch file, .npz.")
@click.option("--data", type=click.Path(path_type=Path), help="The data's folder, instead of data.root.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change a value, e.g. data.patch=32.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, all else on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Only warnings and errors.")
def command(
    config: Path,
    output: Path,
    data: Path | None,
    sets: tuple[str, ...],
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """See HELP."""
    configure(-1 if quiet else 0)
    from sciSR.files import check_output
    from sciSR.training.config_file import load_config
    from sciSR.training.prepare import prepare, summary

    check_output(output, overwrite=overwrite)
    settings = load_config(config, sets)
    with shown(settings.name, quiet=quiet or as_json) as progress:
        about = prepare(
            settings, output, root=data, overwrite=overwrite, progress=progress or (lambda share: None)
        )
    if as_json:
        print_json({"output": str(output), **about})
    elif not quiet:
        for line in summary(about):
            print_line(line)
    return 0
