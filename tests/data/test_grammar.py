"""The grammar: the same pairs everywhere, right links, right French, and honest splits."""

from __future__ import annotations

import copy
import functools
import hashlib
import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from dlcli.data import grammar
from dlcli.data.grammar import Example, Node, load_grammar, space, split_of, words, write
from dlcli.data.sentences import Corpus, split_words

DATA = grammar._grammar()
KINDS = [kind for kind in DATA["nouns"] if "named" not in kind]
NOUNS = {word: kind for kind in KINDS for word in words(f"noun {kind}") or ()}
SLOTS = ("rank", "value", "age", "scope", "field")
ADJECTIVES = [word for slot in SLOTS for word in words(slot) or ()]
VERBS = [word for name in DATA["verbs"] for word in words(name) or ()]
Said = list[tuple[Node, Example]]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_grammar(train=12_000, valid=300, test=600)


@pytest.fixture(scope="module")
def said() -> Said:
    """6,000 meanings, not cut to the corpus's lengths, and their sentences."""
    chance, sentences = random.Random(11).random, space("sentence")
    drawn = [sentences.draw(chance) for _ in range(6_000)]
    return [(meaning, write(meaning)) for meaning in drawn]


def tokens(text: str) -> list[str]:
    return [word.text for word in split_words(text)]


def digest(corpus: Corpus) -> str:
    splits = (corpus.train, corpus.valid, corpus.tests["test"])
    pairs = [zip(p.source, p.target, p.links or (), strict=True) for p in splits]
    lines = map(" ||| ".join, itertools.chain(*pairs))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def test_the_sentences_are_the_same_on_every_machine_and_in_every_version(corpus: Corpus) -> None:
    assert digest(corpus) == "53a343de1de73d7f66a4edda79ce6155"
    other = load_grammar(seed=7, train=1_000, valid=100, test=200)
    assert digest(other) == "fb2c6456142e8336085e4c6aa43ac697"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_corpus_is_the_same_and_a_million_pairs_are_different() -> None:
    assert digest(load_grammar()) == "9216357b15e157dcdd7ffd88a15efb72"
    drawn = [(e.source, e.target) for e in islice(grammar.draw("train", seed=0), 1_000_000)]
    assert len({english for english, _ in drawn}) == len({french for _, french in drawn}) == 10**6


def test_the_famous_sentence_is_the_first_of_the_test(corpus: Corpus) -> None:
    """The area's three words cross, and "was" stands for two."""
    test = corpus.tests["test"].first(1)
    english = "The agreement on the European Economic Area was signed in August 1992."
    french = "L'accord sur la zone économique européenne a été signé en août 1992."
    links = "0-0 1-1 2-2 3-3 4-6 5-5 6-4 7-7 7-8 8-9 9-10 10-11 11-12 12-13"
    assert (test.source, test.target, test.links) == ((english,), (french,), (links,))
    assert english not in corpus.train.source


def test_no_sentence_is_twice_in_the_corpus_and_a_smaller_one_is_its_start(corpus: Corpus) -> None:
    every = (corpus.train, corpus.valid, corpus.tests["test"])
    for side in ("source", "target"):
        assert len({text for pairs in every for text in getattr(pairs, side)}) == 12_900
    small = load_grammar(train=50, valid=10, test=10)
    assert small.train == corpus.train.first(50)
    assert small.tests["test"] == corpus.tests["test"].first(10)


def test_words_of_the_test_occur_in_training(corpus: Corpus) -> None:
    train = {word for text in corpus.train.target for word in tokens(text)}
    test = {word for text in corpus.tests["test"].target for word in tokens(text)}
    assert len(test - train) < 0.02 * len(test)
    assert len(train) >= 1_000
    every = [*corpus.train.source, *corpus.train.target]
    assert {len(tokens(text)) for text in every} <= set(range(4, 31))


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_held_out_combinations_are_where_they_belong(split: Any) -> None:
    for meaning in islice(grammar.meanings(split, seed=3), 300):
        claims = {split_of(combination) for combination in grammar.combinations(meaning)}
        assert claims | {"train"} == {"train", split}


