"""Questions about a scene of shapes: object, colour, shape, count, place, relation, and what cannot be answered."""

from random import Random

from demo.drawing.palette import NAMES
from demo.drawing.scenes import EDGES, SHAPES, Scene, Thing
from demo.questions import talk
from demo.questions.phrases import a, cap, count, dialogues, listing, plural, turn
from demo.samples import Turn

WHAT = (
    "What is in the image?", "What do you see?", "What is in this picture?", "What shapes are there?", "What is this?",
    "List the shapes from left to right.", "What does the image show?", "What's in this image?", "What can you see in the picture?",
)  # fmt: skip
DESCRIBE = (
    "Describe the image.", "Describe this picture.", "Can you describe the image?", "Tell me about this image.",
    "Describe this image in detail.", "Give a full description.",
)  # fmt: skip
DIRECTIONS = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}


def ask(rng: Random, scene: Scene, most: int = 9) -> list[tuple[Turn, ...]]:
    if scene.uniform:
        return dialogues(rng, _about_one_kind(rng, scene), most)
    turns = [*_whole(rng, scene), *_singles(rng, scene), *_places(rng, scene), *_presence(rng, scene)]
    talks = dialogues(rng, turns, most)
    talks.extend(_follow_ups(rng, scene))
    for _ in range(rng.choice((0, 1, 1, 2))):
        talks.append((talk.cannot_tell(rng),))
    return talks


def place(thing: Thing, scene: Scene) -> str:
    x, y = thing.x / scene.width, thing.y / scene.height
    row = "top" if y < EDGES[0] else "bottom" if y > EDGES[1] else ""
    column = "left" if x < EDGES[0] else "right" if x > EDGES[1] else ""
    if not row and not column:
        return "in the center"
    return f"at the {f'{row} {column}'.strip()}" if row else f"on the {column}"


def what(scene: Scene) -> str:
    """The things from left to right, as a sentence's beginning."""
    if scene.uniform:
        from_one = scene.things[0]
        return f"{count(len(scene.things))[:-1]} {from_one.colour} {plural(from_one.shape)}".lower()
    return listing([a(thing.name) for thing in scene.things])


def _whole(rng: Random, scene: Scene) -> list[Turn]:
    things = scene.things
    many = f"{count(len(things))[:-1].lower()} shape{'s' if len(things) > 1 else ''}"
    detail = listing([f"{a(thing.name)} {place(thing, scene)}" for thing in things])
    return [
        turn(rng, WHAT, cap(what(scene)) + ".", "what"),
        turn(rng, DESCRIBE, f"The image shows {many} on a {scene.ground} background: {detail}.", "describe"),
        turn(rng, ("How many shapes are there?", "How many shapes are in the image?", "Count the shapes.", "How many objects do you see?"), count(len(things)), "count"),
        turn(rng, ("What color is the background?", "What is the background color?"), f"The background is {scene.ground}.", "ground"),
    ]  # fmt: skip


def _about_one_kind(rng: Random, scene: Scene) -> list[Turn]:
    one, many = scene.things[0], len(scene.things)
    name = plural(one.shape)
    return [
        turn(rng, WHAT, f"{cap(what(scene))}.", "what"),
        turn(rng, DESCRIBE, f"The image shows {what(scene)} on a {scene.ground} background.", "describe"),
        turn(rng, (f"How many {name} are there?", f"Count the {name}.", "How many shapes are there?", f"How many {one.colour} {name} do you see?"), count(many), "count"),
        turn(rng, (f"What color are the {name}?", f"What colour are the {name}?"), f"The {name} are {one.colour}.", "colour"),
        turn(rng, ("What color is the background?",), f"The background is {scene.ground}.", "ground"),
        _exists(rng, scene),
    ]  # fmt: skip


def _alone(scene: Scene, by: str) -> list[Thing]:
    """Things that no other shares this property with."""
    seen = [getattr(thing, by) for thing in scene.things]
    return [thing for thing in scene.things if seen.count(getattr(thing, by)) == 1]


def _singles(rng: Random, scene: Scene) -> list[Turn]:
    turns = []
    for thing in _alone(scene, "shape"):
        s = thing.shape
        asked = (
            f"What color is the {s}?",
            f"What colour is the {s}?",
            f"Which color does the {s} have?",
            f"What is the {s}'s color?",
            f"Color of the {s}?",
        )
        turns.append(turn(rng, asked, f"The {s} is {thing.colour}.", "colour"))
    for thing in _alone(scene, "colour"):
        c = thing.colour
        asked = (
            f"Which shape is {c}?",
            f"What is the {c} shape?",
            f"What is {c} in the image?",
            f"What shape is the {c} object?",
            f"What is the {c} thing?",
        )
        turns.append(turn(rng, asked, f"The {c} shape is {a(thing.shape)}.", "shape"))
    sized = sorted(scene.things, key=lambda thing: thing.radius)
    if len(sized) > 1 and sized[-1].radius > 1.25 * sized[-2].radius:
        turns.append(
            turn(
                rng,
                ("Which shape is the biggest?", "What is the largest shape?", "Which is the biggest?"),
                f"The {sized[-1].name}.",
                "size",
            )
        )
    if len(sized) > 1 and sized[1].radius > 1.25 * sized[0].radius:
        turns.append(
            turn(rng, ("Which shape is the smallest?", "What is the smallest shape?"), f"The {sized[0].name}.", "size")
        )
    return turns


