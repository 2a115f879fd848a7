"""The verbs: their forms, who does it, to what it is done.

A line is "English French agents objects". English forms that no rule gives follow after colons
(past, participle), French ones too (participle, future stem); underscores tie a tail to its verb
("enter_into_force", "mettre:mis_en_œuvre"). Agents and objects are initials of noun kinds (texts,
measures, events, bodies, officials, citizens, places), N for names of institutions, S for states.
What takes no object has "+" or "-" in place of agents (past with être or avoir), then who does it.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from dlcli.data.grammar import english, french

TRANSITIVE = """
sign signer oNS t
adopt adopter bNS tm
ratify ratifier bNS t
publish publier bopNc t
approve approuver bocNS tm
reject rejeter:rejeté:rejetter bocNS tm
amend modifier boN tm
draft rédiger boN t
discuss discuter bocNS tm
present présenter bopNS tm
examine examiner bocpNS tm
support soutenir:soutenu:soutiendr bocpNS tmebo
criticise critiquer bocpNS tmebop
condemn condamner bocNS tmbo
welcome saluer bocNS tm
accept accepter bocpNS tm
negotiate négocier boNS t
translate traduire:traduit ocp t
submit:submitted soumettre:soumis boNS t
defend défendre:défendu bocNS tmbc
read:read lire:lu oc t
write:wrote:written écrire:écrit oc t
withdraw:withdrew:withdrawn retirer boNS tm
propose proposer bopNS tm
introduce introduire:introduit boNS m
abolish abolir boNS m
strengthen renforcer boNS m
reform réformer boNS mb
evaluate évaluer bopNS tm
apply appliquer bopNS tm
extend prolonger boNS tme
suspend suspendre:suspendu boNS tme
launch lancer bopNS m
finance financer bpNS mep
implement mettre:mis_en_œuvre bopNS tm
coordinate coordonner boNS me
manage gérer boN mp
organise organiser bpNS e
cancel:cancelled annuler bopNS te
postpone reporter boNS e
open ouvrir:ouvert boN ep
close fermer boN p
prepare préparer bopNS te
interrupt interrompre:interrompu boN e
follow suivre:suivi bocNS e
control:controlled contrôler boN bmp
create créer boNS bpm
consult consulter bopNS boc
inform informer bopNS boc
invite inviter bopNS boc
elect élire:élu bc o
appoint nommer boN o
meet:met rencontrer oN oc
receive recevoir:reçu:recevr boN oct
thank remercier bocNS boc
protect protéger boNS cpb
represent représenter oN bc
convince convaincre:convaincu bocN boc
choose:chose:chosen choisir bocN otm
modernise moderniser bpNS mp
build:built construire:construit bpNS p
restore restaurer bpNS p
sell:sold vendre:vendu bpN p
visit visiter oc p
destroy détruire:détruit c p
ban:banned interdire:interdit boNS em
simplify simplifier boNS tm
harmonise harmoniser bNS tm
"""
INTRANSITIVE = """
enter_into_force entrer_en_vigueur + tm
arrive arriver + oc
leave:left partir + oc
return revenir:revenu:reviendr + oc
take:took:taken_place avoir:eu:aur_lieu - e
fail échouer - em
succeed réussir - em
begin:began:begun commencer - e
continue continuer - e
vote voter - boc
resign démissionner - o
hesitate hésiter - boc
speak:spoke:spoken parler - o
protest protester - boc
work travailler - oc
disappear disparaître:disparu:disparaîtr - mc
"""
REPORTING = """
say:said dire:dit
announce annoncer
confirm confirmer
explain expliquer
repeat répéter
recall rappeler
indicate indiquer
"""
DECIDING = """
decide_to décider_de
refuse_to refuser_de
promise_to promettre:promis_de
agree_to accepter_de
try:tried_to tenter_de
begin:began_to commencer_à
"""


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of both languages.

    Attributes:
        lemma: the English infinitive, tail and all: it names the verb.
        english: infinitive, past, participle.
        french: infinitive, participles (m, m plural, f, f plural) and stem of the future.
        said_after: what follows the English verb ("place" in "took place").
        dit_after: what follows the French one, each word with its place in the English verb.
        agents: initials of who does it.
        objects: initials of what it is done to; none where the verb takes no object.
        moves: whether French forms its past with être.
    """

    lemma: str
    english: tuple[str, str, str]
    infinitive: str
    participles: tuple[str, str, str, str]
    stem: str
    said_after: tuple[str, ...]
    dit_after: tuple[tuple[str, int], ...]
    agents: str
    objects: str
    moves: bool


def _forms(text: str) -> tuple[str, list[str], tuple[str, ...]]:
    """Split "take:took:taken_place" into the verb, its given forms and its tail."""
    head, *tail = text.split("_")
    verb, *given = head.split(":")
    return verb, given, tuple(tail)


def _verb(line: str) -> Verb:
    said, dit, *roles = line.split()
    verb, forms, said_after = _forms(said)
    infinitive, formes, dit_after = _forms(dit)
    past = forms[0] if forms else english.past(verb)
    masculine = formes[0] if formes else french.participle(infinitive)
    first, second = (*roles, "", "")[:2]
    alone = first in ("+", "-")
    return Verb(
        lemma=" ".join((verb, *said_after)),
        english=(verb, past, forms[1] if len(forms) > 1 else past),
        infinitive=infinitive,
        participles=french.four_forms(masculine),
        stem=formes[1] if len(formes) > 1 else french.future_stem(infinitive),
        said_after=said_after,
        dit_after=tuple((word, min(at, len(said_after))) for at, word in enumerate(dit_after, 1)),
        agents=second if alone else first,
        objects="" if alone else second,
        moves=first == "+",
    )


def _table(text: str) -> tuple[Verb, ...]:
    return tuple(map(_verb, text.strip().splitlines()))


@functools.cache
def transitive(agent: str, patient: str) -> tuple[Verb, ...]:
    """Return what one kind does to another, by initials; no agent ("") means anyone."""
    verbs = _table(TRANSITIVE)
    return tuple(verb for verb in verbs if agent in verb.agents and patient in verb.objects)


@functools.cache
def intransitive(kind: str) -> tuple[Verb, ...]:
    """Return the verbs without object of which a kind of noun is the subject."""
    return tuple(verb for verb in _table(INTRANSITIVE) if kind[0] in verb.agents)


@functools.cache
def reporting() -> tuple[Verb, ...]:
    """Return the verbs that a clause with "that" follows."""
    return _table(REPORTING)


@functools.cache
def deciding() -> tuple[Verb, ...]:
    """Return the verbs that an infinitive follows."""
    return _table(DECIDING)