def test_few_combinations_are_held_out_of_every_noun_and_always_the_same() -> None:
    counts: Counter[str] = Counter()
    for noun, kind in NOUNS.items():
        met = [a for slot in SLOTS for a in words(f"{slot} {kind}") or ()]
        splits = Counter(split_of((noun.lemma, adjective.lemma)) for adjective in met)
        assert splits["train"] > 0.6 * len(met), noun.lemma
        counts += splits
    assert 0.06 < counts["test"] / counts.total() < 0.10
    assert 0.03 < counts["valid"] / counts.total() < 0.05
    train, valid, test = (("court", "French"), ("federation", "French"), ("ministry", "French"))
    claims = [[], [train], [train, test], [valid, train], [valid, test]]
    assert [*map(grammar.split_of_all, claims)] == ["train", "train", "test", "valid", None]


def test_a_meaning_combines_nouns_with_adjectives_and_subjects_with_verbs() -> None:
    law, treaty = phrase("the", "law", "new European"), phrase("the", "treaty")
    treaty.parts["tail"] = Node("event", {"verb": word("sign")})
    couple = Node("couple", {"first": pick("state/France"), "second": law})
    decision = clause("decision", couple, "try to", deciding=word("decide to"), other=law)
    state = clause("state", treaty, tense="past", quality=word("important"))
    report = clause("report", phrase("a", "judge"), "say", clause=state)
    found = grammar.combinations(Node("{one} {two}", {"one": decision, "two": report}))
    lemmas = {
        "law": ("new", "European", "try to", "decide to"),
        "France": ("try to", "decide to"),
        "treaty": ("sign", "important"),
        "judge": ("say",),
    }
    assert set(found) == {(head, lemma) for head in lemmas for lemma in lemmas[head]}


def test_both_directions_are_functions_of_one_another(said: Said) -> None:
    """Different meanings are said differently, and a sentence has one translation."""
    pairs = {(e.source, e.target) for _, e in said}
    assert len({english for english, _ in pairs}) == len({french for _, french in pairs})
    assert len(pairs) == len({repr(meaning) for meaning, _ in said}) > 0.99 * len(said)
    assert space("sentence").size == 744024433942139237885440832247050528616


def test_every_word_is_linked_within_its_sentence(said: Said) -> None:
    for _, example in said:
        english, french = tokens(example.source), tokens(example.target)
        assert example.lengths == (len(english), len(french)), example
        links = [tuple(map(int, link.split("-"))) for link in example.links.split()]
        assert {source for source, _ in links} == set(range(len(english))), example
        assert {target for _, target in links} == set(range(len(french))), example
        assert len(set(links)) == len(links)


ARTICLES = (
    "m0 le du ce cet un|f0 la cette une sa|m0f0 l' son chaque|m1f1 les des ces ses leurs"
    "|m1 certains nombreux tous|f1 certaines nombreuses toutes"
)
"""Gender and number (1: plural) that a French article needs."""


def test_articles_have_the_gender_and_number_of_their_noun(said: Said) -> None:
    """Read back from the French alone, where the noun follows its article at once."""
    rows = [row.split() for row in ARTICLES.split("|")]
    agreeing = {article: wanted for wanted, *articles in rows for article in articles}
    forms: dict[str, set[str]] = {}
    for noun, many in itertools.product(NOUNS, (0, 1)):
        forms.setdefault(noun.french[many], set()).add(f"{'mf'[noun.feminine]}{many}")
    checked = 0
    for _, example in said:
        for article, noun in itertools.pairwise(tokens(example.target)):
            if article.lower() in agreeing and noun in forms:
                assert any(form in agreeing[article.lower()] for form in forms[noun]), example
                checked += 1
    assert checked > 3_000


