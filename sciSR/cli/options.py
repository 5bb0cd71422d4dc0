"""Options that the installed formats add to a command, in groups of their own in the help."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import click

from sciSR.adapter import Adapter, Option
from sciSR.errors import SciSRWarning

PREFIX = "format_"


class GroupedCommand(click.Command):
    """A command whose help lists options under headings: an option's `group` attribute, if it has one."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                groups.setdefault(getattr(parameter, "group", "Options"), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class GroupedOption(click.Option):
    """An option that stands under a heading."""

    def __init__(self, *names: Any, group: str = "Options", **fields: Any) -> None:
        super().__init__(*names, **fields)
        self.group = group


def add_format_options(
    command: click.Command, adapters: Mapping[str, Adapter], *, reading_only: bool = False
) -> None:
    """Add each adapter's options; one that several formats share appears once, naming them all."""
    taken = {name for parameter in command.params for name in parameter.opts}
    owners: dict[str, list[str]] = {}
    merged: dict[str, Option] = {}
    for adapter in adapters.values():
        for option in adapter.options:
            if reading_only and option.writes:
                continue
            flag = f"--{option.name.replace('_', '-')}"
            if flag in taken or (option.name in merged and merged[option.name].type != option.type):
                _warn(
                    f"the {adapter.name} format's option {flag} clashes with another and can't be given here"
                )
                continue
            owners.setdefault(option.name, []).append(adapter.name)
            merged[option.name] = _merged(merged.get(option.name), option)
    for name, option in merged.items():
        command.params.append(_click_option(option, owners[name]))


def _merged(first: Option | None, second: Option) -> Option:
    """One option for two formats: the first one's help, both ones' choices."""
    if first is None:
        return second
    choices = (*first.choices, *(c for c in second.choices if c not in first.choices))
    return dataclasses.replace(first, choices=choices, multiple=first.multiple or second.multiple)


def _click_option(option: Option, owners: list[str]) -> GroupedOption:
    flag = f"--{option.name.replace('_', '-')}"
    fields: dict[str, Any] = {"default": None, "help": option.help, "multiple": option.multiple}
    if option.type == "flag":
        fields |= {"is_flag": True, "multiple": False}
    elif option.type == "choice":
        fields["type"] = click.Choice(option.choices)
    else:
        fields["metavar"] = "TEXT"
    heading = f"Options for {', '.join(name.upper() if name != 'nifti' else 'NIfTI' for name in owners)}"
    return GroupedOption([flag, PREFIX + option.name], group=heading, **fields)


def given_format_options(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Of a command's parameters, the formats' options that were given, by the adapter's own names."""
    return {
        name.removeprefix(PREFIX): value
        for name, value in parameters.items()
        if name.startswith(PREFIX) and value not in (None, (), False)
    }


def explain(ctx: click.Context, given: Mapping[str, Any]) -> None:
    """With -v: each setting and where it came from."""
    if given["verbose"] < 1:
        return
    for parameter in ctx.command.params:
        name = parameter.name or ""
        source = ctx.get_parameter_source(name)
        if (
            parameter.param_type_name == "option"
            and source is not None
            and given.get(name) not in (None, (), False)
        ):
            origin = "default" if source is click.core.ParameterSource.DEFAULT else "given"
            click.echo(f"{max(parameter.opts, key=len)} = {given[name]} ({origin})", err=True)


def _warn(text: str) -> None:
    import warnings

    warnings.warn(text, SciSRWarning, stacklevel=3)
