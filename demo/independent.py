"""A second drawing program, kept for evaluation: matplotlib, other palettes, other typefaces. No training picture comes from here.

It shares with the first program what can be asked (the facts of a picture) and nothing of how it is drawn.
"""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, Ellipse, FancyBboxPatch, Polygon, Rectangle, RegularPolygon

from demo.drawing import fonts, names, words
from demo.drawing.canvas import Picture, grid_of
from demo.drawing.charts import Bars, Line, Lines
from demo.drawing.prints import Print
from demo.drawing.runs import Runs, written
from demo.drawing.scenes import SHAPES, Scene, Thing
from demo.drawing.sketches import Part
from demo.drawing.views import Being, View
from demo.questions import charts as chart_questions
from demo.questions import pages, reading
from demo.questions import scenes as scene_questions
from demo.questions import views as view_questions
from demo.questions.runs import wrong_answer
from demo.samples import Sample, Turn

INCH = 100  # pixels
COLOURS = {
    "red": ("red", "crimson", "tab:red", "#d62728"), "green": ("green", "forestgreen", "tab:green", "limegreen"),
    "blue": ("blue", "royalblue", "tab:blue", "#1f4fd6"), "yellow": ("yellow", "gold"), "orange": ("orange", "darkorange", "tab:orange"),
    "purple": ("purple", "darkviolet", "tab:purple"), "pink": ("hotpink", "pink", "#ff9ac2"), "black": ("black", "#111111"),
    "gray": ("gray", "#7f7f7f"), "white": ("white",),
}  # fmt: skip
GROUNDS = {
    "white": "white",
    "light blue": "lightblue",
    "beige": "beige",
    "black": "black",
    "light green": "#c8f0c8",
    "gray": "#bfbfbf",
}
HIDDEN_ON = {
    "white": ("white",), "light blue": ("white", "gray", "pink"), "beige": ("white", "yellow", "pink"), "black": ("black", "gray"),
    "light green": ("white", "gray", "pink", "yellow"), "gray": ("gray", "white", "pink"),
}  # fmt: skip
SCENE_SIZES = ((640, 480), (800, 600), (512, 512), (480, 640), (320, 240), (240, 240))


class Sheet:
    """A figure of so many pixels with one axes over it, y pointing down."""

    def __init__(self, width: int, height: int, ground: str = "white") -> None:
        self.width, self.height = width, height
        self.figure = Figure((width / INCH, height / INCH), dpi=INCH, facecolor=ground)
        self.canvas: Any = FigureCanvasAgg(self.figure)

    def board(self) -> Any:
        axes = self.figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, self.width)
        axes.set_ylim(self.height, 0)
        axes.axis("off")
        return axes

    def picture(self) -> Picture:
        self.canvas.draw()
        pixels = np.asarray(self.canvas.buffer_rgba())[..., :3].copy()
        return Picture(pixels, np.zeros((0, 5), np.int16), grid_of(pixels))


def _face(rng: Random, pixels: float) -> FontProperties:
    path: Path = rng.choice(fonts.held_out())
    return FontProperties(fname=str(path), size=pixels * 72 / INCH)


def scene(rng: Random) -> Sample:
    width, height = rng.choice(SCENE_SIZES)
    ground = rng.choice(list(GROUNDS))
    sheet = Sheet(width, height, GROUNDS[ground])
    axes = sheet.board()
    colours = [name for name in COLOURS if name not in HIDDEN_ON[ground]]
    columns = rng.sample((0.14, 0.26, 0.44, 0.56, 0.74, 0.86), rng.randint(1, 4))
    things: list[Thing] = []
    for x in columns:
        shape, colour = rng.choice(SHAPES), rng.choice(colours)
        if any((thing.shape, thing.colour) == (shape, colour) for thing in things):
            continue
        radius = min(width * 0.055, height * 0.12) * rng.uniform(0.7, 1.0)
        things.append(Thing(shape, colour, x * width, rng.choice((0.2, 0.5, 0.8)) * height, radius))
    for thing in things:
        axes.add_patch(_patch(rng, thing))
    facts = Scene(tuple(sorted(things, key=lambda thing: thing.x)), ground, width, height)
    return Sample("scene", (sheet.picture(),), tuple(scene_questions.ask(rng, facts)))