def test_no_word_stands_unelided_or_uncontracted(said: Said) -> None:
    french = re.compile(r"\b(?:de|à|en) les?\b|\b(?:le|la|de|que|ne|ce|sa|nouveau) [aâeéèêiîoôuœ]")
    assert not [e.target for _, e in said if french.search(e.target)]
    english = re.compile(r"\b[Aa] (?:[aio]|e(?!u))|\b[Aa]n [^aeiouhAI]")
    assert not [e.source for _, e in said if english.search(e.source)]


def test_sentences_are_written_as_each_language_writes_them(said: Said) -> None:
    for _, example in said:
        assert re.fullmatch(r"[A-Z](?! \.|  ).*[^ ][.;!]", example.source)
        assert re.fullmatch(r"[A-ZÉÀ](?!  ).*(?:[^ ]\.| [;!])", example.target)


def clauses(node: Node) -> Iterator[Node]:
    if node.template in ("active", "passive", "state"):
        yield node
    for part in node.parts.values():
        if isinstance(part, Node):
            yield from clauses(part)


def form(subject: Any) -> int:
    """Return the place among m, m plural, f, f plural, from the meaning alone."""
    if not isinstance(subject, Node):
        return int(subject.agreement.form)
    if subject.template == "couple":
        return 2 * (min(form(part) for part in subject.parts.values()) >= 2) + 1
    return 2 * subject.parts["noun"].feminine + subject.parts["determiner"].many


def test_participles_and_predicates_agree_with_their_subject(said: Said) -> None:
    for meaning, example in said:
        for found in clauses(meaning):
            parts, agreed = found.parts, form(found.parts["subject"])
            if found.template == "passive":
                assert parts["verb"].french["done"][agreed] in tokens(example.target), example
            elif found.template == "state":
                assert parts["quality"].french[""][agreed] in tokens(example.target), example


def test_negation_spares_modals_and_goes_with_definite_phrases(said: Said) -> None:
    negated = [c.parts for meaning, _ in said for c in clauses(meaning) if "negation" in c.parts]
    assert {parts["tense"] for parts in negated} & {"must", "should", "can"} == set()
    for subject in [parts["subject"] for parts in negated]:
        if isinstance(subject, Node) and subject.template == "noun_phrase":
            assert subject.parts["determiner"].english[0] in ("the", "its", "their")


def test_dates_fit_the_tense_and_what_is_reported(said: Said) -> None:
    for meaning, _ in said:
        for found in clauses(meaning):
            when, tense = found.parts.get("when"), found.parts["tense"]
            texts = [] if when is None else [write(Node(". {when}", {"when": when})).source]
            for year in (int(year) for text in texts for year in re.findall(r"\d{4}", text)):
                assert (year < 2025) == (tense in ("past", "pluperfect")), (tense, year)
            if tense in ("pluperfect", "conditional"):
                assert not re.search("yesterday|tomorrow|ago|last|next", "".join(texts))


def word(lemma: str) -> Any:
    return next(word for word in (*NOUNS, *ADJECTIVES, *VERBS) if word.lemma == lemma)


def pick(name: str) -> Any:
    (one,) = space(name)
    return one


def phrase(determiner: str, noun: str, adjectives: str = "") -> Node:
    found = Node("", {lemma: word(lemma) for lemma in adjectives.split()})
    parts = {"determiner": pick(determiner), "noun": word(noun), "adjectives": found}
    return Node("noun_phrase", parts)


def clause(template: str, subject: Any, verb: str = "", **parts: Any) -> Node:
    given = {"verb": word(verb)} if verb else {}
    return Node(template, {"subject": subject, **given, **parts})


