"""Rewrites the words of a command line before Typer parses them, and explains the errors of parsing."""

import re
from collections.abc import Sequence
from typing import Any

from pixtral_cli.errors import UsageError

# The names that other programs have for a command, by group, and the command of pixtral.
OTHER_NAMES = {
    "": {
        "help": "pixtral --help", "version": "pixtral --version", "run": "pixtral chat -m MODEL", "prompt": 'pixtral ask "…"',
        "list": "pixtral models", "ls": "pixtral models", "rm": "pixtral models rm MODEL", "logs": "pixtral sessions",
        "show": "pixtral models show MODEL", "download": "pixtral pull MODEL", "server": "pixtral serve", "keys": "pixtral login",
        "logout": "pixtral login --remove", "auth": "pixtral login", "search": "pixtral sessions search WORDS", "history": "pixtral sessions",
        "create": "pixtral templates edit NAME", "aliases": "pixtral config set aliases.NAME MODEL", "info": "pixtral doctor",
        "update": "python -m pip install --upgrade pixtral", "upgrade": "python -m pip install --upgrade pixtral",
        "import": "pixtral sessions import FILE", "export": "pixtral sessions export ID", "settings": "pixtral config",
    },
    "models": {
        "ls": "pixtral models list", "pull": "pixtral pull MODEL", "download": "pixtral pull MODEL", "default": "pixtral config set model NAME",
        "remove": "pixtral models rm MODEL", "delete": "pixtral models rm MODEL", "show": "pixtral models list", "check": "pixtral models verify",
    },
    "sessions": {
        "ls": "pixtral sessions list", "remove": "pixtral sessions rm ID", "delete": "pixtral sessions rm ID", "find": "pixtral sessions search WORDS",
        "view": "pixtral sessions show ID", "cat": "pixtral sessions show ID",
    },
    "templates": {
        "ls": "pixtral templates list", "remove": "pixtral templates rm NAME", "delete": "pixtral templates rm NAME", "new": "pixtral templates edit NAME",
        "add": "pixtral templates edit NAME", "create": "pixtral templates edit NAME", "cat": "pixtral templates show NAME",
    },
    "config": {"list": "pixtral config", "ls": "pixtral config", "show": "pixtral config", "rm": "pixtral config unset KEY"},
    "eval": {"ls": "pixtral eval list"},
}  # fmt: skip
OTHER_OPTIONS = {
    "-i": "--image",
    "-I": "--image",
    "--attach": "--attachment",
    "--stream": "--no-stream",
}  # of other programs
EXTRACT_FLAGS = ("-x", "--extract")
DASHED_VALUE_FLAGS = ("--vllm-args",)  # options whose values may begin with a dash
# Patterns as text: to compile them takes longer than most command lines need.
LANGUAGE = r"[A-Za-z][\w+#.-]{0,19}"
NEGATIVE_NUMBER = r"-\.?\d"


def normalize(words: Sequence[str], commands: Sequence[str]) -> list[str]:
    """The words as Typer parses them: `--json` becomes `--format json`, `-x` without a language `-x any`, and a
    question without a command gets `ask`. Raises UsageError.
    """
    given = list(words)
    end = given.index("--") if "--" in given else len(given)
    if end and given[0] not in commands and not given[0].startswith("-") and re.search(r"\s|\?$", given[0]):
        given, end = ["ask", *given], end + 1
    head: list[str] = []
    for position, word in enumerate(given[:end]):
        if word == "--json":
            _refuse_another_format(given[:end])
        if word == "-n" and given[0] == "ask" and position + 1 < end and given[position + 1].isdecimal():
            raise UsageError("-n saves nothing, and takes no number", f"So many answers: --n {given[position + 1]}")
        head += ["--format", "json"] if word == "--json" else [word]
        before, following = given[position - 1] if position else "", given[position + 1] if position + 1 < end else ""
        if (
            word in EXTRACT_FLAGS
            and before not in DASHED_VALUE_FLAGS
            and not re.fullmatch(LANGUAGE, following)
            and given[0] == "ask"
        ):
            head.append("any")
    return head + given[end:]


