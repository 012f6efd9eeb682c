"""`pixtral sessions`: list, show, search, export, import, fork and remove saved conversations."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pixtral_cli.cli.common import completers
from pixtral_cli.cli.common.help import CommandGroup
from pixtral_cli.cli.common.options import ListFormat, ListFormatOption, called_without_subcommand

app = typer.Typer(help="List, show, search, export and remove conversations.", invoke_without_command=True, rich_markup_mode=None, cls=CommandGroup)  # fmt: skip


class ExportFormat(StrEnum):
    """The formats in which a conversation is exported."""

    md = "md"
    html = "html"
    json = "json"
    jsonl = "jsonl"


Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="No more than so many.", show_default=False)
]
SessionId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="A session's id, or its first letters.",
        autocompletion=completers.sessions,
        show_default=False,
    ),
]
Branch = Annotated[
    int | None,
    typer.Option("--branch", min=1, metavar="N", help="Another branch than the one shown.", show_default=False),
]
Thinking = Annotated[bool, typer.Option("--thinking", help="Include the thoughts of reasoning models.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag",
        metavar="TAG",
        help="Only those with this tag. Repeat it.",
        autocompletion=completers.tags,
        show_default=False,
    ),
]

Every = Annotated[bool, typer.Option("--all", help="In a terminal too, all of them.")]


@app.callback()
def sessions(
    context: typer.Context,
    limit: Limit = None,
    tag: Tags = None,
    every: Every = False,
    format: ListFormatOption = ListFormat.text,
) -> None:
    """List the saved conversations, the newest first; in a terminal as many as its window holds."""
    if called_without_subcommand(context):
        list_(limit, tag, every, format)


@app.command("list")
def list_(
    limit: Limit = None, tag: Tags = None, every: Every = False, format: ListFormatOption = ListFormat.text
) -> None:
    """List the saved conversations, the newest first; in a terminal as many as its window holds."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import sessions as saved

    saved.list_sessions(choose_output(), limit=limit, as_json=format is ListFormat.json, tags=tag or (), every=every)


@app.command()
def rename(
    session: SessionId,
    title: Annotated[list[str], typer.Argument(metavar="TITLE...", help="Its new title.", show_default=False)],
) -> None:
    """Give a conversation a title of its own."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import sessions as saved

    saved.rename_session(session, " ".join(title), choose_output())


@app.command()
def tag(
    session: SessionId,
    tags: Annotated[
        list[str],
        typer.Argument(
            metavar="TAG...", help="Words, such as receipts.", autocompletion=completers.tags, show_default=False
        ),
    ],
    remove: Annotated[bool, typer.Option("--remove", "-d", help="Remove the tags.")] = False,
) -> None:
    """Add tags to a conversation; `sessions --tag TAG` lists those that have it."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import sessions as saved

    saved.tag_session(session, tags, choose_output(), remove=remove)


@app.command()
def show(
    session: SessionId, branch: Branch = None, format: ListFormatOption = ListFormat.text, thinking: Thinking = False
) -> None:
    """Show a conversation."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import sessions as saved

    saved.show_session(session, choose_output(), branch=branch, as_json=format is ListFormat.json, thinking=thinking)


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words that must all occur in a message.", show_default=False)],
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="No more than so many.")] = 50,
    tag: Tags = None,
    format: ListFormatOption = ListFormat.text,
) -> None:
    """Find the messages that contain all the words, or have an image of that name."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import sessions as saved

    saved.search_sessions(
        " ".join(words), choose_output(), limit=limit, as_json=format is ListFormat.json, tags=tag or ()
    )


@app.command()
def export(
    session: SessionId,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write to this file, images beside Markdown.", show_default=False
        ),
    ] = None,
    format: Annotated[
        ExportFormat | None,
        typer.Option(
            "--format",
            metavar="md|html|json|jsonl",
            help="md, html, json or jsonl.  [default: what -o ends in; md]",
            show_default=False,
        ),
    ] = None,
    branch: Branch = None,
    thinking: Thinking = False,
) -> None:
    """Write a conversation as Markdown, as one HTML page with its images inside, or as JSON that `import` takes."""
    from pixtral_cli.sessions.transcript import Format
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import sessions as saved

    file, form = output if str(output) != "-" else None, Format(format) if format else None
    saved.export_session(session, choose_output(), file=file, form=form, branch=branch, thinking=thinking)


@app.command("import")
def import_(file: Annotated[Path, typer.Argument(help="JSON or JSONL; - for stdin.", show_default=False)]) -> None:
    """Take in an exported conversation, or any array of messages in OpenAI's shape; prints the new session's id."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import sessions as saved

    saved.import_session(file, choose_output())


@app.command()
def path() -> None:
    """Print the folder that conversations, their pictures and the runs of `pixtral eval` lie in."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import sessions as saved

    saved.show_path(choose_output())


@app.command()
def fork(session: SessionId) -> None:
    """Copy a conversation, to go on in two ways; prints the copy's id."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import sessions as saved

    saved.fork_session(session, choose_output())


@app.command("rm")
def remove(
    sessions: Annotated[
        list[str],
        typer.Argument(metavar="ID...", help="Sessions' ids.", autocompletion=completers.sessions, show_default=False),
    ],
    yes: Yes = False,
) -> None:
    """Remove conversations, and the images no other one shows. Asks first."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import sessions as saved

    saved.remove_sessions(sessions, choose_output(), sure=yes)


@app.command()
def prune(
    older: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Not touched for so long: 12h, 30d, 1y.", show_default=False),
    ] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", metavar="N", min=0, help="Spare the newest N.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed.")] = False,
    yes: Yes = False,
    format: ListFormatOption = ListFormat.text,
) -> None:
    """Remove old conversations, and the images no other one shows. Asks first."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import sessions as saved

    as_json = format is ListFormat.json
    saved.prune_sessions(choose_output(), older=older, keep=keep, dry=dry_run, sure=yes, as_json=as_json)
