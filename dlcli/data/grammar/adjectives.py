"""The adjectives: their forms, their place beside the noun, what they can be said of.

English puts adjectives in the order of the slots below, French puts `rank` and `age` before the
noun and the rest behind it, the other way round: "an important European economic agreement", "un
accord économique européen important".

A line is "English French kinds": exceptional feminine and plural forms follow after slashes; a
phrase that does not agree is written with underscores ("de_paix"). Kinds are initials of noun
kinds: texts, measures, events, bodies, officials, citizens, places.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from dlcli.data.grammar import french

RANK = """
first premier tmebocp
last dernier tmebocp
former ancien tmboc
same même tmebocp
main principal tmebop
future futur tmeboc
"""
VALUE = """
important important tmebo
ambitious ambitieux tme
historic historique tep
controversial controversé tmeboc
effective efficace tmbo
detailed détaillé tm
annual annuel tme
definitive définitif tm
temporary provisoire tmb
secret secret/secrète tme
transparent transparent tmeb
complex complexe tme
expensive coûteux mep
urgent urgent tme
useful utile tmep
modern moderne mp
strict strict tmo
independent indépendant boclp
complete complet/complète tm
precise précis tm
private privé ep
fundamental fondamental tm
favourable favorable t
necessary nécessaire tme
reasonable raisonnable tmo
unilateral unilatéral tm
special spécial tmebo
general général tme
honest honnête oc
famous célèbre ocp
courageous courageux oc
"""
AGE = """
new nouveau/nouvelle tmebocp
large grand mebp
small petit mebp
good bon tm
bad mauvais tm
long long/longue te
young jeune oc
true véritable tmec
vast vaste mep
"""
SCOPE = """
European européen tmebocp
international international tmebocp
French français tmebocp
German allemand tmebocp
Italian italien tmebocp
Spanish espagnol tmebocp
British britannique tmebocp
Greek grec/grecque tmebocp
Portuguese portugais tmebocp
Irish irlandais tmebocp
Danish danois tmebocp
Swedish suédois tmebocp
Norwegian norvégien tmebocp
Polish polonais tmebocp
Hungarian hongrois tmebocp
Belgian belge tmebocp
Austrian autrichien tmebocp
Swiss suisse tmebocp
Turkish turc/turque tmebocp
American américain tmebocp
Canadian canadien tmebocp
Russian russe tmebocp
global mondial tme
national national tmebop
regional régional tmebop
local local tmebop
bilateral bilatéral tme
multilateral multilatéral tme
common commun tm
"""
FIELD = """
economic économique tmeb
political politique tmeb
social social tmeb
monetary monétaire tmeb
agricultural agricole tmebp
industrial industriel tmeb
commercial commercial tmebp
cultural culturel tmebp
legal juridique tmeb
financial financier tmeb
military militaire tmebop
scientific scientifique tmebp
technical technique tmebp
fiscal fiscal tm
environmental environnemental tme
nuclear nucléaire tmebp
budgetary budgétaire tme
administrative administratif tmb
humanitarian humanitaire tmeb
constitutional constitutionnel tmeb
electoral électoral tmeb
democratic démocratique meb
diplomatic diplomatique tmeb
medical médical meb
maritime maritime tmebp
digital numérique tmeb
public public/publique mebp
peace de_paix te
security de_sécurité tmeb
research de_recherche meb
training de_formation meb
emergency d'_urgence tme
"""
SLOTS = {"rank": RANK, "value": VALUE, "age": AGE, "scope": SCOPE, "field": FIELD}
BEFORE = frozenset({"rank", "age"})
"""The slots that French puts before the noun."""


@dataclass(frozen=True, slots=True)
class Adjective:
    """An adjective of both languages, or a French phrase in its place.

    Attributes:
        lemma: the English word.
        slot: its place, a key of `SLOTS`.
        kinds: initials of the noun kinds it goes with.
        french: words by gender and number: m, m plural, f, f plural.
        before: whether the French adjective stands before its noun.
    """

    lemma: str
    slot: str
    kinds: str
    french: tuple[tuple[str, ...], ...]
    before: bool

    @property
    def agrees(self) -> bool:
        """Whether it is an adjective in French too, and no phrase."""
        return len(self.french[0]) == 1


def _adjective(line: str, *, slot: str) -> Adjective:
    lemma, dit, kinds = line.split()
    if "_" in dit:
        phrase = tuple(dit.replace("d'", "de").split("_"))
        return Adjective(lemma, slot, kinds, french=(phrase,) * 4, before=slot in BEFORE)
    masculine, *given = dit.split("/")
    woman = given[0] if given else french.feminine(masculine)
    men = given[1] if len(given) > 1 else french.plural(masculine)
    forms = tuple((form,) for form in (masculine, men, woman, french.plural(woman)))
    return Adjective(lemma, slot, kinds, french=forms, before=slot in BEFORE)


@functools.cache
def adjectives(slot: str, kind: str) -> tuple[Adjective, ...]:
    """Return the adjectives of a slot that go with a kind of noun."""
    lines = SLOTS[slot].strip().splitlines()
    found = (_adjective(line, slot=slot) for line in lines)
    return tuple(adjective for adjective in found if kind[0] in adjective.kinds)
