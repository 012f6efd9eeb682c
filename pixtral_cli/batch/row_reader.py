"""Parses a row into messages and sampling: OpenAI's batch format, plain `{"prompt", "images"}`, or an image's path.

Every error names its field, and unknown fields are errors. A request in OpenAI's format may come from a third party, so
its images are data URLs or public web addresses only, as at the server. A plain row is the user's own: it may also name
files, relative to the folder of the batch.
"""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from pixtral_cli import images
from pixtral_cli.api import messages as wire
from pixtral_cli.api.messages import FieldError, Loader, expect
from pixtral_cli.batch import row_options
from pixtral_cli.batch.csv_rows import IMAGE_COLUMNS, PROMPT_COLUMNS
from pixtral_cli.batch.input import MAX_LINE, InputRow, RowSource
from pixtral_cli.batch.results import ResultShape, Shape
from pixtral_cli.chat import tool_rounds
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.image_refs import place_images
from pixtral_cli.chat.message import Message, system
from pixtral_cli.errors import ImageError, NetworkError
from pixtral_cli.images.image import Image
from pixtral_cli.util.nearest import nearest

ENDPOINT = "/v1/chat/completions"
MAX_PROBED_ROWS = 1_000  # rows that are read to find the format of a file's rows
MAX_IMAGES = 128
MAX_URLS = 16  # images of a row that are fetched, as at the server
PLAIN_FIELDS = frozenset({"id", "metadata", "prompt", "images", "system", "schema"})
OTHER_NAMES = {
    name: field for field, names in (("prompt", PROMPT_COLUMNS), ("images", IMAGE_COLUMNS)) for name in names[1:]
}  # as in CSV


@dataclass(frozen=True, slots=True)
class RowRequest:
    """A row as a request to the engine. `model`: the model that the row names, which need not be the one that answers.

    `extract`: the language of the code block that replaces the answer; "" for the whole answer.
    """

    messages: Sequence[Message]
    sampling: Sampling
    model: str = ""
    extract: str = ""


OpenedRow: TypeAlias = tuple[ResultShape, Callable[[], RowRequest]]
RowOpener: TypeAlias = Callable[[InputRow], OpenedRow]


