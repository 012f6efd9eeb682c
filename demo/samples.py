"""A sample: pictures and the conversations about them."""

from dataclasses import dataclass, field

from demo.drawing.canvas import Picture


@dataclass(frozen=True, slots=True)
class Turn:
    """A question, its only right answer, and its kind (for the tables). `images` are shown with this turn, by index.

    `at` is where in the question the images stand: None for before it, else the number of characters ahead of them.
    An answer that is not `learned` is only what was said before.
    """

    question: str
    answer: str
    kind: str
    images: tuple[int, ...] = ()
    at: int | None = None
    learned: bool = True


@dataclass(frozen=True, slots=True)
class Sample:
    """Conversations about the same pictures. When `shared`, every picture opens each conversation (first turn, before the text)

    and one encoding of the pictures serves them all; otherwise there is one conversation, and its turns place the pictures.
    """

    family: str
    pictures: tuple[Picture, ...]
    conversations: tuple[tuple[Turn, ...], ...]
    shared: bool = True
    system: str | None = None
    words: tuple[str, ...] = field(default=())