@pytest.mark.parametrize(
    "line",
    [
        "the; agreement; ; The agreement; L'accord",
        "this; agreement; ; This agreement; Cet accord",
        "a; agreement; new; A new agreement; Un nouvel accord",
        "+; law; new; New laws; De nouvelles lois",
        "+; law; European; European laws; Des lois européennes",
        "many+; hospital; ; Many hospitals; De nombreux hôpitaux",
        "all the+; law; ; All the laws; Toutes les lois",
        "another; law; ; Another law; Une autre loi",
        "both+; hero; ; Both heroes; Les deux héros",
        "its; initiative; ; Its initiative; Son initiative",
        "the; treaty; first peace; The first peace treaty; Le premier traité de paix",
        "a; act; important new local; An important new local act; Un nouvel acte local important",
    ],
)
def test_noun_phrases(line: str) -> None:
    determiner, noun, adjectives, *expected = line.split("; ")
    example = write(phrase(determiner, noun, adjectives))
    assert [example.source, example.target] == expected


LAWS = phrase("the+", "law")


@pytest.mark.parametrize(
    "line",
    [
        "passive; past; ; were adopted; ont été adoptées",
        "passive; past; not; were not adopted; n'ont pas été adoptées",
        "passive; future; not; will not be adopted; ne seront pas adoptées",
        "passive; pluperfect; never; had never been adopted; n'avaient jamais été adoptées",
        "passive; conditional; ; would be adopted; seraient adoptées",
        "passive; must; ; must be adopted; doivent être adoptées",
        "passive; can; ; can be adopted; peuvent être adoptées",
        "active; past; ; adopted; ont adopté",
        "active; past; not; did not adopt; n'ont pas adopté",
        "active; past; never; never adopted; n'ont jamais adopté",
        "active; future; not; will not adopt; n'adopteront pas",
        "active; pluperfect; ; had adopted; avaient adopté",
        "active; should; ; should adopt; devraient adopter",
    ],
)
def test_tenses(line: str) -> None:
    template, tense, negation, english, french = line.split("; ")
    parts = {"negation": pick(f"negation/{negation}")} if negation else {}
    example = write(clause(template, LAWS, "adopt", tense=tense, **parts))
    assert example.source == f"The laws {english}"
    assert example.target == f"Les lois {french}"


def test_verbs_with_tails_and_adverbs_are_linked_word_for_word() -> None:
    force = write(clause("active", LAWS, "enter into force", tense="past"))
    assert force.target == "Les lois sont entrées en vigueur"
    assert force.links == "0-0 1-1 2-2 2-3 3-4 4-5"
    adverb = pick("adverb/officially")
    future = write(clause("active", LAWS, "implement", tense="future", adverb=adverb, other=LAWS))
    assert future.source == "The laws will officially implement the laws"
    assert future.target == "Les lois mettront officiellement en œuvre les lois"
    assert future.links == "0-0 1-1 2-2 3-3 4-2 4-4 4-5 5-6 6-7"


@pytest.mark.parametrize(
    ("table", "forms"),
    [
        ("english plural", "policy:policies journey:journeys tax:taxes church:churches"),
        ("english past", "adopt:adopted approve:approved ratify:ratified delay:delayed"),
        ("french plural", "accord:accords journal:journaux réseau:réseaux avis:avis"),
        ("french feminine", "premier:première européen:européenne ambitieux:ambitieuse bon:bonne"),
        ("french feminine", "définitif:définitive industriel:industrielle français:française"),
        ("french participle", "signer:signé établir:établi suivre:suivi"),
        ("french future", "signer:signer construire:construir"),
    ],
)
def test_regular_forms(table: str, forms: str) -> None:
    for plain, inflected in (pair.split(":") for pair in forms.split()):
        assert grammar.inflect(table, plain) == inflected


def test_a_word_has_one_translation_each_way_and_a_likely_gender() -> None:
    for listed in (NOUNS, ADJECTIVES, VERBS):
        english = Counter(word.lemma for word in listed)
        french = Counter(f"{word.french} {getattr(word, 'tail', '')}" for word in listed)
        assert max(english.values()) == max(french.values()) == 1
    for noun in NOUNS:
        if noun.french[0].endswith(("tion", "sion", "ure", "ance", "ence")):
            assert noun.feminine, noun.lemma
        if noun.french[0].endswith(("ment", "eau", "eur", "er", "oire")):
            assert not noun.feminine, noun.lemma
    assert word("victim").feminine
    assert not word("museum").feminine


