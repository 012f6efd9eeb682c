"""The template in use in a chat, which typed questions are put into."""

from dataclasses import dataclass, replace

from pixtral_cli.chat.templates import Template
from pixtral_cli.terminal.repl.input_parser import escape_image_numbers


@dataclass
class ChosenTemplate:
    """A template and the values of its placeholders."""

    template: Template
    values: dict[str, str]

    def question(self, text: str) -> str:
        """The prompt with a typed question in place of $input. `#N` in the template's own text does not place an image."""
        if not self.template.takes_input:
            return text
        prompt = replace(self.template, prompt=escape_image_numbers(self.template.prompt))
        return prompt.fill(text, {name: escape_image_numbers(value) for name, value in self.values.items()}).prompt

    @property
    def draft(self) -> str:
        """The prompt of a template without $input, as a line to edit or send; "" for one with $input."""
        if self.template.takes_input:
            return ""
        line = escape_image_numbers(self.template.fill("", self.values).prompt)
        return f" {line} " if line.startswith("/") else f"{line} "

    @property
    def given(self) -> dict[str, str]:
        """The values of its placeholders, defaults included."""
        return {**self.template.defaults, **self.values}

    @property
    def system(self) -> str | None:
        """Its system prompt, filled in."""
        return self.template.fill("", self.values).system
