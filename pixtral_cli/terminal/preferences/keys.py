"""The keys of the input line that the `[keys]` of the config change."""

from collections.abc import Mapping

from pixtral_cli.errors import UsageError

DEFAULT_KEYS = {"newline": "c-j", "complete": "tab", "editor": "c-g", "paste": "c-v"}
RESERVED = {
    "enter": "sends",
    "c-m": "sends",
    "c-c": "stops",
    "c-d": "leaves",
    "c-z": "suspends",
    "backspace": "deletes",
}
EXAMPLE = 'Such as: "c-o", "f4" or, one after the other, "c-x c-e"'


def chosen_keys(keys: Mapping[str, str]) -> Mapping[str, str]:
    """The keys of every action, those that are set instead of the usual ones. Raises UsageError for what is no key or taken."""
    if not keys:
        return DEFAULT_KEYS
    from prompt_toolkit.key_binding import KeyBindings

    for name, text in keys.items():
        pressed = text.lower().split()
        try:
            KeyBindings().add(*pressed)(lambda event: None)
        except (ValueError, AssertionError):
            raise UsageError(f"[keys] {name} cannot be {text!r}, which is no key", EXAMPLE) from None
        if pressed[0] in RESERVED:
            raise UsageError(f"[keys] {name} cannot be {text!r}: {shown(pressed[0])} {RESERVED[pressed[0]]}", EXAMPLE)
        if len(pressed[0]) == 1:
            raise UsageError(f"[keys] {name} cannot be {text!r}, which is typed", EXAMPLE)
    chosen = DEFAULT_KEYS | {name: " ".join(text.lower().split()) for name, text in keys.items()}
    for name, text in keys.items():
        if other := next((each for each, key in chosen.items() if each != name and key == chosen[name]), None):
            raise UsageError(f"[keys] {name} cannot be {text!r}, which {other} is", EXAMPLE)
    return chosen


def shown(keys: str) -> str:
    """Keys as people write them: `Ctrl-X Ctrl-E`."""
    names = {"c": "Ctrl", "s": "Shift"}
    return " ".join(
        "-".join([*(names.get(each, each) for each in key.split("-")[:-1]), key.split("-")[-1].title()])
        for key in keys.split()
    )
