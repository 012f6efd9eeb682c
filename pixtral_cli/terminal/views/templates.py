"""What `pixtral templates` shows, and its way into the editor. Leaves the templates to `chat.templates`."""

from dataclasses import dataclass, replace

from pixtral_cli import config
from pixtral_cli.chat.templates import EXAMPLE, Template, Templates
from pixtral_cli.errors import UsageError
from pixtral_cli.sessions.database import make_folder
from pixtral_cli.terminal.output.notes import laid_out
from pixtral_cli.terminal.output.output import choose
from pixtral_cli.terminal.repl.input_parser import literal
from pixtral_cli.util.sanitize import clean, visible


@dataclass
class InUse:
    """A template of a chat, with what is put in its places."""

    template: Template
    values: dict[str, str]

    def question(self, text: str) -> str:
        """A typed question in its place in the prompt, of whose own words none places an image."""
        if not self.template.takes_input:
            return text
        prompt = replace(self.template, prompt=literal(self.template.prompt))
        return prompt.fill(text, {name: literal(value) for name, value in self.values.items()}).prompt

    @property
    def draft(self) -> str:
        """The prompt that has no place for a question, as a line to be mended or sent."""
        if self.template.takes_input:
            return ""
        line = literal(self.template.fill("", self.values).prompt)
        return f" {line} " if line.startswith("/") else f"{line} "

    @property
    def given(self) -> dict[str, str]:
        """What stands in its places."""
        return {**self.template.defaults, **self.values}

    @property
    def system(self) -> str | None:
        """Its system prompt, everything in its place."""
        return self.template.fill("", self.values).system


def open_templates() -> Templates:
    """The templates of this user, beside the config file."""
    return Templates(config.paths().config_file.parent / "templates")


def listed() -> None:
    """The templates with what they ask; one that cannot be read says why."""
    templates, out = open_templates(), choose()
    rows = [(name, gist(templates, name)) for name in templates.names()]
    for line in laid_out(rows, 10_000):
        out.write(f"{line}\n")
    if not rows:
        out.note("There are no templates yet. Write one: pixtral templates edit NAME")


def shown(name: str) -> None:
    """The text of a template's file."""
    templates, out = open_templates(), choose()
    templates.load(name)
    out.write(clean(templates.path(name).read_text(encoding="utf-8")))


def edited(name: str) -> None:
    """Open the file in the editor, an example if it is new; then say what is wrong with it, if anything."""
    from pixtral_cli.terminal.desktop.editor import edit_file

    templates = open_templates()
    file = templates.path(name)
    if not file.exists():
        make_folder(file.parent)
        file.write_text(EXAMPLE, encoding="utf-8")
    edit_file(file)
    templates.load(name)


def located() -> None:
    choose().write(f"{open_templates().folder}\n")


def gist(templates: Templates, name: str) -> str:
    """What a template asks, in one line, or why it cannot be read."""
    try:
        template = templates.load(name)
    except UsageError as error:
        return visible(f"({error.message})")
    gist = " ".join((template.prompt if template.prompt.strip() != "$input" else template.system or "").split())
    return visible(gist if len(gist) <= 80 else f"{gist[:79]}…")