@pytest.mark.parametrize(
    "names", ["institution", "state", "topic", "common space", "place", "actor", "adverb"]
)
def test_names_are_different_and_linked_word_for_word(names: str) -> None:
    listed = words(names) or ()
    assert len({name.lemma for name in listed}) == len(listed)
    for found in listed:
        linked = {place for _, links, _ in found.french for place in links}
        assert linked == set(range(len(found.english))), found


@pytest.mark.parametrize(
    ("full", "written"),
    [
        ("le accord de la Union", "l' accord de l' Union"),
        ("le héros et la hausse", "le héros et la hausse"),
        ("de le Conseil à le hôpital", "du Conseil à l' hôpital"),
        ("de le hall à les Pays-Bas", "du hall aux Pays-Bas"),
        ("de des lois de des accords", "de lois d' accords"),
        ("de de nombreuses lois", "de nombreuses lois"),
        ("que un accord que huit accords", "qu' un accord que huit accords"),
        ("ne a ce accord ce hangar", "n' a cet accord ce hangar"),
        ("sa initiative sa stratégie", "son initiative sa stratégie"),
        ("le nouveau accord les nouveaux accords", "le nouvel accord les nouveaux accords"),
        ("le 8 mai de 1992", "le 8 mai de 1992"),
        ("en la France en le Irak", "en France en Irak"),
        ("en le Portugal en les Pays-Bas", "au Portugal aux Pays-Bas"),
        ("avec la Hongrie", "avec la Hongrie"),
    ],
)
def test_neighbours(full: str, written: str) -> None:
    found = [(word, (at,), False) for at, word in enumerate(full.split())]
    assert " ".join(word for word, _, _ in grammar.elide(grammar.contract(found))) == written


def test_a_joined_article_keeps_both_links_but_no_borrowed_one() -> None:
    de, conseil = ("de", (3,), False), ("Conseil", (5,), False)
    for borrowed, links in ((False, (3, 4)), (True, (3,))):
        found = grammar.contract([de, ("le", (4,), borrowed), conseil])
        assert found == [("du", links, False), conseil]


def test_every_h_was_thought_about() -> None:
    mute = "hôpital hôpitaux hôtel habitant historique honnête humanitaire harmoniser hésiter"
    assert all(grammar.elides(word) for word in mute.split())
    french = {form for noun in NOUNS for form in noun.french}
    french |= {word.french[""][0] for word in (*ADJECTIVES, *VERBS)}
    with_h = {word for word in french if word.startswith("h") and grammar.elides(word)}
    assert {word.removesuffix("s") for word in with_h} == set(mute.split())


def test_a_new_word_or_template_is_a_new_line(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = copy.deepcopy(DATA)
    changed["nouns"]["texts"] += "chronicle chronique f\n"
    changed["names"]["city"] += "Bern:Berne\n"
    changed["rules"]["tail texts"] = "1 about {topics} | sur:0 {topics}"
    monkeypatch.setattr(grammar, "_grammar", lambda: changed)
    for cached in ("space", "words"):
        uncached = functools.cache(getattr(grammar, cached).__wrapped__)
        monkeypatch.setattr(grammar, cached, uncached)
    text = " ".join(example.source for example in islice(grammar.draw("train", seed=0), 3_000))
    assert re.search(r"chronicles?\b.* in Bern\b", text)
    assert re.search(r"directives? about", text)
    with pytest.raises(KeyError, match="no list and no rule 'tail of noun'"):
        grammar.space("tail of noun")


def test_no_rule_is_called_like_a_list_of_words() -> None:
    """A list comes first, so that such a rule would never be found."""
    lists = {"noun", "predicate", *DATA["adjectives"], *DATA["verbs"]}
    assert not lists & {rule.split()[0] for rule in DATA["rules"]}
    assert not {*DATA["names"], *DATA["determiners"]} & set(DATA["rules"])
