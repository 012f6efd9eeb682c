"""Named templates: files with a prompt, its placeholders, and the settings it is asked with."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pixtral_cli import config
from pixtral_cli.errors import UsageError
from pixtral_cli.limits import SAMPLING_SETTINGS
from pixtral_cli.util.nearest import nearest
from pixtral_cli.util.sanitize import visible

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.IGNORECASE)
FILE_NAME = re.compile(r"[\w. -]{1,60}")  # of a schema in the templates' folder; not a path
PLACEHOLDER = re.compile(r"\$(?:(?P<dollar>\$)|(?P<name>[a-z][a-z0-9_]*)|\{(?P<braced>[a-z][a-z0-9_]*)\})")

EXAMPLE = '''\
# $input is what `pixtral ask` is given: the words and what is piped in. Any other $name is given by -p name=value.
prompt = """
$input
"""
# system = "Answer in $language, in one sentence."
# model = "pixtral-12b"
# extract = "html"        # only the code block in this language
# schema = "name, [tags]" # the answer is JSON with these fields; or a JSON schema, or a file with one, also beside this
# temperature = 0.2

# [defaults]
# language = "English"
'''


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt and its settings; None: the template leaves the setting as it is."""

    name: str
    prompt: str = "$input"
    system: str | None = None
    model: str | None = None
    schema: str | None = None
    extract: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    defaults: Mapping[str, str] = field(default_factory=dict)

    @property
    def sampling(self) -> dict[str, object]:
        """The sampling parameters that the template sets, by the name of the setting."""
        fields = {name: getattr(self, name) for name in SAMPLING_SETTINGS}
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names without a default in prompt and system prompt, which `fill` needs values for; `input` is left out."""
        named = dict.fromkeys(_placeholder_names(self.prompt) + _placeholder_names(self.system or ""))
        return tuple(name for name in named if name != "input" and name not in self.defaults)

    @property
    def takes_input(self) -> bool:
        """Whether the prompt has the placeholder $input; a prompt without it is a complete question."""
        return "input" in _placeholder_names(self.prompt)

    def fill(self, text: str = "", values: Mapping[str, str] | None = None) -> "FilledTemplate":
        """Replace $input by `text` (appended where there is no $input), and each other placeholder by its value.

        Placeholders inside `text` and values are not replaced. Raises UsageError for a missing value and for a value
        without a placeholder.
        """
        given = {**self.defaults, **(values or {})}
        self._check(given)
        given["input"] = text
        prompt = _substitute(self.prompt, given)
        if text and "input" not in _placeholder_names(self.prompt) + _placeholder_names(self.system or ""):
            prompt = f"{prompt.rstrip()}\n\n{text}"
        return FilledTemplate(prompt.strip(), None if self.system is None else _substitute(self.system, given).strip())

    def _check(self, given: Mapping[str, str]) -> None:
        self.check_names(given)
        missing = [name for name in self.placeholders if name not in given]
        if missing:
            names = ", ".join(f"${name}" for name in missing)
            raise UsageError(f"The template {self.name} needs {names}.", f"Give it: -p {missing[0]}=VALUE")

    def check_names(self, given: Iterable[str]) -> None:
        """Raises UsageError for a name that is no placeholder of the template."""
        known = (*self.placeholders, *self.defaults)
        if unknown := next((name for name in given if name not in known), None):
            near = nearest(unknown, known) or (known[0] if len(known) == 1 else None)
            hint = f"Did you mean {near}?" if near else f"See: pixtral templates show {self.name}"
            raise UsageError(f"The template {self.name} has no ${unknown}.", hint)


@dataclass(frozen=True, slots=True)
class FilledTemplate:
    """The prompt and the system prompt of a template, all placeholders replaced."""

    prompt: str
    system: str | None


class Templates:
    """The templates in a folder: `NAME.toml`, or `NAME.txt` and `NAME.md`, which hold a prompt only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> tuple[str, ...]:
        """The names of all templates, in alphabetical order."""
        if not self.folder.is_dir():
            return ()
        files = (file for file in self.folder.iterdir() if file.suffix in EXTENSIONS and NAME.fullmatch(file.stem))
        return tuple(sorted({file.stem for file in files}))

    def path(self, name: str) -> Path:
        """The file of a template, which need not exist. Raises UsageError for an invalid name."""
        if not NAME.fullmatch(name):
            raise UsageError(f"{visible(name, 60)!r} is no name for a template.", "Use letters, digits, - and _")
        files = [self.folder / f"{name}{ending}" for ending in EXTENSIONS]
        return next((file for file in files if file.exists()), files[0])

    def load(self, name: str) -> Template:
        """Read a template. Raises UsageError when there is none of that name, or its file is invalid (naming the key)."""
        file = self.path(name)
        try:
            text = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            existing = ", ".join(self.names()[:8])
            raise UsageError(
                f"There is no template {name!r}.", f"There is: {existing}" if existing else _edit_hint(name)
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"Cannot read {file}: {error}.", _edit_hint(name)) from error
        return self._with_schema_path(parse(name, text)) if file.suffix == ".toml" else Template(name, text)

    def _with_schema_path(self, template: Template) -> Template:
        """The template with the full path of its schema, where that is a file in the same folder."""
        if FILE_NAME.fullmatch(template.schema or "") and (file := self.folder / str(template.schema)).is_file():
            return replace(template, schema=str(file))
        return template


