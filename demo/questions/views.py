"""Questions about near and far: what is really big and what only looks it."""

from random import Random

from demo.drawing.views import HEIGHTS, Being, View
from demo.questions import talk
from demo.questions.phrases import a, cap, count, dialogues, listing, turn
from demo.questions.scenes import DESCRIBE, WHAT
from demo.samples import Turn

SPOKEN = {"house": ("house", "building"), "person": ("person",), "tree": ("tree",), "car": ("car",), "dog": ("dog",)}


def ask(rng: Random, view: View, most: int = 7) -> list[tuple[Turn, ...]]:
    turns = [*_whole(rng, view), *_depth(rng, view), _exists(rng, view), *_really(rng, view)]
    for being in view.beings:
        if being.kind in ("person", "house", "car"):
            name = rng.choice(SPOKEN[being.kind])
            asked = (
                (f"What color is the {name}?",)
                if being.kind != "person"
                else ("What color is the person's shirt?", "What color does the person wear?")
            )
            turns.append(turn(rng, asked, f"{cap(being.colour)}.", "view colour"))
    talks = dialogues(rng, turns, most)
    for _ in range(rng.choice((0, 1, 1, 2))):
        talks.append((talk.cannot_tell(rng),))
    return talks


def _whole(rng: Random, view: View) -> list[Turn]:
    names = [a(being.kind) for being in view.beings]
    near, far = view.of(True), view.of(False)
    if near:
        told = (
            f"{cap(a(near[0].kind))} stands near the viewer, and {listing([a(being.kind) for being in far])} far away."
        )
    else:
        told = f"{cap(listing(names))} stand at the same distance."
    return [
        turn(rng, (*WHAT[:3], "What is this?", "What does the image show?"), f"{cap(listing(names))}.", "view what"),
        turn(rng, DESCRIBE, told, "view describe"),
    ]


def _depth(rng: Random, view: View) -> list[Turn]:
    one, other = rng.sample(view.beings, 2)
    if one.near == other.near:
        closer = "Both are about as far away."
    else:
        closer = f"The {(one if one.near else other).kind} is nearer."
    turns = [
        turn(
            rng,
            (
                f"Which is nearer, the {one.kind} or the {other.kind}?",
                f"Which is closer, the {one.kind} or the {other.kind}?",
            ),
            closer,
            "view near",
        )
    ]
    if view.of(True):
        turns.append(
            turn(
                rng,
                ("What is in front?", "What is nearest?", "What is closest to the viewer?"),
                f"The {view.of(True)[0].kind}.",
                "view near",
            )
        )
        far = listing([f"the {being.kind}" for being in view.of(False)])
        turns.append(turn(rng, ("What is far away?", "What is in the background?"), f"{cap(far)}.", "view near"))
    return turns


def _really(rng: Random, view: View) -> list[Turn]:
    """The scene that fools the eye: of a smaller and a larger kind, which is big and which only near?"""
    small, large = sorted(rng.sample(view.beings, 2), key=lambda being: HEIGHTS[being.kind])
    big = rng.choice(SPOKEN[large.kind])
    asked = (
        f"Is this {small.kind} really big, or is the {big} just small?", f"Is the {small.kind} really big, or the {big} small?",
        f"Is this {small.kind} really big, or the {big} small?", f"Is the {small.kind} bigger than the {big}?",
        f"Is the {small.kind} really bigger than the {big}?",
    )  # fmt: skip
    bigger = turn(
        rng,
        (
            f"Which is bigger in reality, the {small.kind} or the {big}?",
            f"Which is really bigger, the {big} or the {small.kind}?",
        ),
        f"The {big} is bigger in reality.",
        "view really",
    )
    return [turn(rng, asked, _verdict(small, large, big), "view really"), bigger]


def _verdict(small: Being, large: Being, big: str) -> str:
    if small.near and large.near is False:
        return f"Neither: the {small.kind} is near and the {big} is far away, so the {small.kind} only looks big."
    if large.near and small.near is False:
        return f"The {big} is bigger, and it is also nearer than the {small.kind}."
    return f"The {big} is bigger: both are about as far away."


def _exists(rng: Random, view: View) -> Turn:
    kind = rng.choice(sorted(HEIGHTS))
    there = sum(being.kind == kind for being in view.beings)
    if rng.random() < 0.3:
        many = "people" if kind == "person" else f"{kind}s"
        return turn(rng, (f"How many {many} are there?", f"How many {many} do you see?"), count(there), "view count")
    answer = f"Yes, there is {a(kind)}." if there else f"No, there is no {kind}."
    return turn(
        rng,
        (f"Is there {a(kind)}?", f"Do you see {a(kind)}?", f"Is there {a(kind)} in the image?"),
        answer,
        "view exists",
    )
