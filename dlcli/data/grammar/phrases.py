"""Noun phrases in both languages at once."""

from __future__ import annotations

from typing import NamedTuple

from dlcli.data.grammar.draft import Draft
from dlcli.data.grammar.meaning import Complement, Couple, Event, Group, Phrase
from dlcli.data.grammar.names import Fixed

DETERMINERS: dict[str, tuple[str, tuple[str, str, str, str]]] = {
    "the": ("the", ("le:0", "les:0", "la:0", "les:0")),
    "a": ("a", ("un:0", "", "une:0", "")),
    "this": ("this", ("ce:0", "", "cette:0", "")),
    "these": ("these", ("", "ces:0", "", "ces:0")),
    "its": ("its", ("son:0", "ses:0", "sa:0", "ses:0")),
    "their": ("their", ("leur:0", "leurs:0", "leur:0", "leurs:0")),
    "each": ("each", ("chaque:0", "", "chaque:0", "")),
    "another": ("another", ("un:0 autre:0", "", "une:0 autre:0", "")),
    "several": ("several", ("", "plusieurs:0", "", "plusieurs:0")),
    "many": ("many", ("", "de:0 nombreux:0", "", "de:0 nombreuses:0")),
    "some": ("some", ("", "certains:0", "", "certaines:0")),
    "all": ("all the", ("", "tous:0 les:1", "", "toutes:0 les:1")),
    "both": ("both", ("", "les:0 deux:0", "", "les:0 deux:0")),
    "two": ("two", ("", "deux:0", "", "deux:0")),
    "three": ("three", ("", "trois:0", "", "trois:0")),
    "four": ("four", ("", "quatre:0", "", "quatre:0")),
    "six": ("six", ("", "six:0", "", "six:0")),
    "eight": ("eight", ("", "huit:0", "", "huit:0")),
    "ten": ("ten", ("", "dix:0", "", "dix:0")),
}
"""English words, and French ones with their places in them: m, m plural, f, f plural."""


class Agreement(NamedTuple):
    """What a verb takes from its subject: gender and number in French, number in English."""

    feminine: bool
    many: bool
    said_many: bool

    @property
    def form(self) -> int:
        """Return the place among four forms: m, m plural, f, f plural."""
        return 2 * self.feminine + self.many


def say_phrase(draft: Draft, phrase: Phrase) -> Agreement:
    """Say a phrase in both languages; return what agrees with it."""
    if isinstance(phrase, Fixed):
        draft.both(phrase)
        return Agreement(phrase.gender == "f", phrase.many, False)
    if isinstance(phrase, Couple):
        first = say_phrase(draft, phrase.first)
        draft.dire("et", draft.say("and"))
        second = say_phrase(draft, phrase.second)
        return Agreement(first.feminine and second.feminine, True, True)
    return _say_group(draft, phrase)


def _say_group(draft: Draft, group: Group) -> Agreement:
    agreement = Agreement(group.noun.gender == "f", group.many, group.many)
    form = agreement.form
    start = len(draft.english)
    said, dit = DETERMINERS.get(group.determiner, ("", ("",) * 4))
    draft.english += said.split()
    places = [draft.say(adjective.lemma) for adjective in group.adjectives]
    noun = draft.say(group.noun.english[group.many])
    pairs = list(zip(group.adjectives, places, strict=True))
    before = [pair for pair in pairs if pair[0].before]
    for part in dit[form].split():
        word, _, at = part.partition(":")
        draft.dire(word, start + int(at))
    if not said:  # "European laws": des lois européennes, but de nouvelles lois
        draft.dire("de" if before else "des", noun, borrowed=True)
    for adjective, place in before:
        draft.dire(adjective.french[form][0], place)
    draft.dire(group.noun.french[group.many], noun)
    for adjective, place in reversed(pairs):
        if not adjective.before:
            for word in adjective.french[form]:
                draft.dire(word, place)
    if group.tail:
        _say_tail(draft, group, agreement)
    return agreement


def _say_tail(draft: Draft, group: Group, agreement: Agreement) -> None:
    tail = group.tail
    if isinstance(tail, Complement):
        say_complement(draft, tail)
    elif isinstance(tail, Event):
        if tail.relative:
            person = group.noun.kind in ("officials", "citizens")
            draft.dire("qui", draft.say("who" if person else "that"))
            was = draft.say("were" if agreement.many else "was")
            draft.dire("ont" if agreement.many else "a", was)
            draft.dire("été", was)
        done = draft.say(tail.verb.english[2])
        draft.dire(tail.verb.participles[agreement.form], done)
        for word, place in tail.verb.dit_after:
            draft.dire(word, done + place)
        draft.both(tail.place)


def say_complement(draft: Draft, complement: Complement) -> None:
    """Say a preposition and its phrase."""
    said, dit = complement.preposition
    places = [draft.say(word) for word in said.split()]
    for word in dit.split():
        draft.dire(word, *places)
    say_phrase(draft, complement.phrase)
