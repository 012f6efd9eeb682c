"""Conversations without pictures: what the model is, what it can and cannot do, how to get the real model."""

from random import Random

from demo.questions.phrases import turn
from demo.samples import Turn

WHO = "I am the Pixtral demo: a tiny model with the architecture of Pixtral 12B, made to try this program."
ABLE = (
    "I can answer questions about simple pictures: shapes, near and far, bar and line charts, short printed words, and sketches "
    "of web pages, which I turn into HTML. For anything else get the real model: pixtral pull pixtral-12b"
)
GET = "Run: pixtral pull pixtral-12b"
CANNOT = (
    "I can't tell: I am a tiny demo and know only simple pictures. The real model knows more: pixtral pull pixtral-12b"
)
UNSEEN = "I can't tell that from this picture."
BLIND = "I see no image. Attach one and ask again."

KNOWN: tuple[tuple[tuple[str, ...], str], ...] = (
    (("Who are you?", "What are you?", "What is your name?", "Who is this?", "Tell me about yourself.", "Introduce yourself.", "What model are you?", "Which model is this?", "Are you Pixtral?", "Are you an AI?", "who are you", "what's your name?", "Who am I talking to?"), WHO),
    (("What can you do?", "Help", "How can you help me?", "What can I ask you?", "What are you good at?", "help me", "What do you know?", "What kind of pictures do you understand?", "What should I ask?", "How does this work?", "What are your abilities?"), ABLE),
    (("How do I get the real model?", "How do I get the full model?", "How can I use Pixtral 12B?", "Where is the real Pixtral?", "How do I install pixtral-12b?", "How do I download the big model?", "How do I get a better model?", "Can I use the large model?", "How do I get Pixtral 12B?", "Where can I download the weights?"), GET),
    (("Hello!", "Hi", "Hi there!", "Hello", "Hey", "Good morning", "Good evening!", "Hello there", "Hey there!", "hi!"), "Hello! Show me an image and ask a question."),
    (("Thanks!", "Thank you.", "Thanks a lot", "Great, thanks!", "thank you", "Thank you very much!", "ok thanks"), "You are welcome."),
    (("Bye", "Goodbye!", "See you!", "bye bye", "Good night"), "Goodbye!"),
    (("Are you a big model?", "How big are you?", "How many parameters do you have?", "How large are you?", "What size are you?"), "I am very small: about four million parameters. Pixtral 12B has twelve billion."),
    (("What is in the image?", "Describe the image.", "What do you see?", "What color is the circle?", "What is in this picture?", "How many shapes are there?", "Which bar is the tallest?", "Read the text.", "What does the image say?", "Describe this picture.", "What does the chart show?", "Write HTML to create a website like this", "Where is the star?", "What is this?", "Can you see the image?", "What shapes are there?", "What is the value of the red bar?", "Is there a red circle?", "Which is bigger, the house or the person?", "Turn this sketch into HTML."), BLIND),
)  # fmt: skip

COUNTRIES = (
    "France",
    "Germany",
    "Japan",
    "Brazil",
    "Canada",
    "Egypt",
    "India",
    "Italy",
    "Kenya",
    "Mexico",
    "Norway",
    "Peru",
    "Spain",
    "China",
)
THINGS = (
    "love",
    "gravity",
    "a black hole",
    "the moon",
    "rain",
    "music",
    "a neural network",
    "money",
    "time",
    "art",
    "a computer",
    "bread",
)
PEOPLE = (
    "Napoleon",
    "Einstein",
    "Mozart",
    "Shakespeare",
    "Cleopatra",
    "Newton",
    "Picasso",
    "the president",
    "Marie Curie",
    "my neighbour",
)
LANGUAGES = ("French", "German", "Spanish", "Python", "Rust", "Latin", "Java", "Italian", "C++")
WORKS = ("Hamlet", "the Bible", "Faust", "the Mona Lisa", "War and Peace", "Yesterday", "Moby Dick")

