"""The commands for images: attach, paste, screenshot, list, drop, crop."""

import re

from pixtral_cli import images
from pixtral_cli.errors import UsageError
from pixtral_cli.terminal.desktop import clipboard, screenshot
from pixtral_cli.terminal.repl import attachments
from pixtral_cli.terminal.repl.state import State


def attach(state: State, argument: str) -> None:
    """Attach the named pictures. Those that cannot be read are reported, and the others attached."""
    names = list(attachments.image_names(argument))
    if not names:
        raise UsageError("/image needs a path or a URL", "E.g. /image ~/Pictures/*.png")
    state.agree_to_many(names, argument)
    state.stage(state.load_each(names))


def paste(state: State, argument: str) -> None:
    found = clipboard.read_image(state.desktop())
    if isinstance(found, str):
        state.stage(attachments.load_images(found))
    else:
        state.stage([images.from_bytes(found, "clipboard")])


def take_screenshot(state: State, argument: str) -> None:
    area = argument or "region"
    command = screenshot.screenshot_command(area, state.desktop())
    if area == "region":
        state.notes.say("Draw a region of the screen; Esc cancels.")
    state.stage([images.from_bytes(screenshot.take_screenshot(command, state.desktop()), "screenshot")])


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
        state.notes.say(attachments.context_left_text(cost))


def drop(state: State, argument: str) -> None:
    """Drop the numbered images, or none if one of them does not exist. The others keep their numbers."""
    there = list(state.conversation.numbered)
    if argument.strip().lower() == "all" and not there:
        return state.notes.say("There is no image.")
    every = " ".join(map(str, there)) if argument.strip().lower() == "all" else argument
    numbers = dict.fromkeys(_numbers(every, "/drop 2, /drop 2-4 or /drop all"))
    for number in numbers:
        state.conversation.image(number)
    for number in numbers:
        sent = state.conversation.times_sent(number)
        name = state.conversation.drop(number).name
        state.notes.say(
            f"#{number} {name} is out"
            + (f", also of {_messages(sent)} that it was sent in: the words stay." if sent else ".")
        )
    return None


def _messages(number: int) -> str:
    return "the question" if number == 1 else f"the {number} questions"


def crop(state: State, argument: str) -> None:
    words = re.split(r"[\s,]+", argument)
    number = _numbers(words[0], "/crop 2 25% 25% 50% 50%")[0]
    image = state.conversation.image(number)
    state.stage([image.cropped(attachments.parse_box(words[1:], image.size))])


def _numbers(text: str, example: str) -> list[int]:
    found = [re.fullmatch(r"#?(\d{1,4})(?:-#?(\d{1,4}))?", word) for word in text.replace(",", " ").split()]
    if not found or not all(found):
        raise UsageError("Give the number of an image", f"E.g. {example}; /images lists them")
    return [number for each in found if each for number in range(int(each[1]), int(each[2] or each[1]) + 1)]