def _presence(rng: Random, scene: Scene) -> list[Turn]:
    shape = rng.choice(SHAPES) if rng.random() < 0.3 else rng.choice(scene.things).shape
    found = sum(thing.shape == shape for thing in scene.things)
    name = plural(shape)
    turns = [
        turn(rng, (f"How many {name} are there?", f"How many {name} do you see?", f"Count the {name}.", f"Number of {name}?"), count(found), "count of"),
        _exists(rng, scene),
        _exists(rng, scene),
    ]  # fmt: skip
    colour = rng.choice(NAMES) if rng.random() < 0.3 else rng.choice(scene.things).colour
    found = sum(thing.colour == colour for thing in scene.things)
    turns.append(
        turn(rng, (f"How many {colour} shapes are there?", f"How many shapes are {colour}?"), count(found), "count of")
    )
    absent = [s for s in SHAPES if all(thing.shape != s for thing in scene.things)]
    if rng.random() < 0.3:
        s = rng.choice(absent)
        turns.append(
            turn(rng, (f"What color is the {s}?", f"Where is the {s}?"), f"There is no {s} in the image.", "absent")
        )
    return turns


def _exists(rng: Random, scene: Scene) -> Turn:
    thing = rng.choice(scene.things)
    shape, colour = thing.shape, thing.colour
    if rng.random() < 0.5:
        shape, colour = (rng.choice(SHAPES), colour) if rng.random() < 0.5 else (shape, rng.choice(NAMES))
    if rng.random() < 0.5:
        name, there = f"{colour} {shape}", any((t.shape, t.colour) == (shape, colour) for t in scene.things)
    else:
        name, there = shape, any(t.shape == shape for t in scene.things)
    asked = (
        f"Is there {a(name)}?",
        f"Is there {a(name)} in the image?",
        f"Do you see {a(name)}?",
        f"Can you see {a(name)}?",
        f"Does the image contain {a(name)}?",
    )
    return turn(rng, asked, f"Yes, there is {a(name)}." if there else f"No, there is no {name}.", "exists")


def _places(rng: Random, scene: Scene) -> list[Turn]:
    turns = []
    for thing in _alone(scene, "shape")[:3]:
        s = thing.shape
        asked = (
            f"Where is the {s}?",
            f"Where in the image is the {s}?",
            f"Position of the {s}?",
            f"Where is the {thing.name}?",
        )
        turns.append(turn(rng, asked, f"The {s} is {place(thing, scene)}.", "where"))
    if len(scene.things) > 1:
        turns += [_beside(rng, scene) for _ in range(2)] + [_relation(rng, scene) for _ in range(2)]
        down = sorted(scene.things, key=lambda thing: thing.y)
        if down[1].y - down[0].y > 0.1 * scene.height:
            turns.append(
                turn(
                    rng, ("Which shape is at the top?", "What is the topmost shape?"), f"The {down[0].name}.", "extreme"
                )
            )
        if down[-1].y - down[-2].y > 0.1 * scene.height:
            turns.append(
                turn(
                    rng,
                    ("Which shape is at the bottom?", "What is the lowest shape?"),
                    f"The {down[-1].name}.",
                    "extreme",
                )
            )
        turns.append(
            turn(
                rng,
                ("Which shape is leftmost?", "What is the leftmost shape?", "Which shape is furthest left?"),
                f"The {scene.things[0].name}.",
                "extreme",
            )
        )
        turns.append(
            turn(
                rng,
                ("Which shape is rightmost?", "What is the rightmost shape?", "Which shape is furthest right?"),
                f"The {scene.things[-1].name}.",
                "extreme",
            )
        )
    return turns


def _beside(rng: Random, scene: Scene) -> Turn:
    """The next thing to the left or right, in the order of their centres."""
    i = rng.randrange(len(scene.things))
    side = rng.choice(("left", "right"))
    j = i - 1 if side == "left" else i + 1
    name = scene.things[i].name
    answer = f"{cap(a(scene.things[j].name))}." if 0 <= j < len(scene.things) else "Nothing."
    asked = (
        f"What is to the {side} of the {name}?",
        f"What is {side} of the {name}?",
        f"Which shape is on the {side} of the {name}?",
    )
    return turn(rng, asked, answer, "beside")


def _relation(rng: Random, scene: Scene) -> Turn:
    one, other = rng.sample(scene.things, 2)
    across = abs(one.y - other.y) < 0.1 * scene.height or rng.random() < 0.5
    side = rng.choice(("left", "right") if across else ("above", "below"))
    truth = {"left": one.x < other.x, "right": one.x > other.x, "above": one.y < other.y, "below": one.y > other.y}[
        side
    ]
    asked = f"Is the {one.name} {DIRECTIONS[side]} the {other.name}?"
    return turn(rng, (asked,), "Yes." if truth else "No.", "relation")


def _follow_ups(rng: Random, scene: Scene) -> list[tuple[Turn, ...]]:
    """Conversations whose second question needs the first answer."""
    sized = sorted(scene.things, key=lambda thing: -thing.radius)
    if len(sized) < 2 or sized[0].radius <= 1.25 * sized[1].radius or rng.random() < 0.5:
        return []
    big = sized[0]
    first = turn(rng, ("Which shape is the biggest?", "What is the largest shape?"), f"The {big.name}.", "size")
    second = rng.choice((
        turn(rng, ("And where is it?", "Where is it?", "Where?"), f"The {big.shape} is {place(big, scene)}.", "follow"),
        turn(rng, ("What color is it?", "And its color?", "What is its color?"), f"The {big.shape} is {big.colour}.", "follow"),
        turn(rng, ("What shape is it?", "And its shape?"), f"The {big.colour} shape is {a(big.shape)}.", "follow"),
    ))  # fmt: skip
    return [(first, second)]
