"""The nouns, by what they name, since that decides what can be said of them.

A line is "English French gender": a plural that no rule gives follows its singular after a colon.
Each English noun has one French noun and the other way round.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from dlcli.data.grammar import english, french
from dlcli.data.grammar.french import Gender

TREATIES = """
agreement accord m
treaty traité m
convention convention f
protocol protocole m
contract contrat m
charter charte f
act acte m
"""
TEXTS = """
directive directive f
regulation règlement m
law loi f
report rapport m
resolution résolution f
declaration déclaration f
recommendation recommandation f
decision décision f
proposal proposition f
constitution constitution f
amendment amendement m
opinion avis m
text texte m
clause clause f
decree décret m
document document m
"""
MEASURES = """
policy politique f
strategy stratégie f
plan plan m
programme programme m
reform réforme f
measure mesure f
initiative initiative f
project projet m
system système m
rule règle f
standard norme f
tax taxe f
sanction sanction f
tariff tarif m
quota quota m
subsidy subvention f
procedure procédure f
method méthode f
campaign campagne f
mechanism mécanisme m
network réseau m
fund fonds m
budget budget m
investment investissement m
privilege privilège m
increase hausse f
hierarchy hiérarchie f
"""
EXCHANGES = """
conference conférence f
meeting réunion f
summit sommet m
session session f
debate débat m
negotiation négociation f
congress congrès m
seminar séminaire m
inquiry enquête f
referendum:referenda référendum m
exhibition exposition f
workshop atelier m
"""
EVENTS = """
election élection f
visit visite f
ceremony cérémonie f
mission mission f
festival festival:festivals m
crisis:crises crise f
war guerre f
journey voyage m
expedition expédition f
celebration célébration f
"""
BODIES = """
committee comité m
council conseil m
government gouvernement m
parliament parlement m
delegation délégation f
assembly assemblée f
court tribunal m
ministry ministère m
authority autorité f
agency agence f
organisation organisation f
party parti m
group groupe m
association association f
administration administration f
region région f
city ville f
state État m
embassy ambassade f
province province f
federation fédération f
coalition coalition f
army armée f
majority majorité f
opposition opposition f
"""
OFFICIALS = """
president président m
minister ministre m
ambassador ambassadeur m
member membre m
expert expert m
representative représentant m
deputy député m
commissioner commissaire m
judge juge m
director directeur m
secretary secrétaire m
mayor maire m
leader dirigeant m
negotiator négociateur m
observer observateur m
delegate délégué m
official fonctionnaire m
adviser conseiller m
senator sénateur m
chancellor chancelier m
queen reine f
princess princesse f
chairwoman:chairwomen présidente f
duchess duchesse f
"""
CITIZENS = """
citizen citoyen m
worker travailleur m
farmer agriculteur m
student étudiant m
journalist journaliste m
engineer ingénieur m
lawyer avocat m
doctor médecin m
producer producteur m
researcher chercheur m
teacher enseignant m
fisherman:fishermen pêcheur m
driver chauffeur m
victim victime f
nurse infirmière f
hero:heroes héros m
inhabitant habitant m
trader commerçant m
actress actrice f
mother mère f
"""
PROVIDERS = """
hospital hôpital m
school école f
university université f
company entreprise f
newspaper journal m
institute institut m
museum musée m
bank banque f
library bibliothèque f
theatre théâtre m
"""
PLACES = """
laboratory laboratoire m
factory usine f
station gare f
port port m
airport aéroport m
bridge pont m
hotel hôtel m
prison prison f
church église f
hall hall m
hangar hangar m
hamlet hameau m
"""
KINDS = {
    "treaties": TREATIES,
    "texts": TEXTS,
    "measures": MEASURES,
    "exchanges": EXCHANGES,
    "events": EVENTS,
    "bodies": BODIES,
    "officials": OFFICIALS,
    "citizens": CITIZENS,
    "providers": PROVIDERS,
    "places": PLACES,
}


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun of both languages.

    Attributes:
        lemma: the English singular, which names it.
        kind: what it names, a key of `KINDS`.
        english: singular and plural.
        french: singular and plural.
        gender: of the French noun.
    """

    lemma: str
    kind: str
    english: tuple[str, str]
    french: tuple[str, str]
    gender: Gender


def _noun(line: str, *, kind: str) -> Noun:
    said, dit, gender = line.split()
    one, _, many = said.partition(":")
    un, _, plusieurs = dit.partition(":")
    return Noun(
        lemma=one,
        kind=kind,
        english=(one, many or english.plural(one)),
        french=(un, plusieurs or french.plural(un)),
        gender="f" if gender == "f" else "m",
    )


@functools.cache
def nouns(kind: str) -> tuple[Noun, ...]:
    """Return the nouns of a kind."""
    return tuple(_noun(line, kind=kind) for line in KINDS[kind].strip().splitlines())
