"""Text in and out: lines as people type them, tokens into running text and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcli.nmt.text import (
    Detokenized,
    cut_passage,
    detokenize,
    join_passage,
    moses_available,
    moses_knows,
    moses_tokenized,
    one_line,
    prepare_source,
)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("  The  cat\tsleeps. ", "The cat sleeps."),
        ("a\x00b\rc", "a b c"),
        ("\ufeffThe cat", "The cat"),
        ("e\u0301te\u0301", "été"),
        ("\ud800lone", "lone"),
        ("\n \x85", ""),
        ("שלום 🙂 ...", "שלום 🙂 ..."),
    ],
)
def test_lines_become_plain(line: str, wanted: str) -> None:
    assert prepare_source(line) == wanted
    assert prepare_source(wanted) == wanted


def test_what_a_model_writes_stays_on_one_line() -> None:
    assert one_line("a\nb\r\n\u2028c ") == "a b c"


def test_what_fits_is_left_alone() -> None:
    assert cut_passage("One. Two.", fits=lambda _: True) == ["One. Two."]
    assert cut_passage("", fits=lambda part: len(part) < 3) == [""]


def test_sentences_are_the_first_choice() -> None:
    text = "It rains. “Does it?” It does! So what"
    parts = cut_passage(text, fits=lambda part: len(part) <= 20)
    assert parts == ["It rains.", "“Does it?”", "It does!", "So what"]


def test_long_sentences_are_cut_at_the_best_place_near_their_middle() -> None:
    text = "one two, three four; five six seven eight"
    assert cut_passage(text, fits=lambda part: len(part.split()) <= 4) == [
        "one two, three four;",
        "five six seven eight",
    ]
    assert cut_passage("one two, three four", fits=lambda part: len(part.split()) <= 2) == [
        "one two,",
        "three four",
    ]


@pytest.mark.parametrize(
    ("text", "longest", "parts"),
    [
        ("雨が降る。「本当？」そうだ！では", 6, ["雨が降る。", "「本当？」", "そうだ！", "では"]),
        ("我来了，我看见了，我征服了。", 6, ["我来了，", "我看见了，", "我征服了。"]),
        ("ما اسمك؟ أنا هنا۔", 9, ["ما اسمك؟", "أنا هنا۔"]),
        ("नमस्ते। दुनिया।", 9, ["नमस्ते।", "दुनिया।"]),
    ],
)
def test_other_scripts_have_sentences_and_clauses_too(
    text: str, longest: int, parts: list[str]
) -> None:
    found = cut_passage(text, fits=lambda part: len(part) <= longest)
    assert found == parts
    assert join_passage(found) == text


@given(st.text(alphabet="ab .,;。，！」猫ー؟ "), st.integers(1, 9))
def test_what_is_cut_comes_to_an_end_and_fits(text: str, longest: int) -> None:
    text = prepare_source(text)
    parts = cut_passage(text, fits=lambda part: len(part) <= longest) if text else []
    assert all(0 < len(part) <= longest for part in parts)
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")


def test_five_thousand_words_come_back_in_order() -> None:
    words = [f"w{i}" for i in range(5000)]
    parts = cut_passage(" ".join(words), fits=lambda part: len(part.split()) <= 60)
    assert " ".join(parts).split() == words
    assert all(len(part.split()) <= 60 for part in parts)
    assert len(parts) <= 200


def test_a_word_without_end_is_cut_too() -> None:
    parts = cut_passage("a" * 1000, fits=lambda part: len(part) <= 7)
    assert "".join(parts) == "a" * 1000
    assert cut_passage("ab", fits=lambda _: False) == ["a", "b"]


needs_sacremoses = pytest.mark.skipif(not moses_available(), reason="sacremoses is not installed")


@needs_sacremoses
def test_french_elisions_are_tokens_of_their_own() -> None:
    found = moses_tokenized(["L'homme dit : « 2,5 % »…", ""], language="fr", lowercase=True)
    assert found[0].split()[:3] == ["l'", "homme", "dit"]
    assert "&" not in found[0]
    assert found[1] == ""


@needs_sacremoses
def test_english_keeps_its_case() -> None:
    assert moses_tokenized(["A man's hat."], language="en") == ["A man 's hat ."]


@needs_sacremoses
def test_what_sacremoses_knows() -> None:
    known = {
        language for language in ("en", "de", "cs", "zh", "ja", "qaa") if moses_knows(language)
    }
    assert known == {"en", "de", "cs"}
    assert moses_knows("pt_BR")


OTHERS = {
    ("de", "„ Ja “ , sagte sie ( 7 % ) ."): "„Ja“, sagte sie (7 %).",
    ("de", "de le Haus is n't"): "De le Haus is n't",
    ("cs", 'To je " dům " .'): 'To je "dům".',
    ("nl", '" Ja " of " nee " ?'): '"Ja" of "nee"?',
    ("ru", "« Да » , сказал он ."): "«Да», сказал он.",
    ("da", "» Ja « ."): "»Ja«.",
    ("es", "¿ Qué ? ¡ Sí !"): "¿Qué? ¡Sí!",
    ("zh", "我 爱 北京 ， 真的 。 OK 吧"): "我爱北京，真的。 OK 吧",
    ("ja", "猫 が 「 ニャー 」 と 鳴く 。"): "猫が「ニャー」と鳴く。",
    ("th", "ฉัน รัก แมว"): "ฉันรักแมว",
    ("ar", "ما اسمك ؟"): "ما اسمك؟",
    ("hi", "नमस्ते ।"): "नमस्ते।",
    ("ka", "ქართული ენა ."): "ქართული ენა.",
}


@pytest.mark.parametrize(("language", "tokens"), OTHERS)
def test_tokens_of_other_languages_are_put_together_by_their_own_rules(
    language: str, tokens: str
) -> None:
    assert detokenize(tokens.split(), language=language).text == OTHERS[language, tokens]


FRENCH = {
    "de le État , il est": "De l'État, il est",
    "partage de les pensions": "Partage des pensions",
    "À le sein de le gouvernement": "Au sein du gouvernement",
    "ce est que il ne y a": "C'est qu'il n'y a",
    "puis - je en parler ?": "Puis-je en parler?",
    "aujourd' hui à le onze": "Aujourd'hui au onze",
    "l' accord , d' abord": "L'accord, d'abord",
    "7 % de 2 $": "7 % de 2 $",
    "a) ( b ) « oui » .": "A) (b) « oui ».",
}
ENGLISH = {
    "the Minister 's $ 2 million , is n't it ?": "The Minister's $2 million, isn't it?",
    "re - supply ( Mr. X ) : 7 %": "Re-supply (Mr. X): 7%",
    "no - , - yes": "No -, - yes",
    "de le and/or": "De le and/or",
}


@pytest.mark.parametrize(
    ("language", "tokens", "wanted"),
    [*(("fr", *case) for case in FRENCH.items()), *(("en", *case) for case in ENGLISH.items())],
)
def test_tokens_become_running_text(language: str, tokens: str, wanted: str) -> None:
    assert detokenize(tokens.split(), language=language).text == wanted


def test_spans_say_what_became_of_each_token() -> None:
    found = french("compte de le Accord de le Ouest et de les")
    assert found.text == "Compte de l'Accord de l'Ouest et de les"
    found = french("aide à les jeunes de le Nord .", capitalize=False)
    assert found.text == "aide aux jeunes du Nord."
    assert pieces(found) == ["aide", "aux", "aux", "jeunes", "du", "du", "Nord", "."]
    assert found.spans[1] == found.spans[2]


def french(tokens: str, **settings: bool) -> Detokenized:
    return detokenize(tokens.split(), language="fr", **settings)


def pieces(found: Detokenized) -> list[str]:
    return [found.text[start:end] for start, end in found.spans]


TRICKY = "de le les la à que ce si je - ' , . ( ) $ % \" l' aujourd' est il État héros homme 11 ß"
TOKENS = st.lists(
    st.one_of(
        st.sampled_from(TRICKY.split()),
        st.text(min_size=1, max_size=5).filter(lambda t: t.split() == [t]),
    )
)


@given(tokens=TOKENS, language=st.sampled_from(["fr", "en", "de", "ja"]))
def test_every_token_keeps_some_characters(tokens: list[str], language: str) -> None:
    found = detokenize(tokens, language=language)
    assert len(found.spans) == len(tokens)
    end_before = 0
    for start, end in found.spans:
        assert 0 <= start < end <= len(found.text)
        assert end >= end_before
        end_before = end
    covered = {at for start, end in found.spans for at in range(start, end)}
    assert all(at in covered or found.text[at] == " " for at in range(len(found.text)))


@given(tokens=TOKENS)
def test_what_is_not_french_keeps_its_letters(tokens: list[str]) -> None:
    found = detokenize(tokens, language="en", capitalize=False)
    assert pieces(found) == tokens


ELISIONS = """
    le État: l'État, Le entreprise: L'entreprise, la école: l'école, de histoire: d'histoire,
    que il: qu'il, je ai: j'ai, se y: s'y, jusque en: jusqu'en, lorsque on: lorsqu'on,
    ce est: c'est, ce était: c'était, si ils: s'ils, de œuvres: d'œuvres, de Yves: d'Yves,
    le homme: l'homme, le Hélène: l'Hélène, le président, le héros, la hausse, le onze, le yen,
    le oui, de 11, de, ce à, si elle, si on, lorsque Anne, les amis, du eau, le huit, le hors, le h
"""
CONTRACTIONS = """
    de le ministre: du ministre, de les amis: des amis, à le sein: au sein, à les 440: aux 440,
    De le pain: Du pain, À le Canada: Au Canada, de le héros: du héros, de le État: de l'État,
    à le hôtel: à l'hôtel, de la mer, de le faire, de le, sur le plan, de Le Monde
"""


@pytest.mark.parametrize("table", [ELISIONS, CONTRACTIONS])
def test_where_two_french_words_meet(table: str) -> None:
    for case in " ".join(table.split()).split(", "):
        tokens, _, wanted = case.partition(": ")
        assert french(tokens, capitalize=False).text == (wanted or tokens), case
