"""From a sketch to its page: HTML, edits of it, and questions about what was drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from demo.drawing import words
from demo.drawing.sketches import Part
from demo.questions.phrases import a, count, dialogues, listing, plural, turn
from demo.samples import Turn

SPOKEN = {
    "title": "title", "input": "text field", "select": "dropdown", "checkbox": "checkbox", "button": "button", "image": "image",
    "paragraph": "paragraph",
}  # fmt: skip
WRITE = (
    "Write HTML to create a website like this", "Write HTML to create a website like this.", "Write the HTML for this wireframe.",
    "Turn this sketch into HTML.", "Convert the wireframe to HTML.", "Write HTML code for this page.", "Make a web page from this sketch.",
    "Generate HTML for this sketch.", "Write the HTML.",
)  # fmt: skip
BUTTON_COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "black")


@dataclass(frozen=True, slots=True)
class Element:
    """A part with what edits may have given it."""

    part: Part
    colour: str | None = None


def html(elements: Sequence[Element]) -> str:
    """A short valid HTML document."""
    title = next((e.part.words for e in elements if e.part.kind == "title"), "Page")
    return "\n".join(["<!doctype html>", f"<title>{title}</title>", *(_tag(element) for element in elements)])


def _tag(element: Element) -> str:
    text = element.part.words
    style = f' style="background:{element.colour}"' if element.colour else ""
    return {
        "title": f"<h1>{text}</h1>",
        "input": f'<input placeholder="{text}">',
        "select": f"<select><option>{text}</option></select>",
        "checkbox": f'<label><input type="checkbox">{text}</label>',
        "button": f"<button{style}>{text}</button>",
        "image": '<img src="image.png" alt="image">',
        "paragraph": "<p>Text</p>",
    }[element.part.kind]


def fenced(elements: Sequence[Element]) -> str:
    return f"```html\n{html(elements)}\n```"


def ask(rng: Random, parts: Sequence[Part]) -> list[tuple[Turn, ...]]:
    page = [Element(part) for part in parts]
    write = turn(rng, WRITE, fenced(page), "page html")
    talks: list[tuple[Turn, ...]] = [(write,)]
    if rng.random() < 0.45:
        talks = [(write, _edit(rng, page))]
    return talks + dialogues(rng, _about(rng, parts), 3)


def edited_after_misreading(rng: Random, parts: Sequence[Part]) -> tuple[Turn, ...]:
    """An edit of a page on which words were misread: what is changed is the page as it was written."""
    page = [Element(replace(part, words=_misread(rng, part.words))) for part in parts]
    write = turn(rng, WRITE, fenced(page), "page html")
    return (replace(write, learned=False), _edit(rng, page))


def _misread(rng: Random, text: str) -> str:
    draw = rng.random()
    if not text or draw < 0.4:
        return text
    if draw < 0.6:
        return words.likely_word(rng).capitalize()
    at = rng.randrange(len(text))
    wrong = text[:at] + rng.choice("abcdefghilmnoprstuy") + text[at + rng.randint(0, 1) :]
    return text if wrong.lower() in words.HELD_OUT else wrong


def _about(rng: Random, parts: Sequence[Part]) -> list[Turn]:
    kind = rng.choice(("button", "select", "input", "checkbox"))
    many = sum(part.kind == kind for part in parts)
    name = plural(SPOKEN[kind])
    listed = listing([a(SPOKEN[part.kind]) for part in parts])
    asked = ("What is in the image?", "Describe the image.", "What elements are on the page?", "Describe this sketch.")
    turns = [
        turn(rng, (f"How many {name} are there?", f"Count the {name}."), count(many), "page count"),
        turn(rng, asked, f"A sketch of a web page with {listed}.", "page what"),
    ]
    for part in parts:
        if part.words and [p.kind for p in parts].count(part.kind) == 1:
            s = SPOKEN[part.kind]
            turns.append(
                turn(
                    rng,
                    (
                        f"What does the {s} say?",
                        f"What is written in the {s}?" if part.kind != "checkbox" else f"What does the {s} say?",
                    ),
                    f"{part.words}.",
                    "page words",
                )
            )
    return turns


def _edit(rng: Random, page: list[Element]) -> Turn:
    edits = [_add]
    kinds = [element.part.kind for element in page]
    if "button" in kinds:
        edits += [_paint, _paint]
    if len(page) > 2:
        edits.append(_remove)
    if "title" in kinds:
        edits.append(_rename)
    asked, changed = rng.choice(edits)(rng, list(page))
    return turn(rng, asked, fenced(changed), "page edit")


def _paint(rng: Random, page: list[Element]) -> tuple[list[str], list[Element]]:
    colour = rng.choice(BUTTON_COLOURS)
    many = sum(element.part.kind == "button" for element in page) > 1
    name = "buttons" if many else "button"
    changed = [replace(element, colour=colour) if element.part.kind == "button" else element for element in page]
    return [f"Make the {name} {colour}.", f"make the {name} {colour}", f"Color the {name} {colour}."], changed


def _add(rng: Random, page: list[Element]) -> tuple[list[str], list[Element]]:
    kind, spoken = rng.choice(
        (
            ("input", "field"),
            ("input", "text field"),
            ("button", "button"),
            ("checkbox", "checkbox"),
            ("select", "dropdown"),
        )
    )
    text = rng.choice(words.INTERFACE)
    if kind == "input" and rng.random() < 0.4:
        return [f"Add {a(spoken)}.", f"add {a(spoken)}"], [*page, Element(Part("input", "Text"))]
    return [f"Add {a(spoken)} called {text}.", f'Add {a(spoken)} "{text}".'], [*page, Element(Part(kind, text))]


def _remove(rng: Random, page: list[Element]) -> tuple[list[str], list[Element]]:
    gone = rng.choice([element.part.kind for element in page if element.part.kind != "title"])
    many = sum(element.part.kind == gone for element in page) > 1
    name = plural(SPOKEN[gone]) if many else SPOKEN[gone]
    return [f"Remove the {name}.", f"Delete the {name}."], [element for element in page if element.part.kind != gone]


def _rename(rng: Random, page: list[Element]) -> tuple[list[str], list[Element]]:
    now = {element.part.words for element in page if element.part.kind == "title"}
    text = rng.choice([word for word in words.INTERFACE if word not in now])
    changed = [
        replace(element, part=Part("title", text)) if element.part.kind == "title" else element for element in page
    ]
    return [f"Change the title to {text}.", f'Change the title to "{text}".'], changed
