"""Questions about printed words."""

from random import Random

from demo.drawing.prints import Print
from demo.questions import talk
from demo.questions.phrases import ORDINALS, count, dialogues, turn
from demo.samples import Turn

READ = (
    "What does the image say?", "Read the text.", "What is written here?", "What text is in the image?", "What does it say?",
    "What is the text?", "Read this.", "What does the sign say?", "Transcribe the text.",
)  # fmt: skip


def ask(rng: Random, shown: Print, most: int = 5) -> list[tuple[Turn, ...]]:
    text = "\n".join(shown.lines)
    kind = "read" if len(shown.lines) == 1 else "read lines"
    turns = [turn(rng, READ, text, kind)]
    if len(shown.lines) > 1:
        turns += [
            turn(rng, (f"What is in the {o} line?", f"Read the {o} line."), line, "read")
            for o, line in zip(ORDINALS, shown.lines, strict=False)
        ]
        turns.append(
            turn(
                rng,
                ("How many lines are there?", "How many lines of text are there?"),
                count(len(shown.lines)),
                "read count",
            )
        )
    else:
        letters = text.replace(" ", "")
        if " " not in text and len(letters) < 13:
            turns.append(
                turn(
                    rng,
                    ("How many characters are there?", "How many characters does it have?"),
                    count(len(letters)),
                    "read count",
                )
            )
            turns.append(turn(rng, ("Spell it.", "Spell the text."), " ".join(letters), "read letters"))
        turns.append(
            turn(rng, ("What is the first character?", "Which character comes first?"), letters[0], "read letters")
        )
        turns.append(
            turn(rng, ("What is the last character?", "Which character comes last?"), letters[-1], "read letters")
        )
    if shown.sign:
        turns.append(
            turn(
                rng,
                ("What color is the sign?", "What colour is the sign?"),
                f"The sign is {shown.sign}.",
                "sign colour",
            )
        )
    talks = dialogues(rng, turns, most)
    if rng.random() < 0.15:
        talks.append((talk.cannot_tell(rng),))
    return talks