def _refuse_another_format(words: Sequence[str]) -> None:
    """Raises UsageError where --json comes with another --format, one of which would be ignored silently."""
    named = [following for word, following in zip(words, [*words[1:], ""], strict=True) if word == "--format"]
    named += [word.partition("=")[2] for word in words if word.startswith("--format=")]
    if other := next((name for name in named if name != "json"), None):
        raise UsageError(f"--json is --format json, and --format {other} is given too", "Leave one of them out")


def first_dashed_argument(words: Sequence[str], option: str) -> str | None:
    """The first word that begins with a dash and can be an argument where `option` is none: a number, or a sentence."""
    for word in words:
        if re.match(NEGATIVE_NUMBER, word) and option.startswith(word[:2]):
            return word
        if re.match(r"-[^=]*?\s", word) and (option == word[:2] or re.search(r"\s", option)):
            return word
    return None


def positional(words: Sequence[str], word: str) -> list[str]:
    """The words with `word`, which begins with a dash, moved behind `--`, so that it is parsed as an argument."""
    others = [other for other in words if other != word]
    return [*others, word] if "--" in others else [*others, "--", word]


def usage_error(error: Exception, words: Sequence[str]) -> UsageError:
    """The error for Typer's `error` about these words, with a hint for the command that was typed."""
    from pixtral_cli.util.nearest import nearest

    message = " ".join(getattr(error, "format_message", error.__str__)().split())
    context = getattr(error, "ctx", None)
    known = words[:1] if words and re.fullmatch(r"\w[\w-]*", words[0]) else ()
    path = context.command_path if context else " ".join(("pixtral", *known))
    message = re.sub(r"is not a valid (float|integer|int)( range)?", _number_text, message)
    see = f"See: {path} --help"
    option = getattr(error, "option_name", None)
    if option and re.search(r"requires (an|\d+) argument", message):
        return UsageError(f"{option} needs a value", see)
    if option:
        message = f"No such option: {option}"
        options = _options(context) if context else []
        near = OTHER_OPTIONS.get(option) if OTHER_OPTIONS.get(option) in options else nearest(option, options)
        return UsageError(message, f"Did you mean {near}? {see}" if near else see)
    if match := re.match(r"No such command '(.*?)'", message):
        return UsageError(f"No such command '{match[1]}'", _command_hint(match[1], context, path))
    if context and context.info_name in ("ask", "chat") and message.startswith("Got unexpected extra argument"):
        return UsageError(message, _extra_hint(words, context.info_name))
    return UsageError(message, see if context else "")


def _number_text(match: re.Match[str]) -> str:
    return f"is not a {'number' if match[1] == 'float' else 'whole number'}"


def _options(context: Any) -> list[str]:
    """The options of the command that is being parsed."""
    names = [name for parameter in context.command.get_params(context) for name in getattr(parameter, "opts", ())]
    return [*names, "--json"] if "--format" in names else names


def _command_hint(name: str, context: Any, path: str) -> str:
    """The hint about an unknown command of the group at `path`."""
    from pixtral_cli.util.nearest import nearest

    group = path.removeprefix("pixtral").strip()
    if other := OTHER_NAMES.get(group, {}).get(name):
        return f"Here it is: {other}"
    near = nearest(name, list(context.command.commands)) if context else None
    return f"Did you mean {path} {near}?" if near else f"See: {path} --help"


def _extra_hint(words: Sequence[str], command: str) -> str:
    """The hint about too many arguments: pictures without --image, or a question without quotes."""
    from pixtral_cli.images.formats import has_picture_extension

    flags = ("--image", "-a", "--attachment", "-o", "--output")
    arguments = [word for before, word in zip(["", *words], words, strict=False) if before not in flags]
    if pictures := [word for word in arguments if has_picture_extension(word) and not word.startswith("-")]:
        return f"Repeat --image for each picture: --image {pictures[-1]}"
    return 'Quote the question: pixtral ask "What is this?"' if command == "ask" else 'Quote it: pixtral chat "Hello"'
