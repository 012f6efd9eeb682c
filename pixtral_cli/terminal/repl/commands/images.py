"""The commands about images: attach, paste, shoot, list, drop, crop. How images are read is for `staging` and `chat.images`."""

import re

from pixtral_cli import images
from pixtral_cli.errors import UsageError
from pixtral_cli.terminal.desktop import clipboard, screenshot
from pixtral_cli.terminal.repl import attachments
from pixtral_cli.terminal.repl.state import State


def attach(state: State, argument: str) -> None:
    """All of the named pictures, or none of them if one cannot be read."""
    names = list(attachments.image_names(argument))
    if not names:
        raise UsageError("/image wants a path or a URL", "E.g. /image ~/Pictures/*.png")
    state.stage([image for name in names for image in attachments.load_images(name)])


def paste(state: State, argument: str) -> None:
    found = clipboard.read_image(state.desktop())
    if isinstance(found, str):
        state.stage(attachments.load_images(found))
    else:
        state.stage([images.from_bytes(found, "clipboard")])


def take_screenshot(state: State, argument: str) -> None:
    area = argument or "region"
    command = screenshot.tool(area, state.desktop())
    if area == "region":
        state.notes.say("Draw a region of the screen; Esc cancels.")
    state.stage([images.from_bytes(screenshot.take(command, state.desktop()), "screenshot")])


def list_images(state: State, argument: str) -> None:
    cost, each = state.measure()
    staged = {image.key for image in state.conversation.staged}
    rows = [
        [*attachments.image_row(number, image, each.get(image.key)), *(["not sent yet"] if image.key in staged else [])]
        for number, image in state.conversation.numbered.items()
    ]
    state.notes.rows(rows)
    if not rows:
        state.notes.say("No image yet; /image PATH attaches one.")
    elif cost:
        state.notes.say(attachments.context_left(cost))


def drop(state: State, argument: str) -> None:
    """All of the numbered images, or none of them if one is not there. The others keep their numbers."""
    numbers = dict.fromkeys(_numbers(argument, "/drop 2"))
    for number in numbers:
        state.conversation.image(number)
    for number in numbers:
        state.notes.say(f"#{number} {state.conversation.drop(number).name} is out.")


def crop(state: State, argument: str) -> None:
    words = re.split(r"[\s,]+", argument)
    number = _numbers(words[0], "/crop 2 25% 25% 50% 50%")[0]
    image = state.conversation.image(number)
    state.stage([image.cropped(attachments.parse_box(words[1:], image.size))])


def _numbers(text: str, example: str) -> list[int]:
    words = text.replace(",", " ").split()
    if not words or not all(re.fullmatch(r"#?\d{1,4}", word) for word in words):
        raise UsageError("The number of an image is wanted", f"E.g. {example}; /images lists them")
    return [int(word.removeprefix("#")) for word in words]