@dataclass(frozen=True, slots=True)
class RowReader:
    """Parses rows, with the defaults for fields they leave out. `folder`: the base of relative paths.

    `question`: the question about each image; `fill`: puts a row's prompt into the template, if there is one.
    """

    sampling: Sampling
    system: str | None = None
    question: str = ""
    fill: Callable[[str], str] = str
    folder: Path = Path()
    allow_private: bool = False
    offline: bool = False
    extract: str = ""  # language of the code block that replaces the answer, unless there is a schema
    all_formats: bool = False  # read every image format from URLs too; files may always be of any

    def image_row(self, row: InputRow) -> OpenedRow:
        """Parses a row that is the path of an image."""
        path = os.fsdecode(row.data or b"")

        def request() -> RowRequest:
            return self._request(
                place_images(self.question, images.load_all(path, all_formats=True)), self.system, self.sampling
            )

        return ResultShape("plain", {"file": path}), request

    def json_row(self, row: InputRow) -> OpenedRow:
        """Parses a row that is a line of JSON. Raises FieldError for one in no known format."""
        if row.data is None:
            raise FieldError("", f"the line is longer than {MAX_LINE // 10**6} MB")
        value = expect(wire.parse(row.data), dict, "the line")
        if "body" in value or "custom_id" in value:
            name = value.get("custom_id")
            return ResultShape("openai", {"custom_id": name if isinstance(name, str) else None}), lambda: self._openai(
                value
            )
        value = _plain_names(value)
        if "prompt" in value or "images" in value:
            repeated: dict[str, Any] = {name: value[name] for name in ("id", "metadata") if name in value}
            return ResultShape("plain", repeated), lambda: self._plain(value)
        raise FieldError("", "the line holds neither a prompt nor a custom_id with a body")

    def _openai(self, value: Mapping[str, Any]) -> RowRequest:
        """The request of a line in OpenAI's batch format. Raises FieldError, ImageError, NetworkError."""
        expect(value.get("custom_id"), str, "custom_id")
        if value.get("method", "POST") != "POST":
            raise FieldError("method", "must be POST")
        if value.get("url", ENDPOINT) != ENDPOINT:
            raise FieldError("url", f"must be {ENDPOINT}")
        body = expect(value.get("body"), dict, "body")
        row_options.check_supported(body)
        sampling = row_options.parse_sampling(body, self.sampling, "body.")
        if body.get("response_format") is not None:
            schema = row_options.parse_response_format(body["response_format"], "body.response_format")
            sampling = replace(sampling, schema=schema)
        row_options.check_one_answer(sampling, "body.")
        model = "" if body.get("model") is None else expect(body["model"], str, "body.model")
        messages = wire.messages(body.get("messages"), "body.messages", load=self._web_loader())
        if messages[-1].role not in ("user", "tool"):
            raise FieldError(f"body.messages[{len(messages) - 1}].role", "must be user in the last message")
        messages = tool_rounds.for_engine(wire.joined(messages, "body.messages"))
        if self.system is not None and not any(message.role == "system" for message in messages):
            messages.insert(0, system(self.system))
        return RowRequest(messages, sampling, model)

    def _plain(self, value: Mapping[str, Any]) -> RowRequest:
        """The request of a plain row. Raises FieldError, ImageError, NetworkError."""
        if unknown := [name for name in value if name not in PLAIN_FIELDS | row_options.SAMPLING_FIELDS]:
            near = nearest(unknown[0], PLAIN_FIELDS | row_options.SAMPLING_FIELDS)
            hint = f"Did you mean {near}?" if near else "What a row carries along goes into its metadata"
            raise FieldError(unknown[0], "is not known", hint)
        prompt = self.fill(expect(value.get("prompt", ""), str, "prompt"))
        if not prompt.strip():
            raise FieldError("prompt", "is empty")
        sampling = row_options.parse_sampling(value, self.sampling)
        if value.get("schema") is not None:
            sampling = replace(sampling, schema=row_options.parse_schema(value["schema"], "schema"))
        row_options.check_one_answer(sampling)
        instructions = self.system if value.get("system") is None else expect(value["system"], str, "system")
        load = self._file_loader()
        sources = enumerate(_image_sources(value))
        attached = [image for number, source in sources for image in load(source, f"images[{number}]")]
        return self._request(place_images(prompt, attached), instructions, sampling)

    def _request(self, parts: tuple[str | Image, ...], instructions: str | None, sampling: Sampling) -> RowRequest:
        question = Message("user", parts)
        extract = self.extract if sampling.schema is None else ""
        prefix = [] if instructions is None else [system(instructions)]
        return RowRequest([*prefix, question], sampling, extract=extract)

    def _file_loader(self) -> Callable[[str, str], list[Image]]:
        """The image loader of one plain row, which may name files and pages of documents."""
        web = self._web_loader()

        def load(source: str, field: str) -> list[Image]:
            if source[:5].lower() == "data:" or source[:7].lower() in ("http://", "https:/"):
                return [web(source, field, {})]
            if images.is_url(source) or "://" in source or source.startswith("~"):
                return images.load_all(source, all_formats=True)
            try:
                return images.load_all(str(self.folder / source) if source else "", all_formats=True)
            except ImageError as error:
                if isinstance(error.__cause__, FileNotFoundError) and not os.path.isabs(source):  # noqa: PTH117
                    where = "in the current directory" if self.folder == Path() else f"in {self.folder}, as the file is"
                    error.hint = f"Check the name; paths in rows begin {where}"
                raise

        return load

    def _web_loader(self) -> Loader:
        """The image loader of one row for data and http(s) URLs, with limits on their number."""
        load_url = wire.loader(allow_private=self.allow_private, all_formats=self.all_formats)
        count = fetched = 0

        def load(url: str, field: str, siblings: Mapping[str, Any]) -> Image:
            nonlocal count, fetched
            count, fetched = count + 1, fetched + (url[:5].lower() != "data:")
            if count > MAX_IMAGES or fetched > MAX_URLS:
                raise FieldError(field, f"is too much: at most {MAX_IMAGES} images, {MAX_URLS} of them by URL")
            if self.offline and url[:4].lower() == "http":
                raise NetworkError(f"{field}: the network is off (--offline)", "Name a file instead")
            return load_url(url, field, siblings)

        return load


def _plain_names(value: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a plain row by their standard names; another name of a field that is present is kept."""
    named: dict[str, Any] = {}
    for name, held in value.items():
        field = OTHER_NAMES.get(name, name)
        named[name if field in value or field in named else field] = held
    return named


def detect_format(source: RowSource) -> Shape:
    """The format of the first row that has a known one; it is used for the output lines of rows that cannot be read.

    "plain" where none of the first `MAX_PROBED_ROWS` rows has a known format.
    """
    for row in itertools.islice(source.rows(), MAX_PROBED_ROWS):
        try:
            value = wire.parse(row.data or b"")
        except FieldError:
            continue
        if isinstance(value, dict) and value.keys() & {"body", "custom_id", "prompt", "images", *OTHER_NAMES}:
            return "openai" if value.keys() & {"body", "custom_id"} else "plain"
    return "plain"


def _image_sources(value: Mapping[str, Any]) -> list[str]:
    images = value.get("images")
    if images is None:
        return []
    sources = images if isinstance(images, list) else [images]
    if len(sources) > MAX_IMAGES:
        raise FieldError("images", f"holds more than {MAX_IMAGES}")
    return [expect(source, str, f"images[{number}]") for number, source in enumerate(sources)]
