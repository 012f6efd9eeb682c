"""Questions about two or three scenes at once."""

from random import Random

from demo.drawing.scenes import SHAPES, Scene
from demo.questions.phrases import ORDINALS, a, cap, count, dialogues, listing, turn
from demo.questions.scenes import what
from demo.samples import Turn


def ask(rng: Random, scenes: list[Scene], most: int = 8) -> list[tuple[Turn, ...]]:
    turns = []
    for ordinal, scene in zip(ORDINALS, scenes, strict=False):
        asked = (
            f"What is in the {ordinal} image?",
            f"What does the {ordinal} image show?",
            f"What do you see in the {ordinal} picture?",
        )
        turns.append(turn(rng, asked, f"{cap(what(scene))}.", "pair what"))
    turns += [_which(rng, scenes), _which(rng, scenes), _total(rng, scenes), _compared(rng, scenes), _most(rng, scenes)]
    if len(scenes) == 2:
        same = sorted(t.name for t in scenes[0].things) == sorted(t.name for t in scenes[1].things)
        turns.append(
            turn(
                rng,
                ("Do the images show the same shapes?", "Are both images the same?", "Are the two images the same?"),
                "Yes." if same else "No.",
                "pair same",
            )
        )
        s = rng.choice(scenes[1].things).shape
        hits = [t for scene in scenes for t in scene.things if t.shape == s]
        if len(hits) == 1:
            turns.append(turn(rng, (f"What color is the {s}?",), f"The {s} is {hits[0].colour}.", "pair colour"))
    return dialogues(rng, turns, most)


def _which(rng: Random, scenes: list[Scene]) -> Turn:
    shape = rng.choice(SHAPES) if rng.random() < 0.1 else rng.choice(rng.choice(scenes).things).shape
    hits = [i for i, scene in enumerate(scenes) if any(thing.shape == shape for thing in scene.things)]
    asked = [f"Which image has {a(shape)}?", f"Which image contains {a(shape)}?", f"In which image is {a(shape)}?"]
    if not hits:
        answer = "None of them."
    elif len(hits) == len(scenes):
        answer = "Both images." if len(scenes) == 2 else "All of them."
    else:
        answer = f"The {listing([ORDINALS[i] for i in hits])} image{'s' if len(hits) > 1 else ''}."
    return turn(rng, asked, answer, "pair which")


def _total(rng: Random, scenes: list[Scene]) -> Turn:
    n = sum(len(scene.things) for scene in scenes)
    return turn(
        rng,
        ("How many shapes are there in total?", "How many shapes are there in all images together?"),
        count(n) if n <= 12 else f"{n}.",
        "pair total",
    )


def _most(rng: Random, scenes: list[Scene]) -> Turn:
    sizes = [len(scene.things) for scene in scenes]
    best = max(sizes)
    answer = (
        f"The {ORDINALS[sizes.index(best)]} image."
        if sizes.count(best) == 1
        else "They have the same number."
        if len(set(sizes)) == 1
        else f"The {listing([ORDINALS[i] for i, n in enumerate(sizes) if n == best])} images."
    )
    return turn(
        rng,
        ("Which image has more shapes?", "Which picture contains more shapes?", "Which image has the most shapes?"),
        answer,
        "pair most",
    )


def _compared(rng: Random, scenes: list[Scene]) -> Turn:
    shown = [f"the {ordinal} image shows {what(scene)}" for ordinal, scene in zip(ORDINALS, scenes, strict=False)]
    asked = (
        "What is the difference between the images?",
        "How do the images differ?",
        "Compare the images.",
        "Compare these pictures.",
    )
    return turn(rng, asked, f"{cap(', '.join(shown))}.", "pair compare")