def _patch(rng: Random, thing: Thing) -> Any:
    x, y, r = thing.x, thing.y, thing.radius
    look: dict[str, Any] = {
        "facecolor": rng.choice(COLOURS[thing.colour]),
        "edgecolor": rng.choice(("none", "none", "#444444")),
        "linewidth": 2,
    }
    if thing.shape == "circle":
        return Circle((x, y), r, **look)
    if thing.shape == "square":
        return Rectangle((x - r * 0.9, y - r * 0.9), r * 1.8, r * 1.8, **look)
    if thing.shape in ("triangle", "hexagon", "diamond"):
        corners = {"triangle": 3, "hexagon": 6, "diamond": 4}[thing.shape]
        return RegularPolygon((x, y), corners, radius=r * 1.1, orientation=np.pi if corners == 3 else 0, **look)
    return Polygon(_path(thing.shape, x, y, r), closed=True, **look)


def _path(shape: str, x: float, y: float, r: float) -> list[tuple[float, float]]:
    if shape == "star":
        turns = [(np.pi * i / 5 - np.pi / 2, r * 1.15 if i % 2 == 0 else r * 0.45) for i in range(10)]
        return [(x + q * np.cos(a), y + q * np.sin(a)) for a, q in turns]
    if shape == "heart":
        t = np.linspace(0, 2 * np.pi, 60)
        down = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        return list(zip(x + r * np.sin(t) ** 3, y - r / 16 * down, strict=True))
    w = r * 0.32
    arm = ((-w, -r), (w, -r), (w, -w), (r, -w), (r, w), (w, w), (w, r), (-w, r), (-w, w), (-r, w), (-r, -w), (-w, -w))
    return [(x + dx, y + dy) for dx, dy in arm]


def view(rng: Random) -> Sample:
    width, height = rng.choice(((640, 480), (800, 600), (512, 512)))
    sheet = Sheet(width, height, rng.choice(("skyblue", "#cfe8ff", "#ffd9b0")))
    axes = sheet.board()
    axes.add_patch(
        Rectangle((0, height * 0.45), width, height, facecolor=rng.choice(("yellowgreen", "tan", "#88b070")))
    )
    near, far = rng.choice((("person", "house"), ("person", "tree"), ("dog", "house"), ("person", "house")))
    xs = rng.sample((0.28, 0.72), 2)
    beings = [
        Being(
            near,
            rng.choice(("red", "blue", "green")),
            True,
            xs[0] * width,
            height * 0.92,
            height * 0.55 * (0.6 if near == "dog" else 1),
        ),
        Being(far, rng.choice(("red", "blue", "yellow")), False, xs[1] * width, height * 0.55, height * 0.28),
    ]
    for being in beings:
        _stand(rng, axes, being)
    facts = View(tuple(sorted(beings, key=lambda being: being.x)))
    return Sample("view", (sheet.picture(),), tuple(view_questions.ask(rng, facts)))


