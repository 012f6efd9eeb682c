"""The template that a chat is using: what a typed question becomes in it."""

from dataclasses import dataclass, replace

from pixtral_cli.chat.templates import Template
from pixtral_cli.terminal.repl.input_parser import escape_image_numbers


@dataclass
class ChosenTemplate:
    """A template of a chat, with what is put in its places."""

    template: Template
    values: dict[str, str]

    def question(self, text: str) -> str:
        """A typed question in its place in the prompt, of whose own words none places an image."""
        if not self.template.takes_input:
            return text
        prompt = replace(self.template, prompt=escape_image_numbers(self.template.prompt))
        return prompt.fill(text, {name: escape_image_numbers(value) for name, value in self.values.items()}).prompt

    @property
    def draft(self) -> str:
        """The prompt that has no place for a question, as a line to be mended or sent."""
        if self.template.takes_input:
            return ""
        line = escape_image_numbers(self.template.fill("", self.values).prompt)
        return f" {line} " if line.startswith("/") else f"{line} "

    @property
    def given(self) -> dict[str, str]:
        """The values of its placeholders."""
        return {**self.template.defaults, **self.values}

    @property
    def system(self) -> str | None:
        """Its system prompt, filled in."""
        return self.template.fill("", self.values).system