EXTENSIONS = (".toml", ".txt", ".md")
TYPES: dict[str, tuple[type, ...]] = {
    "prompt": (str,),
    "system": (str,),
    "model": (str,),
    "schema": (str, dict),
    "extract": (str,),
    "temperature": (float, int),
    "top_p": (float, int),
    "top_k": (int,),
    "min_p": (float, int),
    "repetition_penalty": (float, int),
    "frequency_penalty": (float, int),
    "presence_penalty": (float, int),
    "max_tokens": (int,),
    "seed": (int,),
    "defaults": (dict,),
}


def parse(name: str, text: str) -> Template:
    """The template in a TOML text. Raises UsageError naming the invalid key."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The template {name} is not valid TOML: {error}.", _edit_hint(name)) from error
    for key, value in table.items():
        if key not in TYPES:
            raise UsageError(
                f"The template {name} has an unknown key {visible(key, 40)!r}.", f"Known: {', '.join(TYPES)}"
            )
        if type(value) not in TYPES[key]:
            raise UsageError(f"The template {name}: {key} cannot be a {type(value).__name__}.", _edit_hint(name))
    return Template(name, **_converted(table))


def _converted(table: dict[str, Any]) -> dict[str, Any]:
    """The values of a TOML table as `Template` holds them: a schema given as a table as JSON text, defaults as text."""
    if isinstance(table.get("schema"), dict):
        import json

        table["schema"] = json.dumps(table["schema"])
    if "defaults" in table:
        table["defaults"] = {name: str(value) for name, value in table["defaults"].items()}
    return table


def _edit_hint(name: str) -> str:
    return f"Write it: pixtral templates edit {name}"


def _placeholder_names(text: str) -> list[str]:
    return [name for match in PLACEHOLDER.finditer(text) if (name := match["name"] or match["braced"])]


def _substitute(text: str, values: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda match: "$" if match["dollar"] else values[match["name"] or match["braced"]], text)


def open_templates() -> Templates:
    """The user's templates: the folder `templates` beside the config file."""
    return Templates(config.paths().config_file.parent / "templates")


def one_line_summary(templates: Templates, name: str) -> str:
    """A template on one line of at most 80 characters: its prompt, else its system prompt, or why it cannot be read."""
    try:
        template = templates.load(name)
    except UsageError as error:
        return visible(f"({error.message})")
    line = " ".join(template.prompt.split())
    if line == "$input" and template.system:
        line = f"system prompt: {' '.join(template.system.split())}"
    return visible(line if len(line) <= 80 else f"{line[:79]}…")
