"""The keys of the input line, which `[keys]` in the config changes."""

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
    """The key of each action: the given ones, else the defaults. Raises UsageError for an invalid key or one that is taken."""
    if not keys:
        return DEFAULT_KEYS
    from prompt_toolkit.key_binding import KeyBindings

    for name, text in keys.items():
        sequence = text.lower().split()
        try:
            KeyBindings().add(*sequence)(lambda event: None)
        except (ValueError, AssertionError):
            raise UsageError(f"[keys] {name} cannot be {text!r}, which is no key", EXAMPLE) from None
        if sequence[0] in RESERVED:
            raise UsageError(
                f"[keys] {name} cannot be {text!r}: {format_keys(sequence[0])} {RESERVED[sequence[0]]}", EXAMPLE
            )
        if len(sequence[0]) == 1:
            raise UsageError(f"[keys] {name} cannot be {text!r}, which is typed", EXAMPLE)
    chosen = DEFAULT_KEYS | {name: " ".join(text.lower().split()) for name, text in keys.items()}
    for name, text in keys.items():
        if other_action := next(
            (action for action, key in chosen.items() if action != name and key == chosen[name]), None
        ):
            raise UsageError(f"[keys] {name} cannot be {text!r}, which {other_action} is", EXAMPLE)
    return chosen


def format_keys(keys: str) -> str:
    """A key sequence as it is shown to the user: `Ctrl-X Ctrl-E`."""
    names = {"c": "Ctrl", "s": "Shift"}
    return " ".join(
        "-".join([*(names.get(modifier, modifier) for modifier in key.split("-")[:-1]), key.split("-")[-1].title()])
        for key in keys.split()
    )
