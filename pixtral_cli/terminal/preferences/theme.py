"""`[theme]` in the config: styles for Rich, which renders answers, and for prompt_toolkit, which draws the input line.

All are in Rich's notation, such as `bold green` or `#ff8800 on black`; that of code is the name of a Pygments style.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pixtral_cli.errors import UsageError

if TYPE_CHECKING:
    from rich.color import Color

CODE_BLOCKS = "code_blocks"
ANSWER_STYLES = {
    "heading": tuple(f"markdown.h{level}" for level in range(1, 7)),
    "code": ("markdown.code",),
    "quote": ("markdown.block_quote",),
    "link": ("markdown.link", "markdown.link_url"),
    "bullet": ("markdown.item.bullet", "markdown.item.number"),
}
INPUT_LINE_STYLES = {"prompt": "prompt", "placeholder": "placeholder", "toolbar": "bottom-toolbar"}
ANSI_COLOURS = (
    "black", "red", "green", "yellow", "blue", "magenta", "cyan", "gray", "brightblack", "brightred", "brightgreen",
    "brightyellow", "brightblue", "brightmagenta", "brightcyan", "white",
)  # fmt: skip


def check_theme(theme: Mapping[str, str]) -> None:
    """Raises UsageError for an invalid style."""
    from rich.errors import StyleSyntaxError
    from rich.style import Style

    for name, text in theme.items():
        if name == CODE_BLOCKS:
            _check_code_style(text)
            continue
        try:
            Style.parse(text)
        except StyleSyntaxError as error:
            hint = f'Such as: {name} = "bold green", or "#ff8800 on black"'
            raise UsageError(f"[theme] {name} cannot be {text!r}", hint) from error


def _check_code_style(text: str) -> None:
    from pygments.styles import get_all_styles

    known = {"ansi_dark", "ansi_light", *get_all_styles()}
    if text not in known:
        from pixtral_cli.util.nearest import nearest

        example = nearest(text.lower(), sorted(known)) or "monokai"
        raise UsageError(
            f"[theme] {CODE_BLOCKS} cannot be {text!r}, which is no style of Pygments", f"Such as: {example}"
        )


def answer_styles(theme: Mapping[str, str]) -> dict[str, str]:
    """The styles of answers that the theme sets, by Rich's names."""
    return {style: theme[name] for name, styles in ANSWER_STYLES.items() if name in theme for style in styles}


def input_line_styles(theme: Mapping[str, str]) -> dict[str, str]:
    """The styles of the input line that the theme sets, by prompt_toolkit's names and in its notation."""
    return {
        style_name: _to_prompt_toolkit(theme[name]) for name, style_name in INPUT_LINE_STYLES.items() if name in theme
    }


def _to_prompt_toolkit(text: str) -> str:
    from rich.style import Style

    style = Style.parse(text)
    words = ["noreverse"]  # the toolbar is reversed by default
    words += [
        name for name in ("bold", "italic", "underline", "blink", "reverse", "strike", "dim") if getattr(style, name)
    ]
    words += [f"{ground}:{_colour(of)}" for ground, of in (("fg", style.color), ("bg", style.bgcolor)) if of]
    return " ".join(words)


def _colour(colour: "Color") -> str:
    if colour.is_default:
        return "default"
    if colour.number is not None and colour.number < len(ANSI_COLOURS):
        return f"ansi{ANSI_COLOURS[colour.number]}"
    return colour.get_truecolor().hex
