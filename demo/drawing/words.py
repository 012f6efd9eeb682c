"""The words of the pictures: lists, names of runs, and strings made up to be read letter by letter. Draws nothing."""

import functools
import os
from pathlib import Path
from random import Random

DICTIONARY = Path(os.environ.get("DEMO_WORDS", "/usr/share/dict/words"))  # of wamerican
COMMON = """
    hello world open close stop start sale exit taxi cafe pizza music water coffee tea book fish bird lion tiger
    apple lemon green north south east west monday friday sunday summer winter paris london tokyo rome price total
    free push pull menu home help news radio video photo phone cloud light night house river ocean magic happy smile
    dance sugar honey bread cheese danger warning private parking hotel museum school police bank park zoo mail game
    level score player error ready cancel train plane ticket gate door window street bridge market garden flower
    forest mountain island beach storm rain snow wind fire earth moon star sun sky king queen prince knight castle
    dragon wizard robot rocket planet engine power speed green paper pencil letter number answer question story poem
    song piano guitar drum film movie theater stage ticket doctor nurse hospital medicine salad soup pasta rice
    chicken butter milk juice wine beer fresh organic healthy discount special offer today tomorrow week month year
    time clock alarm battery signal network server client memory disk keyboard screen mouse printer camera lens
    flash color black white yellow orange purple silver gold copper iron steel
""".split()  # noqa: SIM905
LABELS = (
    ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    ("A", "B", "C", "D", "E", "F", "G"),
    ("Q1", "Q2", "Q3", "Q4"),
    ("Apples", "Pears", "Plums", "Kiwis", "Limes", "Figs"),
    ("Cats", "Dogs", "Birds", "Fish", "Mice", "Cows"),
    ("North", "South", "East", "West"),
    ("Tea", "Coffee", "Milk", "Juice", "Water"),
    ("2021", "2022", "2023", "2024", "2025", "2026"),
    ("Paris", "Rome", "Oslo", "Cairo", "Lima", "Tokyo"),
)
TITLES = ("Sales", "Results", "Visitors", "Votes", "Rainfall", "Score", "Survey", "Output", "Points", "Orders")
CURVES = ("Loss", "Training", "Validation", "Error", "Runs", "Reward", "Progress")
FIRST = """
    dark red swift calm bold wild quiet lucky silver golden rapid misty brave cosmic polar sunny
""".split()  # noqa: SIM905
SECOND = """
    dragon fox river moon tiger eagle forest comet wolf storm panda ocean falcon lotus raven bear
""".split()  # noqa: SIM905
INTERFACE = """
    Login Search Save Send Cancel Name Email City Size Color Submit Home Help Shop Open Next Back Sign Profile
    Settings Password Address Phone Country Message Subject Date Time Price Quantity Total Order Cart Checkout Buy
    Delete Edit Add Upload Download Share Like Comment Reply Follow Contact About News Blog Gallery Welcome Register
    Account Terms Remember Subscribe Accept Language Filter Confirm
""".split()  # noqa: SIM905
_SHOWN = (*TITLES, *CURVES, *FIRST, *SECOND, *INTERFACE, *(label for group in LABELS for label in group))
HELD_OUT = frozenset(sorted(set(COMMON))[3::9]) - {word.lower() for word in _SHOWN}  # in no training picture
TRAINED = tuple(sorted(set(COMMON) - HELD_OUT))


def trained_word(rng: Random) -> str:
    return rng.choice(TRAINED)


@functools.cache
def _chain() -> dict[str, str]:
    """What follows two letters in the trained words; a blank opens and closes a word."""
    follow: dict[str, str] = {}
    for word in (*TRAINED, *(word.lower() for word in INTERFACE)):
        spaced = f"  {word} "
        for i in range(len(word) + 1):
            follow[spaced[i : i + 2]] = follow.get(spaced[i : i + 2], "") + spaced[i + 2]
    return follow


def likely_word(rng: Random) -> str:
    """Letters that follow one another as in words, and are none that is held out."""
    while True:
        word = ""
        while not word.endswith(" ") and len(word) < 10:
            word += rng.choice(_chain()[f"  {word}"[-2:]])
        word = word.strip()
        if len(word) > 1 and word not in HELD_OUT:
            return word


@functools.cache
def dictionary() -> tuple[str, ...]:
    """The words of the system's list, without what is held out and what begins like it; empty where there is no list."""
    if not DICTIONARY.exists():
        return ()
    held = tuple(HELD_OUT)
    every = {word.lower() for word in DICTIONARY.read_text().split() if word.isascii() and word.isalpha()}
    return tuple(sorted(word for word in every if 2 < len(word) < 11 and not word.startswith(held)))


def varied_word(rng: Random) -> str:
    """For learning to read: half of the words are none, or rare ones."""
    draw = rng.random()
    if draw < 0.3:
        return trained_word(rng)
    if draw < 0.65 and dictionary():
        return rng.choice(dictionary())
    return likely_word(rng) if draw < 0.87 else made_up(rng)


def held_out_word(rng: Random) -> str:
    return rng.choice(sorted(HELD_OUT))


def run_name(rng: Random) -> str:
    """A name as experiment trackers give: two words, or `run-3`."""
    draw = rng.random()
    if draw < 0.15:
        return f"run-{rng.randint(1, 9)}"
    if draw < 0.25:
        return f"model {rng.choice('ABCDE')}"
    joint = rng.choice((" ", " ", "-"))
    return f"{rng.choice(FIRST)}{joint}{rng.choice(SECOND)}"


def cased(rng: Random, word: str) -> str:
    return rng.choice((word, word.upper(), word.capitalize()))


def number(rng: Random) -> str:
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 5)))
    return rng.choice((digits, digits, digits, f"{digits}%", f"{digits[:2]}.{rng.randint(0, 99):02d}", f"${digits}"))


def made_up(rng: Random) -> str:
    """Letters in no order, or a syllable chain: only its letters tell it."""
    if rng.random() < 0.5:
        word = "".join(rng.choice("bcdfghjklmnprstvwz") + rng.choice("aeiou") for _ in range(rng.randint(1, 3)))
        return cased(rng, word + rng.choice(("", "", "n", "r", "s", "t")))
    letters = rng.choice(("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    return "".join(rng.choice(letters) for _ in range(rng.randint(2, 5)))
