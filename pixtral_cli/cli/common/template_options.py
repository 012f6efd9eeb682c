"""`-t NAME -p name=value`: loads the template and completes the settings with those of the template."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from pixtral_cli.cli.common.flags import TemplateFlags
from pixtral_cli.config import Config
from pixtral_cli.errors import UsageError
from pixtral_cli.limits import SAMPLING_SETTINGS

if TYPE_CHECKING:
    from pixtral_cli.chat.templates import Template


KEPT = ("question", "system", "model", "schema", "extract", "save", "quiet", "verbose", *SAMPLING_SETTINGS)


def not_kept(context: typer.Context) -> list[str]:
    """The flags that were typed and that a template does not keep."""
    sources = {
        parameter.name: context.get_parameter_source(parameter.name or "") for parameter in context.command.params
    }
    return [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in KEPT and (source := sources[parameter.name]) and source.name == "COMMANDLINE"
    ]


def load_template(flags: TemplateFlags) -> "tuple[Template | None, dict[str, str]]":
    """The template that the flags name (None without one), and the values of its placeholders. Raises UsageError."""
    pairs = flags.param or ()
    if not flags.template:
        if pairs:
            raise UsageError("--param fills a template, and none is named", "Name it: -t NAME; see: pixtral templates")
        return None, {}
    from pixtral_cli.chat.templates import open_templates

    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise UsageError(f"--param must be NAME=VALUE, not {wrong[0]!r}", "For example: -p language=French")
    return open_templates().load(flags.template), {pair.partition("=")[0]: pair.partition("=")[2] for pair in pairs}


def schema_and_extract(
    template: "Template | None", schema: str | None, extract: str | None
) -> tuple[str | None, str | None]:
    """The answer's schema and the language of its code block: from the flags if either is given, else the template's.

    Raises UsageError for a template that has both.
    """
    if template is None or schema is not None or extract is not None:
        return schema, extract
    if template.schema and template.extract:
        raise UsageError(
            f"The template {template.name} needs an answer both as a code block and as JSON",
            "Leave out its extract or its schema",
        )
    return template.schema, template.extract


def with_template_defaults(settings: Config, template: "Template", system: str | None) -> Config:
    """The settings with those of the template where they are None; the template's model replaces the configured one."""
    defaults = {"system": system, **template.sampling}
    missing: dict[str, Any] = {key: value for key, value in defaults.items() if getattr(settings, key) is None}
    if template.model:
        missing["model"] = template.model
    return replace(settings, **missing)