def _stand(rng: Random, axes: Any, being: Being) -> None:
    x, y, h = being.x, being.foot, being.height
    paint = rng.choice(COLOURS[being.colour])
    if being.kind == "person":
        axes.add_patch(Rectangle((x - h * 0.1, y - h * 0.45), h * 0.2, h * 0.45, facecolor="#334"))
        axes.add_patch(
            FancyBboxPatch((x - h * 0.12, y - h * 0.78), h * 0.24, h * 0.36, boxstyle="round,pad=0.02", facecolor=paint)
        )
        axes.add_patch(Circle((x, y - h * 0.89), h * 0.1, facecolor="#e0b090"))
    elif being.kind == "house":
        axes.add_patch(Rectangle((x - h * 0.5, y - h * 0.6), h, h * 0.6, facecolor=paint))
        axes.add_patch(
            Polygon([(x - h * 0.58, y - h * 0.6), (x, y - h), (x + h * 0.58, y - h * 0.6)], facecolor="firebrick")
        )
        axes.add_patch(Rectangle((x - h * 0.1, y - h * 0.3), h * 0.2, h * 0.3, facecolor="saddlebrown"))
    elif being.kind == "tree":
        axes.add_patch(Rectangle((x - h * 0.05, y - h * 0.45), h * 0.1, h * 0.45, facecolor="sienna"))
        axes.add_patch(Ellipse((x, y - h * 0.68), h * 0.62, h * 0.64, facecolor="darkgreen"))
    else:
        axes.add_patch(Ellipse((x, y - h * 0.45), h * 1.1, h * 0.42, facecolor="peru"))
        axes.add_patch(Circle((x + h * 0.55, y - h * 0.72), h * 0.2, facecolor="peru"))
        for dx in (-0.4, -0.2, 0.2, 0.35):
            axes.add_patch(Rectangle((x + dx * h, y - h * 0.4), h * 0.09, h * 0.4, facecolor="peru"))


