"""Clauses and sentences in both languages at once: tenses, voices, negation, adverbs."""

from __future__ import annotations

from dlcli.data.grammar.draft import Draft, Example
from dlcli.data.grammar.meaning import Clause, Negation, Sentence, Tense
from dlcli.data.grammar.phrases import Agreement, say_complement, say_phrase
from dlcli.data.grammar.verbs import Verb

BEING: dict[Tense, tuple[str, str]] = {
    "past": ("was|were", "était:0|étaient:0"),
    "present": ("is|are", "est:0|sont:0"),
    "future": ("will be", "sera:0,1|seront:0,1"),
    "conditional": ("would be", "serait:0,1|seraient:0,1"),
    "must": ("must be", "doit:0 être:1|doivent:0 être:1"),
    "should": ("should be", "devrait:0 être:1|devraient:0 être:1"),
    "can": ("can be", "peut:0 être:1|peuvent:0 être:1"),
    "pluperfect": ("had been", "avait:0 été:1|avaient:0 été:1"),
}
"""English and French auxiliaries of passives and states, singular and plural."""
BEEN: dict[Tense, tuple[str, str]] = {"past": ("was|were", "a:0 été:0|ont:0 été:0")}
"""Where the passive differs: it happened once."""
HAVING = {"past": "a|ont", "pluperfect": "avait|avaient"}
MOVING = {"past": "est|sont", "pluperfect": "était|étaient"}
MODALS = {"must": "doit|doivent", "should": "devrait|devraient", "can": "peut|peuvent"}
NEGATIONS: dict[Negation, str] = {"not": "pas", "never": "jamais"}
ENDINGS = {"future": ("will", "a|ont"), "conditional": ("would", "ait|aient")}


def _number(forms: str, *, many: bool) -> str:
    one, _, more = forms.partition("|")
    return more if many and more else one


def say_sentence(sentence: Sentence) -> Example:
    """Say a meaning in both languages."""
    draft = Draft()
    if sentence.first:
        draft.both(sentence.first)
        draft.dire(",", draft.say(","))
    if sentence.reporter:
        subject, verb, conjunction = sentence.reporter
        _say_active(draft, Clause("active", "past", subject, verb), verb)
        draft.both(conjunction)
    _say_clause(draft, sentence.clause)
    if sentence.joint:
        conjunction, clause = sentence.joint
        draft.both(conjunction)
        _say_clause(draft, clause)
    draft.dire(sentence.stop, draft.say(sentence.stop))
    return draft.finish()


def _say_clause(draft: Draft, clause: Clause) -> None:
    if clause.voice == "active":
        assert isinstance(clause.verb, Verb)
        _say_active(draft, clause, clause.verb)
        if clause.other:
            say_phrase(draft, clause.other)
    else:
        _say_being(draft, clause)
        if clause.other:
            draft.dire("par", draft.say("by"))
            say_phrase(draft, clause.other)
    for phrase in clause.when_and_where:
        draft.both(phrase)
    if clause.during:
        say_complement(draft, clause.during)


def _say_being(draft: Draft, clause: Clause) -> None:
    """Say subject, auxiliaries and what agrees with the subject: a participle or an adjective."""
    subject = say_phrase(draft, clause.subject)
    table = {**BEING, **BEEN} if clause.voice == "passive" else BEING
    said, dit = table[clause.tense]
    first, *others = _number(said, many=subject.said_many).split()
    places = [draft.say(first)]
    denied = _deny(draft, clause)
    places += map(draft.say, others)
    tokens = [part.partition(":") for part in _number(dit, many=subject.many).split()]
    auxiliaries = [(word, [places[int(at)] for at in ats.split(",")]) for word, _, ats in tokens]
    adverb = draft.say(clause.manner.english[0]) if clause.manner else None
    _negate(draft, clause, denied, *auxiliaries[0])
    for word, linked in auxiliaries[1:]:
        draft.dire(word, *linked)
    _add_adverb(draft, clause, adverb)
    if isinstance(clause.verb, Verb):
        _say_participle(draft, clause.verb, subject)
    else:
        draft.dire(clause.verb.french[subject.form][0], draft.say(clause.verb.lemma))


