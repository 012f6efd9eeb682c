"""What `pixtral templates` shows, and its way into the editor. Leaves the templates to `chat.templates`."""

from pixtral_cli.chat.templates import EXAMPLE, one_line_summary, open_templates
from pixtral_cli.sessions.database import make_folder
from pixtral_cli.terminal.output.notes import format_table
from pixtral_cli.terminal.output.output import choose_output
from pixtral_cli.util.sanitize import clean


def list_templates() -> None:
    """The templates with what they ask; one that cannot be read says why."""
    templates, out = open_templates(), choose_output()
    rows = [(name, one_line_summary(templates, name)) for name in templates.names()]
    for line in format_table(rows, 10_000):
        out.write(f"{line}\n")
    if not rows:
        out.note("There are no templates yet. Write one: pixtral templates edit NAME")


def show_template(name: str) -> None:
    """The text of a template's file."""
    templates, out = open_templates(), choose_output()
    templates.load(name)
    out.write(clean(templates.path(name).read_text(encoding="utf-8")))


def edit_template(name: str) -> None:
    """Open the file in the editor, an example if it is new; then say what is wrong with it, if anything."""
    from pixtral_cli.terminal.desktop.editor import edit_file

    templates = open_templates()
    file = templates.path(name)
    if not file.exists():
        make_folder(file.parent)
        file.write_text(EXAMPLE, encoding="utf-8")
    edit_file(file)
    templates.load(name)


def show_path() -> None:
    choose_output().write(f"{open_templates().folder}\n")
