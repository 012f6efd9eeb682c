"""What runs are called: one to three words from long lists, made-up words, numbered runs, and names close to each other."""

from random import Random

from demo.drawing import words

ADJECTIVES = """
    dark red swift calm bold wild quiet lucky silver golden rapid misty brave cosmic polar sunny amber ancient arctic atomic
    autumn azure bitter bright brisk broad bronze burning classic clean clever cold cool copper coral crimson crisp crystal
    curious daily dapper dawn deep delicate desert distant divine dry dusty eager early earnest easy electric elegant
    emerald eternal fading fair faithful famous fancy fast fearless fierce fine firm floral flying fragrant fresh frosty
    frozen gentle giant glad glorious graceful grand grateful great green hidden hollow holy humble icy iconic ivory jolly
    jumping kind late leafy light little lively lone long lunar major mellow mighty mild modest morning mystic neat nimble
    noble northern odd old olive pale patient peach placid plain playful pleasant polished proud pure purple radiant rare
    restless rich rising roaming rosy rough royal ruby rural rustic sandy scarlet secret serene shady sharp shiny shy silent
    sleek sleepy small smart smooth snowy soft solar solid spring stately steady steep stellar still stormy strong summer
    super sweet tender tidy timid tiny tough treasured true twilight upbeat urban valiant vast velvet violet vivid volcanic
    wandering warm weathered white wicked wise wispy young zesty
""".split()  # noqa: SIM905
NOUNS = """
    dragon fox river moon tiger eagle forest comet wolf storm panda ocean falcon lotus raven bear acorn anchor ant apple
    arrow aspen badger bamboo beacon bee birch bird blaze bloom boat breeze brook bush butterfly cactus candle canyon cave
    cedar cherry cliff cloud clover cobra coral crane creek crow darkness deer delta desert dew dolphin donkey dove dream
    drum dune dust ember energy feather fern field finch fire firefly fjord flame flower fog frog frost galaxy gale garden
    gecko ghost glacier glade goose grass grove hare harbor haze hawk heron hill horse iris island jackal jungle kite koala
    lagoon lake lantern lark laurel leaf lemon leopard lily lion lizard llama lynx maple marsh meadow meteor mole monkey moss
    moth mountain mouse nebula night oak orbit orchid otter owl oyster palm paper parrot peak pebble penguin pine planet plant
    plasma pond prairie puma pyramid quartz quest rabbit rain rainbow ranger reef resonance ridge robin rocket rose sail salmon
    sand sea seal shadow shape sheep silence sky smoke snail snow snowflake sound sparrow spider spruce squirrel star stone
    stork stream summit sun sunset surf swan terrain thunder totem tower tree trout tulip turtle universe valley vase violet
    voice water waterfall wave whale willow wind wing wood wren zebra
""".split()  # noqa: SIM905
ROLES = """
    baseline control ours train training valid validation test teacher student small medium large base tiny full ablation
    dropout warmup cosine linear adam adamw sgd muon lion frozen tuned pretrained scratch augmented distilled sparse dense
    encoder decoder model network ensemble pruned quantized reward loss accuracy eval dev main
""".split()  # noqa: SIM905
HELD_OUT = frozenset(word for word in {*ADJECTIVES, *NOUNS} if sum(map(ord, word)) % 6 == 0) - {
    *words.FIRST, *words.SECOND, *words.TRAINED,
}  # fmt: skip
_ADJECTIVES = [word for word in ADJECTIVES if word not in HELD_OUT]
_NOUNS = [word for word in NOUNS if word not in HELD_OUT]
NEW_ADJECTIVES = [word for word in ADJECTIVES if word in HELD_OUT]
NEW_NOUNS = [word for word in NOUNS if word in HELD_OUT]


def several(rng: Random, count: int) -> list[str]:
    """Different names, mostly in one manner; in some charts all but alike."""
    joint, case = (
        rng.choice((" ", " ", " ", "-", "-", "_")),
        rng.choice((str, str, str, str, str.capitalize, str.title)),
    )
    manner = rng.choices(
        (two_words, _numbered_words, one_word, _three_words, _invented, _numbered, _role),
        (45, 8, 10, 8, 14, 8, 7),
    )[0]
    mixed, close = rng.random() < 0.12, rng.random() < 0.3
    names: list[str] = []
    while len(names) < count:
        if names and close:
            name = _beside(rng, names[0], manner)
        else:
            name = (rng.choice((two_words, one_word, _invented, _role)) if mixed else manner)(rng)
        if name not in names and not HELD_OUT & set(name.split()):
            names.append(name)
    written = [case(name).replace(" ", joint) for name in names]
    return written if len(set(written)) == count else several(rng, count)


def two_words(rng: Random) -> str:
    return f"{rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)}"


def held_out(rng: Random, count: int) -> list[str]:
    """Two-word names of words that are in no training name."""
    pairs = zip(rng.sample(NEW_ADJECTIVES, count), rng.sample(NEW_NOUNS, count), strict=True)
    return [" ".join(pair) for pair in pairs]


def one_word(rng: Random) -> str:
    return rng.choice((*_NOUNS, *_ADJECTIVES, *ROLES))


def _numbered_words(rng: Random) -> str:
    return f"{two_words(rng)} {rng.randint(1, 99)}"


def _three_words(rng: Random) -> str:
    return f"{rng.choice(_ADJECTIVES)} {rng.choice(_ADJECTIVES)} {rng.choice(_NOUNS)}"


def _invented(rng: Random) -> str:
    one, other = (words.likely_word(rng) if rng.random() < 0.6 else words.made_up(rng).lower() for _ in range(2))
    return one if rng.random() < 0.4 else f"{one} {other}"


def _numbered(rng: Random) -> str:
    kind = rng.choice(("run", "model", "exp", "seed", "trial", "lr", "version", "bs"))
    if kind == "lr":
        return f"lr {rng.choice(('0.1', '0.01', '0.001', '0.3', '0.03', '0.003', '3e-4', '1e-3', '1e-4'))}"
    return f"{kind} {rng.choice('ABCDEF') if kind == 'model' else rng.randint(1, 40)}"


def _role(rng: Random) -> str:
    return rng.choice(ROLES) if rng.random() < 0.4 else f"{rng.choice(ROLES)} {rng.choice(ROLES)}"


def _beside(rng: Random, name: str, manner: object) -> str:
    """A name that shares all but one word with this one, or is another of its kind."""
    parts = name.split(" ")
    if len(parts) == 1:
        return f"{name} {rng.randint(2, 9)}" if rng.random() < 0.5 else one_word(rng)
    i = rng.randrange(len(parts))
    if parts[i].isdigit():
        parts[i] = str(rng.randint(1, 99))
    elif manner is _numbered:
        parts[-1] = str(rng.randint(1, 40)) if parts[-1].isdigit() else rng.choice("ABCDEF")
    else:
        parts[i] = rng.choice(_NOUNS if i == len(parts) - 1 else _ADJECTIVES)
    return " ".join(parts)
