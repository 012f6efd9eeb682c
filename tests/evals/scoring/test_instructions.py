"""IF-Eval's instructions: each with an answer that follows it and one that does not; languages are distinguished."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixtral_cli.evals.scoring.instructions import CHECKS, follows, follows_loosely
from pixtral_cli.evals.scoring.languages import detect_language

CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["Blue", "sky"]}, "The BLUE sky.", "The sky."),
    ("keywords:frequency", {"keyword": "a+", "frequency": 2, "relation": "at least"}, "a+ A+", "aaa a+"),
    ("keywords:frequency", {"keyword": "cat", "frequency": 2, "relation": "less than"}, "cat", "cat cat"),
    ("keywords:forbidden_words", {"forbidden_words": ["rain"]}, "A train.", "Rain."),
    ("keywords:letter_frequency", {"letter": "E", "let_frequency": 3, "let_relation": "at least"}, "eEe", "ee"),
    ("language:response_language", {"language": "de"}, "Das ist nicht der Hund.", "This is not the dog."),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "at least"}, "Hi Dr. No. Well!", "Hi Dr. No"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "One.\n\n***\n\nTwo.", "One.\n***\n***\nTwo."),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, "two words", "one two three"),
    (
        "length_constraints:nth_paragraph_first_word", {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "weekend"},
        "One.\n\n'Weekend', they said.", "Weekend.\n\nTwo.",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name], [city]", "[name]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\n\nP. S. More", "Bye. PS more"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "p.p.s. more", "P.S. more"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n - two", "**bold**\n* one"),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "Maybe."),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and *b*", "*a* and * *"),
    ("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 2}, "Section 1 a Section 2 b", "Section 1"),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<A title>>\nText", "<< >> <title>"),
    ("combination:two_responses", {}, "One\n******\nTwo", "One\n******\nOne"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi. "}, "say hi. Hi!", "Hi!"),
    ("startend:end_checker", {"end_phrase": "The end."}, '"It is THE END."', "The end. Or not"),
    ("startend:quotation", {}, ' "All of it." ', '"Some" of it'),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "NASA and ESA", "NASA and Esa"),
    ("change_case:english_capital", {}, "THE DOG IS IN THE HOUSE", "THE DOG is"),
    ("change_case:english_lowercase", {}, "the dog is in the house", "The dog"),
    ("punctuation:no_comma", {}, "One; two.", "One, two."),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "values", "good", "bad"), CASES)
def test_an_instruction_is_followed_or_not(kind: str, values: dict[str, Any], good: str, bad: str) -> None:
    assert follows(good, kind, values)
    assert not follows(bad, kind, values)
    assert not follows(" \n", kind, values)


def test_every_kind_is_tested() -> None:
    assert {case[0] for case in CASES} == set(CHECKS)
    assert len(CHECKS) == 25


@settings(deadline=None, max_examples=80)
@given(
    st.text(st.sampled_from("aB.,!?*-<>[]{}\"'\n 1") | st.characters(codec="utf-8"), max_size=60),
    st.sampled_from(CASES),
)
def test_loosely_is_never_stricter_and_no_answer_is_an_error(
    text: str, case: tuple[str, dict[str, Any], str, str]
) -> None:
    kind, values, _, _ = case
    assert follows_loosely(text, kind, values) >= follows(text, kind, values)


def test_loosely_forgives_a_first_line_and_asterisks() -> None:
    assert follows_loosely('Sure:\n"All of it."', "startend:quotation", {})
    assert follows_loosely('**"All of it."**', "startend:quotation", {})
    assert not follows_loosely('Sure:\nWell:\nOk:\n"All of it."', "startend:quotation", {})


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("en", "The weather is nice and we are going to the sea."), ("es", "El tiempo es muy bueno y vamos a la playa con los niños."),
        ("fr", "Le temps est beau et nous allons à la plage avec les enfants."), ("it", "Il tempo è bello e andiamo al mare con gli amici."),
        ("pt", "O tempo está bom e não vamos para casa com os amigos."), ("pl", "Pogoda jest ładna i nie ma wiatru, ale się ochłodzi."),
        ("vi", "Thời tiết đẹp và chúng tôi đang đi biển với những người bạn của tôi."), ("fi", "Sää on kaunis ja me emme ole kotona, mutta se ei haittaa."),
        ("sw", "Hali ya hewa ni nzuri na sisi tunakwenda kwa bahari katika gari la rafiki."), ("ru", "Погода хорошая, и мы не пойдём домой, это был он."),
        ("uk", "Погода гарна, і ми не підемо додому, це її вибір."), ("bg", "Времето е хубаво и ние ще отидем на море, за да се къпем."),
        ("ar", "الطقس جميل في هذا اليوم وهو من أفضل الأيام التي مرت على المدينة"), ("fa", "هوا خوب است و ما به این شهر می‌رویم که چای بنوشیم"),
        ("ur", "موسم اچھا ہے اور ہم شہر میں دوستوں کے ساتھ ہیں"), ("hi", "मौसम अच्छा है और हम समुद्र के पास हैं"),
        ("mr", "हवामान छान आहे आणि आम्ही घरी नाही"), ("ne", "मौसम राम्रो छ र यो घर को छ"), ("ja", "天気が良いので海へ行きます。"),
        ("ko", "날씨가 좋습니다."), ("zh", "天气很好。"), ("th", "อากาศดี"), ("ta", "வானிலை நன்றாக உள்ளது"), ("te", "వాతావరణం బాగుంది"),
        ("kn", "ಹವಾಮಾನ ಚೆನ್ನಾಗಿದೆ"), ("ml", "കാലാവസ്ഥ നല്ലതാണ്"), ("gu", "હવામાન સારું છે"), ("pa", "ਮੌਸਮ ਚੰਗਾ ਹੈ"), ("bn", "আবহাওয়া ভালো"),
        (None, "42 + 7"),
    ],
)  # fmt: skip
def test_a_language_is_detected(code: str | None, text: str) -> None:
    assert detect_language(text) == code