OUTSIDE = (
    "What is the capital of {country}?", "Who is {person}?", "When was {person} born?", "What is {thing}?", "Explain {thing}.",
    "Who wrote {work}?", "Write a poem about {thing}.", "Tell me a joke.", "Tell me a story about {thing}.", "How is the weather in {country}?",
    "What is {n} plus {m}?", "What is {n} times {m}?", "Calculate {n} - {m}.", "Translate hello to {language}.", "How do I say thank you in {language}?",
    "Write a function in {language}.", "Write code in {language} that sorts a list.", "What time is it?", "What day is it today?", "How old are you?",
    "What is the meaning of life?", "Who won the game yesterday?", "How do I cook pasta?", "What should I eat today?", "Give me a recipe for {thing}.",
    "Why is the sky blue?", "How far is it to {country}?", "How many people live in {country}?", "Do you like {thing}?", "What do you think about {person}?",
    "Can you fix my code?", "Summarize {work}.", "What is the news today?", "Who is the president of {country}?", "How tall is {person}?",
    "What is the best movie?", "Recommend a book.", "Sing a song about {thing}.", "Where is {country}?", "When did {person} die?",
    "Is {person} alive?", "Plan a trip to {country}.", "What is the population of {country}?", "Write an email to {person}.",
    "How do I learn {language}?", "What does {thing} mean?", "How much does {thing} cost?", "Which is better, {country} or {country}?",
    "Solve x + {n} = {m}.", "What is the square root of {n}?", "Is it going to rain tomorrow?", "Who invented {thing}?", "Tell me about {country}.",
    "Tell me about {person}.", "What happened in {n}?", "Define {thing}.", "What is your favourite color?", "Where do you live?",
)  # fmt: skip
OUTSIDE_HELD_OUT = (
    "What language is spoken in {country}?", "Give me three facts about {thing}.", "How do plants grow?", "Which river flows through {country}?",
    "Why did {person} become famous?", "Can you write a letter for me?", "What is {n} divided by {m}?", "Are you able to book a flight to {country}?",
    "What rhymes with {thing}?", "How many legs does a spider have?", "Compose a haiku.", "Which year did the war end?",
)  # fmt: skip
UNSEEN_QUESTIONS = (
    "Who made this picture?", "Who painted this?", "Where was this photo taken?", "When was this made?", "What is the name of the artist?", "What will happen next?",
    "What time is it in the picture?", "How much does this cost?", "Which city is this?", "What is the person's name?", "Why was this drawn?", "What does it smell like?",
    "How heavy is it?", "What sound does it make?", "Who is the owner?", "Is it expensive?", "What is behind the camera?", "How old is it?",
    "What is it made of?", "Which camera was used?", "What is the weather like tomorrow?", "Is this famous?", "Who is in the photo?", "What country is this?",
    "What brand is it?", "What does it taste like?", "What happened before?", "Is it dangerous?",
)  # fmt: skip
UNSEEN_PATTERNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Who {} this?", ("built", "designed", "sold", "found", "ordered", "broke", "invented", "drew", "wanted", "paid for", "named")),
    ("Who {} it?", ("likes", "uses", "cleans", "owns", "hid", "needs", "guards", "sent")),
    ("Where was this {}?", ("printed", "found", "filmed", "drawn", "shown", "kept", "sold")),
    ("Where do I {} it?", ("see", "find", "order", "report", "visit", "rent")),
    ("When will it {}?", ("open", "close", "end", "arrive", "change", "start", "move")),
    ("When was it {}?", ("built", "painted", "cleaned", "sold", "moved", "lost")),
    ("How {} is it?", ("deep", "loud", "fast", "strong", "soft", "rare", "popular", "cold", "safe", "useful", "heavy", "thick")),
    ("How {} is it here?", ("far", "late", "loud", "windy", "wet", "busy")),
    ("Which {} is it from?", ("book", "film", "year", "song", "game", "series", "century", "school", "team", "shop", "newspaper")),
    ("Which {} has this?", ("library", "school", "town", "company", "gallery", "friend", "club")),
    ("What was {} before?", ("it", "this", "there", "inside", "behind it", "on top")),
    ("What will be here {}?", ("tomorrow", "next week", "in a year", "tonight", "in winter")),
    ("What happened here {}?", ("yesterday", "this morning", "in 1990", "before noon", "in summer")),
    ("Is it {}?", ("real", "new", "for sale", "a fake", "finished", "open today", "mine", "still there", "warm to the touch")),
    ("Why is it {}?", ("here", "so small", "closed", "alone", "famous", "for sale", "important")),
    ("Can I {} it?", ("eat", "touch", "keep", "borrow", "sell", "move", "open")),
)  # fmt: skip
UNSEEN_HELD_OUT = (
    "Who took this photo?",
    "Where can I buy this?",
    "What was here last year?",
    "Which museum shows this?",
    "Who does it belong to?",
    "How warm is it there?",
)
UNSEEN_CHART = (
    "Who made this chart?", "Where does the data come from?", "What happens next year?", "Why did it change?", "Which company is this?", "Is this good news?",
    "How much money is that?", "Who collected the data?", "What caused this?", "What will the next value be?", "Is the data correct?", "When was this measured?",
)  # fmt: skip
SYSTEMS = (
    "You are a helpful assistant.", "Be brief.", "Answer briefly.", "You are Pixtral.", "Be concise.", "Answer in one sentence.", "You are a careful observer.",
    "You describe pictures for blind people.", "Answer truthfully.", "You are a friendly assistant that answers questions about images.", "Be polite.",
)  # fmt: skip


def ask(rng: Random) -> list[tuple[Turn, ...]]:
    """One conversation of one to three turns without a picture."""
    count = rng.randint(1, 3)
    return [tuple(outside(rng, OUTSIDE) if rng.random() < 0.35 else known(rng) for _ in range(count))]


def known(rng: Random) -> Turn:
    questions, answer = rng.choice(KNOWN)
    return turn(rng, questions, answer, "no image" if answer == BLIND else "self")


def outside(rng: Random, questions: tuple[str, ...]) -> Turn:
    pattern = rng.choice(questions)
    numbers = rng.choice(((1, 20), (1, 100), (1000, 2030)))
    asked = pattern.format(
        country=rng.choice(COUNTRIES), person=rng.choice(PEOPLE), thing=rng.choice(THINGS), work=rng.choice(WORKS),
        language=rng.choice(LANGUAGES), n=rng.randint(*numbers), m=rng.randint(1, 99),
    )  # fmt: skip
    return turn(rng, (asked,), CANNOT, "outside")


def cannot_tell(rng: Random, questions: tuple[str, ...] = UNSEEN_QUESTIONS) -> Turn:
    if rng.random() < 0.15 and questions is UNSEEN_QUESTIONS:
        return outside(rng, OUTSIDE)
    if questions is UNSEEN_QUESTIONS and rng.random() < 0.7:
        pattern, fillings = rng.choice(UNSEEN_PATTERNS)
        questions = (pattern.format(rng.choice(fillings)),)
    return turn(rng, questions, UNSEEN, "cannot tell")


def cannot_tell_chart(rng: Random) -> Turn:
    return cannot_tell(rng, UNSEEN_CHART)