def _deny(draft: Draft, clause: Clause) -> int | None:
    """Say "not" or "never", and where it stands."""
    return draft.say(clause.negation) if clause.negation else None


def _negate(draft: Draft, clause: Clause, denied: int | None, word: str, places: list[int]) -> None:
    """Say a French finite verb, between ne and pas or jamais where it is denied."""
    if denied is not None:
        draft.dire("ne", denied)
    draft.dire(word, *places)
    if denied is not None:
        draft.dire(NEGATIONS[clause.negation], denied)


def _add_adverb(draft: Draft, clause: Clause, place: int | None) -> None:
    if clause.manner and place is not None:
        draft.dire(clause.manner.french[0][0], place)


def _say_participle(draft: Draft, verb: Verb, subject: Agreement) -> None:
    place = draft.say(verb.english[2])
    draft.dire(verb.participles[subject.form], place)
    _say_after(draft, verb, place)


def _say_after(draft: Draft, verb: Verb, place: int) -> None:
    """Say what follows a verb: "place" and "lieu" of "took place"."""
    for word in verb.said_after:
        draft.say(word)
    for word, at in verb.dit_after:
        draft.dire(word, place + at)


def _say_active(draft: Draft, clause: Clause, verb: Verb) -> None:
    """Say subject and verb, up to the object."""
    subject = say_phrase(draft, clause.subject)
    if clause.deciding:
        _say_past(draft, clause, clause.deciding, subject)
        place = draft.say(verb.english[0])
        draft.dire(verb.infinitive, place)
        _say_after(draft, verb, place)
    elif clause.tense in HAVING:
        _say_past(draft, clause, verb, subject)
    else:
        _say_modal(draft, clause, verb, subject)


def _say_past(draft: Draft, clause: Clause, verb: Verb, subject: Agreement) -> None:
    """Say "adopted" and "a adopté", "did not adopt", "had adopted"; être where a verb moves."""
    past = clause.tense == "past"
    bare = past and clause.negation != "not"  # "adopted", "never adopted", but "did not adopt"
    auxiliary = None if bare else draft.say("did" if past else "had")
    denied = _deny(draft, clause)
    adverb = draft.say(clause.manner.english[0]) if clause.manner else None
    form = (1 if bare else 0) if past else 2
    place = draft.say(verb.english[form])
    table = MOVING if verb.moves else HAVING
    finite = _number(table[clause.tense], many=subject.many)
    _negate(draft, clause, denied, finite, [place if auxiliary is None else auxiliary])
    _add_adverb(draft, clause, adverb)
    draft.dire(verb.participles[subject.form if verb.moves else 0], place)
    _say_after(draft, verb, place)


def _say_modal(draft: Draft, clause: Clause, verb: Verb, subject: Agreement) -> None:
    """Say "must adopt" and "doit adopter", "will adopt" and "adoptera", and their like."""
    bent = ENDINGS.get(clause.tense)
    auxiliary = draft.say(bent[0] if bent else clause.tense)
    denied = _deny(draft, clause)
    adverb = draft.say(clause.manner.english[0]) if clause.manner else None
    place = draft.say(verb.english[0])
    if bent:
        finite = verb.stem + _number(bent[1], many=subject.many)
        _negate(draft, clause, denied, finite, [auxiliary, place])
        _add_adverb(draft, clause, adverb)
    else:
        finite = _number(MODALS[clause.tense], many=subject.many)
        _negate(draft, clause, denied, finite, [auxiliary])
        _add_adverb(draft, clause, adverb)
        draft.dire(verb.infinitive, place)
    _say_after(draft, verb, place)
