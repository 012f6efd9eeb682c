"""Detects the language of a text by its script and commonest words, for the languages of IF-Eval."""

import re
from collections import Counter

SCRIPTS = (
    ("ja", "\u3040", "\u30ff"), ("ko", "\uac00", "\ud7a3"), ("zh", "\u4e00", "\u9fff"), ("th", "\u0e00", "\u0e7f"),
    ("he", "\u0590", "\u05ff"), ("ta", "\u0b80", "\u0bff"), ("te", "\u0c00", "\u0c7f"), ("kn", "\u0c80", "\u0cff"),
    ("ml", "\u0d00", "\u0d7f"), ("gu", "\u0a80", "\u0aff"), ("pa", "\u0a00", "\u0a7f"), ("bn", "\u0980", "\u09ff"),
    ("el", "\u0370", "\u03ff"), ("arabic", "\u0600", "\u06ff"), ("cyrillic", "\u0400", "\u04ff"),
    ("devanagari", "\u0900", "\u097f"), ("latin", "A", "\u024f"),
)  # fmt: skip
# For scripts that several languages share: words and letters that distinguish them.
WORDS = {
    "latin": {
        "en": "the and of to in is that for it with as was on are this you be not have from or by",
        "es": "el los las una que y en es por con para su como más pero del está se muy al",
        "fr": "le les des une et est que dans pour qui sur pas au avec ce il je vous du sont",
        "de": "der die das und ist nicht ein eine den von zu mit sich auf für dem es im auch ich",
        "it": "il gli che di e è un una per con non sono della nel ma anche come più le si",
        "pt": "o os as uma que e em é por com para não mais mas do da no na um se",
        "pl": "i w nie na się jest z że do to jak o co ale po za od są przez czy",
        "vi": "và của là có không được một những cho trong các người này với đã để tôi khi",
        "fi": "ja on ei että se hän oli ovat mutta kuin joka myös tai niin kun mitä ole sen",
        "sw": "na ya wa kwa ni katika la za cha kuwa hii yake kama lakini sana watu hiyo au",
        "nl": "de het een en van is dat niet op te zijn met voor die er aan ook als om bij",
        "tr": "ve bir bu da de için ile çok ne gibi daha olarak var en değil ama her mi",
    },
    "cyrillic": {
        "ru": "и в не на что с он как это по но из у за ы э ё к все был она так",
        "uk": "і в не на що з він як це по але із у за ї є ґ та до її також",
        "bg": "и в не на че с той като това по но от у за е са се ще да ъ щ",
    },
    "arabic": {"ar": "في من على إلى أن هذا التي الذي ما لا و ة", "fa": "و در به از که این را با است می پ چ گ ژ ی", "ur": "اور کے میں کی ہے سے کو یہ ہیں نے کا ٹ ڈ ے ں"},
    "devanagari": {"hi": "और के में है की से को यह हैं का नहीं", "mr": "आणि आहे या मध्ये ते ही आहेत नाही त्या ळ", "ne": "र छ को मा छन् हो लाई यो पनि भएको गर्न"},
}  # fmt: skip


def detect_language(text: str) -> str | None:
    """The two-letter code of the text's language; None when it cannot be determined."""
    letters = Counter(_script(char) for char in text if char.isalpha())
    letters.pop(None, None)
    if not letters:
        return None
    script: str | None = letters.most_common(1)[0][0]
    if letters["ja"] * 10 > letters["zh"] > 0:  # kana among characters that Japanese and Chinese share
        script = "ja"
    if script not in WORDS:
        return script
    return _by_words(text.lower(), WORDS[script])


def _script(char: str) -> str | None:
    return next((name for name, first, last in SCRIPTS if first <= char <= last), None)


def _by_words(text: str, languages: dict[str, str]) -> str | None:
    """The language whose words and letters are most frequent in the text."""
    words, letters = Counter(re.findall(r"[^\W\d_]+(?:\u094d|[\u093e-\u094c])*", text)), Counter(text)
    points = {
        name: sum(
            words[feature] if len(feature) > 1 or feature.isascii() else letters[feature] / 3
            for feature in features.split()
        )
        for name, features in languages.items()
    }
    best = max(points, key=points.__getitem__)
    return best if points[best] else None