def bars(rng: Random) -> Sample:
    width, height = rng.choice(((640, 480), (800, 500), (640, 400)))
    sheet = Sheet(width, height)
    axes: Any = sheet.figure.add_axes((0.12, 0.14, 0.84, 0.74))
    highest, step = rng.choice(((10, 1), (10, 1), (20, 2), (100, 10)))
    count = rng.randint(2, 5)
    values = tuple(step * rng.randint(1, highest // step) for _ in range(count))
    names = tuple(rng.sample([name for name in COLOURS if name not in ("white", "gray")], count))
    group = rng.choice([group for group in words.LABELS if len(group) >= count])
    labels = group[:count] if rng.random() < 0.7 else None
    axes.bar(range(count), values, width=rng.uniform(0.55, 0.85), color=[rng.choice(COLOURS[name]) for name in names])
    face = _face(rng, 30 * width / 640)
    axes.set_xticks(range(count) if labels else [], labels or [], fontproperties=face)
    axes.set_yticks(range(0, highest + 1, highest // 5), range(0, highest + 1, highest // 5), fontproperties=face)
    axes.set_ylim(0, highest * 1.03)
    if rng.random() < 0.5:
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    title = rng.choice(words.TITLES) if rng.random() < 0.4 else None
    if title:
        axes.set_title(title, fontproperties=_face(rng, 32 * width / 640))
    return Sample("bars", (sheet.picture(),), tuple(chart_questions.ask_bars(rng, Bars(values, names, labels, title))))


def lines(rng: Random) -> Sample:
    width, height = rng.choice(((640, 480), (800, 500)))
    sheet = Sheet(width, height)
    axes: Any = sheet.figure.add_axes((0.13, 0.14, 0.83, 0.8))
    count, steps = rng.randint(1, 3), rng.choice((6, 8, 10))
    unit = rng.choice((1, 10, 100)) if steps < 10 else 1
    at = [unit * (i + 1) for i in range(steps)]
    log = rng.random() < 0.3
    names = rng.sample(("red", "blue", "green", "orange", "purple", "black"), count)
    named = rng.random() < 0.6
    courses = _apart(rng, names, named, at)
    for colour, (level, line) in zip(names, courses, strict=True):
        axes.plot(
            at,
            [10 ** (y / 5 - 1) for y in level] if log else level,
            color=rng.choice(COLOURS[colour][:3]),
            label=line.name,
            linewidth=3,
        )
    face = _face(rng, 28 * width / 640)
    if log:
        axes.set_yscale("log")
        axes.set_ylim(0.1, 10 ** (1.9 if named else 1.1))
    else:
        axes.set_ylim(0, 15 if named else 10.5)
    axes.set_xticks(at, at, fontproperties=face)
    for label in axes.get_yticklabels():
        label.set_fontproperties(face)
    if named:
        axes.legend(prop=_face(rng, 28 * width / 640), loc="upper right")
    facts = Lines(tuple(line for _, line in courses), None, log)
    return Sample("lines", (sheet.picture(),), tuple(chart_questions.ask_lines(rng, facts)))


def _apart(rng: Random, colours: list[str], named: bool, at: list[int]) -> list[tuple[list[float], Line]]:
    """Courses of which none lies under another for most of its way."""
    while True:
        courses = [_course(rng, colour, words.run_name(rng) if named else None, at) for colour in colours]
        pairs = combinations([level for level, _ in courses], 2)
        if named and len({line.name for _, line in courses}) < len(courses):
            continue
        if all(sum(abs(a - b) > 0.7 for a, b in zip(*pair, strict=True)) * 2 >= len(at) for pair in pairs):
            return courses


def _course(rng: Random, colour: str, name: str | None, at: list[int]) -> tuple[list[float], Line]:
    trend = rng.choice(("up", "down", "flat", "wrong", "wrong", "spike"))
    n = len(at)
    if trend == "wrong":
        turn = rng.randint(2, n - 3)
        level = [
            1.5 + 7 * (1 - i / turn) ** 1.5 if i <= turn else 1.5 + 6 * (i - turn) / (n - 1 - turn) for i in range(n)
        ]
        return level, Line(colour, name, trend, str(at[turn]))
    if trend == "spike":
        turn, base = rng.randint(1, n - 2), rng.uniform(2, 4.5)
        return [base + (4.5 if i == turn else 0) for i in range(n)], Line(colour, name, trend, str(at[turn]))
    low, high = rng.uniform(1, 3), rng.uniform(7, 9)
    ramp = [low + (high - low) * i / (n - 1) for i in range(n)]
    return {"up": ramp, "down": ramp[::-1], "flat": [low + 3] * n}[trend], Line(colour, name, trend, None)


def runs(rng: Random) -> Sample:
    """Two or three named runs, one of which turns; asked when things went wrong for it or for one that only falls."""
    width, height = rng.choice(((640, 480), (800, 500), (800, 600)))
    count, ticks = rng.choice((2, 2, 3)), rng.choice((6, 7, 8, 9))
    unit = rng.choice((1, 1, 1, 10, 100, 500, 1000, 1000, 2000, 5000, 10_000))
    thousands = rng.choice(("plain", "k")) if unit >= 500 else "plain"
    steps = [written(unit * (i + 1), thousands) for i in range(ticks)]
    fine = rng.choice((1, 1, 10))
    colours = rng.sample(("red", "blue", "green", "orange", "purple", "black"), count)
    called = names.held_out(rng, count) if rng.random() < 0.8 else ["dark dragon", *names.held_out(rng, count - 1)]
    turn = rng.randint(2, ticks - 2)
    courses = [_turning(rng, ticks, fine, turn), *(_falling(rng, ticks, fine) for _ in range(count - 1))]
    lines = [Line(colours[0], called[0], "wrong", steps[turn])]
    lines += [Line(colour, name, "down", None) for colour, name in zip(colours[1:], called[1:], strict=True)]
    order = rng.sample(range(count), count)
    sheet = Sheet(width, height)
    _plot_runs(rng, sheet, [lines[i] for i in order], [courses[i] for i in order], steps)
    chart = Runs(tuple(lines[i] for i in order), (), tuple(steps), False, fine > 1, None)
    line = lines[0] if rng.random() < 0.75 else lines[1]
    asked = Turn(
        f"When did things start to go wrong for {line.name}?",
        wrong_answer(chart, line, line.name) or "",
        "run wrong by name",
    )
    return Sample("runs", (sheet.picture(),), ((asked,),))


def _plot_runs(rng: Random, sheet: Sheet, lines: list[Line], courses: list[list[float]], steps: list[str]) -> None:
    place = rng.choice(("upper right", "upper center", "above", "above", "below", "right"))
    left, bottom, across, up = {
        "above": (0.13, 0.13, 0.83, 0.68), "below": (0.13, 0.3, 0.83, 0.66), "right": (0.13, 0.13, 0.5, 0.82),
    }.get(place, (0.13, 0.13, 0.83, 0.82))  # fmt: skip
    axes: Any = sheet.figure.add_axes((left, bottom, across, up))
    letters = (22 if place == "right" else 28) * sheet.width / 640
    log, wide = rng.random() < 0.3, rng.choice((2, 3, 4))
    for line, course in zip(lines, courses, strict=True):
        at = np.linspace(0, len(steps) - 1, len(course))
        heights = [10 ** (y / 5 - 1) for y in course] if log else course
        paint = rng.choice(COLOURS[line.colour][:3])
        axes.plot(
            at, heights, color=paint, label=line.name, linewidth=wide, marker="o" if len(course) == len(steps) else None
        )
    room = 15 if place.startswith("upper") else 10.5
    if log:
        axes.set_yscale("log")
        axes.set_ylim(0.1, 10 ** (room / 5 - 1))
    else:
        axes.set_ylim(0, room)
    face = _face(rng, (24 if max(map(len, steps)) > 3 else 28) * sheet.width / 640)
    every = 1 if sum(map(len, steps)) * 15 < 640 * across else 2
    axes.set_xticks(range(every - 1, len(steps), every), steps[every - 1 :: every], fontproperties=face)
    for label in axes.get_yticklabels():
        label.set_fontproperties(face)
    if rng.random() < 0.4:
        axes.grid()
    places: dict[str, dict[str, Any]] = {
        "above": {"loc": "lower center", "bbox_to_anchor": (0.45, 1.0), "ncols": 1 if len(lines) > 2 else 2},
        "below": {"loc": "upper center", "bbox_to_anchor": (0.45, -0.16), "ncols": 1 if len(lines) > 2 else 2},
        "right": {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)},
    }  # fmt: skip
    where = places.get(place, {"loc": place})
    if len(lines) > 2 and place in ("above", "below"):
        letters *= 0.72
    axes.legend(
        prop=_face(rng, letters),
        frameon=rng.random() < 0.5,
        handlelength=1.2,
        columnspacing=0.8,
        handletextpad=0.4,
        borderaxespad=0.3,
        labelspacing=0.25,
        **where,
    )


def _turning(rng: Random, ticks: int, fine: int, turn: int) -> list[float]:
    """Down to 1.5 at the turn, and up again."""
    high, top, points = rng.uniform(6, 9.5), rng.uniform(5, 9.5), (ticks - 1) * fine + 1
    at = turn * fine
    return [
        1.2 + (high - 1.2) * (1 - i / at) ** 1.5 if i <= at else 1.2 + (top - 1.2) * (i - at) / (points - 1 - at)
        for i in range(points)
    ]


def _falling(rng: Random, ticks: int, fine: int) -> list[float]:
    high, low, bend = rng.uniform(5, 9.8), rng.uniform(0.5, 3), rng.choice((0.2, 1.5, 3.0))
    points = (ticks - 1) * fine + 1
    parts = [(np.exp(-bend * i / (points - 1)) - np.exp(-bend)) / (1 - np.exp(-bend)) for i in range(points)]
    return [float(low + (high - low) * part) for part in parts]


def prints(rng: Random) -> Sample:
    width, height = rng.choice(((640, 200), (640, 320), (400, 160)))
    ground, ink = rng.choice(
        (("white", "black"), ("ivory", "navy"), ("black", "white"), ("gold", "black"), ("seagreen", "white"))
    )
    sheet = Sheet(width, height, ground)
    text = words.cased(rng, rng.choice((words.trained_word(rng), words.held_out_word(rng), str(rng.randint(10, 9999)))))
    size = rng.uniform(30, 60) * width / 640
    sheet.board().text(
        width * 0.5,
        height * rng.choice((0.4, 0.5, 0.6)),
        text,
        color=ink,
        fontproperties=_face(rng, size),
        ha="center",
        va="center",
    )
    return Sample("print", (sheet.picture(),), tuple(reading.ask(rng, Print((text,), None))), words=(text,))


def sketch(rng: Random) -> Sample:
    width, height = rng.choice(((640, 480), (600, 600), (480, 640)))
    sheet = Sheet(width, height, rng.choice(("white", "ivory", "#f4f4f4")))
    axes = sheet.board()
    face = _face(rng, 30)
    parts: list[Part] = []
    y = 20.0
    for kind in (
        "title",
        *rng.choices(("input", "select", "button", "checkbox", "paragraph", "image"), k=rng.randint(2, 4)),
    ):
        tall = {"title": 60, "image": 110, "paragraph": 60}.get(kind, 50)
        if y + tall > height - 10:
            break
        text = rng.choice(words.INTERFACE) if kind not in ("paragraph", "image") else ""
        _SKETCH[kind](axes, 40.0, y, width * 0.6, float(tall), text, face)
        parts.append(Part(kind, text))
        y += tall + rng.uniform(15, 28)
    return Sample("sketch", (sheet.picture(),), tuple(pages.ask(rng, parts)))


def _outline(axes: Any, x: float, y: float, w: float, h: float) -> None:
    axes.add_patch(Rectangle((x, y), w, h, fill=False, linewidth=2)).set_sketch_params(1.5, 80, 20)


def _stroke(axes: Any, xs: list[float], ys: list[float]) -> None:
    axes.plot(xs, ys, color="black", linewidth=2)[0].set_sketch_params(1.5, 80, 20)


def _write(axes: Any, x: float, y: float, text: str, face: FontProperties) -> None:
    axes.text(x, y, text, fontproperties=face, va="center")


def _title(axes: Any, x: float, y: float, w: float, h: float, text: str, face: FontProperties) -> None:
    _outline(axes, 10, y, w / 0.6 - 20, h)
    _write(axes, 26, y + h / 2, text, face)


def _input(axes: Any, x: float, y: float, w: float, h: float, text: str, face: FontProperties) -> None:
    _outline(axes, x, y, w, h)
    _write(axes, x + 14, y + h / 2, text, face)


def _select(axes: Any, x: float, y: float, w: float, h: float, text: str, face: FontProperties) -> None:
    _input(axes, x, y, w, h, text, face)
    axes.add_patch(
        Polygon([(x + w - 40, y + h * 0.38), (x + w - 14, y + h * 0.38), (x + w - 27, y + h * 0.7)], facecolor="black")
    )


def _button(axes: Any, x: float, y: float, w: float, h: float, text: str, face: FontProperties) -> None:
    wide = 20 * len(text) + 40
    axes.add_patch(
        FancyBboxPatch((x, y), wide, h, boxstyle="round,pad=0,rounding_size=18", facecolor="lightgray", linewidth=2)
    )
    axes.text(x + wide / 2, y + h / 2, text, fontproperties=face, va="center", ha="center")


def _checkbox(axes: Any, x: float, y: float, w: float, h: float, text: str, face: FontProperties) -> None:
    _outline(axes, x, y + 8, 32, 32)
    _write(axes, x + 48, y + h / 2, text, face)


def _paragraph(axes: Any, x: float, y: float, w: float, h: float, text: str, face: FontProperties) -> None:
    for i, end in enumerate((1.0, 1.0, 0.6)):
        _stroke(axes, [x, x + w * end], [y + 10 + i * 20, y + 10 + i * 20])


def _image(axes: Any, x: float, y: float, w: float, h: float, text: str, face: FontProperties) -> None:
    _outline(axes, x, y, h * 1.6, h)
    _stroke(axes, [x, x + h * 1.6], [y, y + h])
    _stroke(axes, [x, x + h * 1.6], [y + h, y])


_SKETCH: dict[str, Callable[[Any, float, float, float, float, str, FontProperties], None]] = {
    "title": _title, "input": _input, "select": _select, "button": _button, "checkbox": _checkbox, "paragraph": _paragraph,
    "image": _image,
}  # fmt: skip
FAMILIES: dict[str, Callable[[Random], Sample]] = {
    "scene": scene, "view": view, "bars": bars, "lines": lines, "runs": runs, "print": prints, "sketch": sketch,
}  # fmt: skip
