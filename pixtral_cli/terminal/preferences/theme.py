"""The `[theme]` of the config: styles for Rich, which sets answers, and for prompt_toolkit, which draws the input line.

All are written as Rich writes styles, such as `bold green` or `#ff8800 on black`; the code's is the name of a Pygments style.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pixtral_cli.errors import UsageError

if TYPE_CHECKING:
    from rich.color import Color

CODE_BLOCKS = "code_blocks"
OF_ANSWERS = {
    "heading": tuple(f"markdown.h{level}" for level in range(1, 7)),
    "code": ("markdown.code",),
    "quote": ("markdown.block_quote",),
    "link": ("markdown.link", "markdown.link_url"),
    "bullet": ("markdown.item.bullet", "markdown.item.number"),
}
OF_THE_LINE = {"prompt": "prompt", "placeholder": "placeholder", "toolbar": "bottom-toolbar"}
_ANSI = (
    "black", "red", "green", "yellow", "blue", "magenta", "cyan", "gray", "brightblack", "brightred", "brightgreen",
    "brightyellow", "brightblue", "brightmagenta", "brightcyan", "white",
)  # fmt: skip


def check_theme(theme: Mapping[str, str]) -> None:
    """Raises UsageError for a style that is none."""
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

        near = nearest(text.lower(), sorted(known)) or "monokai"
        raise UsageError(f"[theme] {CODE_BLOCKS} cannot be {text!r}, which is no style of Pygments", f"Such as: {near}")


def answer_styles(theme: Mapping[str, str]) -> dict[str, str]:
    """Rich's names of the styles that the theme sets, and the styles."""
    return {style: theme[name] for name, styles in OF_ANSWERS.items() if name in theme for style in styles}


def line_styles(theme: Mapping[str, str]) -> dict[str, str]:
    """prompt_toolkit's names of the styles that the theme sets, and the styles as it writes them."""
    return {ours: _for_prompt_toolkit(theme[name]) for name, ours in OF_THE_LINE.items() if name in theme}


def _for_prompt_toolkit(text: str) -> str:
    from rich.style import Style

    style = Style.parse(text)
    words = ["noreverse"]  # which the toolbar is by default
    words += [
        name for name in ("bold", "italic", "underline", "blink", "reverse", "strike", "dim") if getattr(style, name)
    ]
    words += [f"{ground}:{_colour(of)}" for ground, of in (("fg", style.color), ("bg", style.bgcolor)) if of]
    return " ".join(words)


def _colour(colour: "Color") -> str:
    if colour.is_default:
        return "default"
    if colour.number is not None and colour.number < len(_ANSI):
        return f"ansi{_ANSI[colour.number]}"
    return colour.get_truecolor().hex
