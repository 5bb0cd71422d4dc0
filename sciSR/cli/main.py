"""The ``scisr`` command: finds the subcommand, and turns every failure into one line and an exit code.

Only click is imported here, and a subcommand's module when it runs, so that ``scisr --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

import click

from sciSR import __version__
from sciSR.cli.output import configure, print_error, print_json

# name -> (module, one line for `scisr --help`); the module has an object `command`.
COMMANDS = {
    "upscale": ("sciSR.cli.upscale", "Upscale FITS, NIfTI or DICOM files."),
    "run": ("sciSR.cli.run", "Run a pipeline file over a folder: a batch, resumable, on many machines."),
    "fuse": ("sciSR.cli.fuse", "Fuse frames of one field, or stacks of slices, into one finer image."),
    "register": ("sciSR.cli.register", "Find where each frame of a field lies, and how well that is known."),
    "verify": ("sciSR.cli.verify", "Check that an output holds what it promises, sciSR's or another tool's."),
    "report": ("sciSR.cli.report", "Make the page about an output, or an index of a folder of them."),
    "evaluate": ("sciSR.cli.evaluate", "Measure networks on sharp images: PSNR, photometry, time, gains."),
    "compare": ("sciSR.cli.compare", "Compare images with a truth, or halves of the data with each other."),
    "degrade": ("sciSR.cli.degrade", "Make coarse files of sharp ones, as an instrument would have."),
    "view": ("sciSR.cli.view", "Look at images of any size in the browser, or in napari."),
    "info": ("sciSR.cli.info", "Show what a file holds: images, units, geometry."),
    "train": ("sciSR.cli.train", "Train a network on your own files, or from a patch file."),
    "prepare": ("sciSR.cli.prepare", "Draw training patches into one file."),
    "schema": ("sciSR.cli.schema", "Print the JSON Schema of pipeline files, for editors."),
    "models": ("sciSR.cli.models", "List the upscaling models, or show one model's card."),
    "plugins": ("sciSR.cli.plugins", "List the installed file formats and network architectures."),
}

INTERRUPTED = 130


class LazyGroup(click.Group):
    """Imports a subcommand only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="sciSR")
def cli() -> None:
    """Super-resolution for scientific images, with flux, geometry and metadata kept.

    Research use only, not for diagnosis.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.

    Returns
    -------
    int
        0 all good, 2 usage, 3 unreadable or refused input, 4 some of a batch failed, 5 out of memory or disk,
        6 verification failed, 130 interrupted.
    """
    return run_command(cli, list(sys.argv[1:] if arguments is None else arguments), "scisr")


def run_command(command: click.Command, arguments: list[str], name: str) -> int:
    """Run a command of its own with the manners of :func:`main`: for the console scripts of plugins.

    Parameters
    ----------
    command : click.Command
        Its callback returns the exit code.
    arguments : list of str
    name : str
        Of the program, for its help.
    """
    with _polite_kill(), warnings.catch_warnings():
        configure(0)
        return _guarded(command, arguments, name)


@contextlib.contextmanager
def _polite_kill() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack like Ctrl-C does, so that temporary files are removed.

    A signal that is ignored (``nohup``) stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return
    wanted = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    previous = {number: signal.getsignal(number) for number in wanted}
    for number, handler in previous.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in previous.items():
            if handler is not None:
                signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    from sciSR.errors import Terminated

    raise Terminated(128 + number)


def _guarded(command: click.Command, arguments: list[str], name: str) -> int:
    """Run, and name every failure in one line; SCISR_DEBUG=1 lets the traceback through."""
    from sciSR.errors import ResourceError, SciSRError, Terminated, UsageError

    debug = os.environ.get("SCISR_DEBUG", "") not in ("", "0")
    error: SciSRError
    try:
        # Commands that record how they were called find the words in the root context's obj.
        code = command.main(arguments, prog_name=name, standalone_mode=False, obj=tuple(arguments))
        return code if isinstance(code, int) else 0
    except (click.Abort, KeyboardInterrupt):
        told = "interrupted; nothing half-written is left behind"
        print_error(told)
        if "--json" in arguments:
            print_json({"error": {"message": told, "exit_code": INTERRUPTED}})
        return INTERRUPTED
    except Terminated as ending:
        if "--json" in arguments:
            told = "terminated; nothing half-written is left behind"
            print_json({"error": {"message": told, "exit_code": ending.code}})
        raise
    except BrokenPipeError:
        # The reader of a pipe (head, less) has had enough; Python must not complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except click.ClickException as problem:
        if isinstance(problem, click.exceptions.NoArgsIsHelpError):
            click.echo(problem.ctx.get_help() if problem.ctx else "", err=True)
            return 2
        context = getattr(problem, "ctx", None)
        remedy = f"see '{context.command_path} --help'" if context is not None else None
        error = UsageError(problem.format_message().rstrip("."), remedy=remedy)
    except SciSRError as problem:
        if debug:
            raise
        error = problem
    except MemoryError:
        if debug:
            raise
        error = ResourceError("out of memory", remedy="give a smaller --tile")
    except Exception as problem:
        if debug:
            raise
        error = SciSRError(
            f"unexpected {type(problem).__name__}: {problem}",
            remedy="please report it; SCISR_DEBUG=1 shows where",
        )
    print_error(error)
    if "--json" in arguments:
        print_json({"error": {"message": str(error), "exit_code": error.exit_code}})
    return error.exit_code
