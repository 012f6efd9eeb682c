"""The special tokens around tool calls in a tokenizer's chat template."""

from dataclasses import dataclass

from mistral_common.tokens.tokenizers.base import SpecialTokens, TokenizerVersion
from mistral_common.tokens.tokenizers.tekken import Tekkenizer


@dataclass(frozen=True, slots=True)
class ToolTokens:
    """The tokens of tool calls.

    Before v11 a template writes `[TOOL_CALLS]` and a JSON list of calls, and `args` is None. From v11 on each call is
    `[TOOL_CALLS]` name `[ARGS]` arguments; in v11 `[CALL_ID]` and an id may precede `[ARGS]`.
    """

    tool_calls: int
    args: int | None = None
    call_id: int | None = None


def tool_tokens(tekken: Tekkenizer) -> ToolTokens | None:
    """The tokens of this tokenizer; None where it has none."""
    try:
        calls = tekken.get_special_token(SpecialTokens.tool_calls.value)
        if tekken.version < TokenizerVersion.v11:
            return ToolTokens(calls)
        args = tekken.get_special_token(SpecialTokens.args.value)
        with_ids = tekken.version < TokenizerVersion.v13
        return ToolTokens(calls, args, tekken.get_special_token(SpecialTokens.call_id.value) if with_ids else None)
    except ValueError:
        return None
