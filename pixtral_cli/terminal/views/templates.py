"""The output of `pixtral templates`, and its editor."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pixtral_cli.chat.templates import EXAMPLE, Template, one_line_summary, open_templates
from pixtral_cli.errors import UsageError
from pixtral_cli.sessions.database import make_folder
from pixtral_cli.terminal.output.notes import format_table
from pixtral_cli.terminal.output.output import Output, choose_output, confirm, dumps
from pixtral_cli.util.sanitize import clean


def list_templates(*, as_json: bool = False) -> None:
    """The templates with what they ask; one that cannot be read says why."""
    templates, out = open_templates(), choose_output()
    if as_json:
        listed = [
            {"name": name, "asks": one_line_summary(templates, name), "file": str(templates.path(name))}
            for name in templates.names()
        ]
        return out.write(dumps({"templates": listed}, out.stdout.encoding) + "\n")
    rows = [(name, one_line_summary(templates, name)) for name in templates.names()]
    for line in format_table(rows, 10_000):
        out.write(f"{line}\n")
    if not rows:
        out.note("There are no templates yet. Write one: pixtral templates edit NAME")
    return None


def remove_templates(names: Sequence[str], *, sure: bool = False) -> None:
    """Remove the files of templates; asks first. Raises UsageError when one does not exist, and removes none then."""
    templates, out = open_templates(), choose_output()
    files = {name: templates.path(name) for name in names}
    for name, file in files.items():
        if not file.exists():
            if not templates.names():
                raise UsageError(f"There is no template {name!r}", "None is saved yet")
            templates.load(name)
    for name, file in files.items():
        if not sure and not confirm(f"Remove the template {name}, {file}?", out):
            out.note("Nothing was removed" if len(files) == 1 else f"The template {name} stays")
            continue
        file.unlink()
        out.note(f"Removed the template {name}")


def save_template(name: str, values: Mapping[str, object], left_out: Sequence[str] = ()) -> None:
    """Write a new template. `left_out`: flags that were given, which it does not keep. Raises UsageError when there is
    one of that name."""
    import tomlkit

    templates, out = open_templates(), choose_output()
    file = templates.path(name)
    if file.exists():
        raise UsageError(f"There is a template {name} already", f"Change it: pixtral templates edit {name}")
    make_folder(file.parent)
    document = tomlkit.document()
    for key, value in values.items():
        if value is not None:
            document[key] = value
    with file.open("x", encoding="utf-8") as stream:
        stream.write(tomlkit.dumps(document))
    _note_braces(templates.load(name), out)
    if left_out:
        out.note(f"Not part of the template: {', '.join(left_out)}. Give them with -t {name}")
    out.note(f"Saved as the template {name}; ask by it: pixtral ask -t {name}")


def show_template(name: str, *, as_json: bool = False) -> None:
    """The text of a template's file, or as JSON what it sets."""
    templates, out = open_templates(), choose_output()
    template = templates.load(name)
    if as_json:
        values = {key: value for key, value in asdict(template).items() if value not in (None, {}, ())}
        return out.write(dumps(values | {"file": str(templates.path(name))}, out.stdout.encoding) + "\n")
    return out.write(clean(templates.path(name).read_text(encoding="utf-8")))


def edit_template(name: str) -> None:
    """Open the file in the editor, an example if it is new; then say what is wrong with it, if anything."""
    from pixtral_cli.terminal.desktop.editor import check_terminal, edit_file

    templates, out = open_templates(), choose_output()
    file = templates.path(name)
    check_terminal(file)
    new = not file.exists()
    if new:
        make_folder(file.parent)
        file.write_text(EXAMPLE, encoding="utf-8")
    try:
        edit_file(file)
    finally:
        unchanged = new and file.exists() and file.read_text(encoding="utf-8", errors="replace") == EXAMPLE
        if unchanged:
            file.unlink()
    if unchanged:
        return out.note(f"Nothing was written, so there is no template {name}")
    return _note_braces(templates.load(name), out)


def _note_braces(template: Template, out: Output) -> None:
    """Say so where words in braces were surely meant as places, which are written otherwise."""
    if found := re.search(r"(?<![\\$])\{([a-z][a-z0-9_]*)\}", f"{template.prompt}\n{template.system or ''}"):
        out.note(f"{found[0]} is sent as it is; a place that -p fills is written ${found[1]}")


def show_path() -> None:
    choose_output().write(f"{open_templates().folder}\n")
