"""Parses tool calls from an answer's tokens, for every version of the chat template; pieces are final when returned."""

import re
import secrets
import string
from collections.abc import Callable

from pixtral_cli.chat.tools import ToolCallDelta
from pixtral_cli.engines.local.generation.detokenizer import Detokenizer
from pixtral_cli.engines.local.tokens.tool_tokens import ToolTokens

ALPHABET = string.ascii_letters + string.digits
ID_LENGTH = 9  # characters of a call's id, as the templates require
LISTED_CALL = re.compile(r'\{"name": "([^"]*)", "arguments": ')


def new_call_id() -> str:
    """A random id of a call."""
    return "".join(secrets.choice(ALPHABET) for _ in range(ID_LENGTH))


class ToolCallParser:
    """Parses calls from the first [TOOL_CALLS] token on. `count`: how many have begun."""

    def __init__(self, tokens: ToolTokens, bytes_of: Callable[[int], bytes]) -> None:
        self.count = 0
        self._tokens, self._bytes_of = tokens, bytes_of
        self._detokenizer = Detokenizer(bytes_of)
        self._listed = ListedCalls() if tokens.args is None else None
        self._field = "name"  # the field of the next tokens: name, id or arguments
        self._buffer = self._name = ""

    @property
    def start_token(self) -> int:
        """The token with which calls begin."""
        return self._tokens.tool_calls

    @property
    def index(self) -> int:
        """The number, from 0, of the call that is being parsed."""
        return self.count - 1

    def feed(self, token: int) -> tuple[ToolCallDelta, ...]:
        """The pieces of calls that become final with this token."""
        if self._listed:
            pieces = self._listed.feed(self._detokenizer.feed(token))
            self.count = self._listed.count
            return pieces
        if token == self._tokens.tool_calls:
            self._field, self._buffer = "name", ""
            self._detokenizer = Detokenizer(self._bytes_of)
            return ()
        if token == self._tokens.call_id:
            self._field = "id"
            self._name, self._buffer = self._buffer, ""
            return ()
        if token == self._tokens.args:
            return self._begin()
        text = self._detokenizer.feed(token)
        if self._field == "arguments":
            return (ToolCallDelta(self.index, arguments=text),) if text else ()
        self._buffer += text
        return ()

    def _begin(self) -> tuple[ToolCallDelta, ...]:
        """The first piece of a call: its id and name, which are complete at its [ARGS] token."""
        name, call_id = (self._name, self._buffer) if self._field == "id" else (self._buffer, "")
        self._field, self._detokenizer = "arguments", Detokenizer(self._bytes_of)
        self.count += 1
        return (ToolCallDelta(self.index, call_id or new_call_id(), name),)


class ObjectReader:
    """Finds the end of a JSON object that comes in pieces: the brace that closes the one that it begins with."""

    def __init__(self) -> None:
        self._depth = 0  # of braces and brackets
        self._in_string = self._escaped = False

    def take(self, text: str) -> tuple[str, str, bool]:
        """What of the text belongs to the object, what follows it, and whether the object has ended."""
        for position, character in enumerate(text):
            if self._in_string:
                self._escaped, ends = character == "\\" and not self._escaped, character == '"' and not self._escaped
                self._in_string = not ends
                continue
            if character == '"':
                self._in_string = True
            self._depth += (character in "{[") - (character in "}]")
            if self._depth == 0 and character in "}]":
                return text[: position + 1], text[position + 1 :], True
        return text, "", False


class ListedCalls:
    """Reads the JSON list of calls of the templates before v11, whose layout the grammar fixes."""

    def __init__(self) -> None:
        self.count = 0
        self._buffer = ""
        self._arguments: ObjectReader | None = None  # of the call that is read

    def feed(self, text: str) -> tuple[ToolCallDelta, ...]:
        """What is final after this text."""
        self._buffer += text
        pieces: list[ToolCallDelta] = []
        while self._buffer:
            if self._arguments:
                arguments, self._buffer, ended = self._arguments.take(self._buffer)
                pieces.append(ToolCallDelta(self.count - 1, arguments=arguments))
                self._arguments = None if ended else self._arguments
            elif found := LISTED_CALL.search(self._buffer):
                self._buffer = self._buffer[found.end() :]
                self._arguments = ObjectReader()
                self.count += 1
                pieces.append(ToolCallDelta(self.count - 1, new_call_id(), found[1]))
            else:
                break
        return tuple(pieces)
