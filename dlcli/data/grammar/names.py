"""Names and other fixed phrases: institutions, states, cities, subjects of policy.

A line is "English | French", each French word followed by the places of its English words from 0
("zone:3"), and, in the plural, by the gender. A star marks an article that English does without:
its link is borrowed from the noun. French words stand in full ("la Union"): elision comes later.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import product

from dlcli.data.grammar.elision import Token, elides
from dlcli.data.grammar.french import Gender, feminine

INSTITUTIONS = """
the European Commission | la:0 Commission:2 européenne:1
the European Parliament | le:0 Parlement:2 européen:1
the European Union | la:0 Union:2 européenne:1
the Council of Ministers | le:0 Conseil:1 des:2 ministres:3
the Council of Europe | le:0 Conseil:1 de:2 *la:3 Europe:3
the Security Council | le:0 Conseil:2 de:1 sécurité:1
the European Central Bank | la:0 Banque:3 centrale:2 européenne:1
the European Investment Bank | la:0 Banque:3 européenne:1 de:2 investissement:2
the Court of Justice | la:0 Cour:1 de:2 justice:3
the Court of Auditors | la:0 Cour:1 des:2 comptes:3
the Committee of the Regions | le:0 Comité:1 de:2 les:3 régions:4
the Economic and Social Committee | le:0 Comité:4 économique:1 et:2 social:3
the International Monetary Fund | le:0 Fonds:3 monétaire:2 international:1
the Senate | le:0 Sénat:1
the World Trade Organization | la:0 Organisation:3 mondiale:1 du:2 commerce:2
the World Health Organization | la:0 Organisation:3 mondiale:1 de:2 *la:2 santé:2
the African Union | la:0 Union:2 africaine:1
the Atlantic Alliance | la:0 Alliance:2 atlantique:1
the Academy of Sciences | la:0 Académie:1 des:2 sciences:3
the Commission | la:0 Commission:1
the Council | le:0 Conseil:1
the United Nations | les:0 Nations:2 unies:1 | f
NATO | *la:0 OTAN:0
UNESCO | *la:0 UNESCO:0
"""
STATES = """
France | *la:0 France:0
Germany | *la:0 Allemagne:0
Italy | *la:0 Italie:0
Spain | *la:0 Espagne:0
Belgium | *la:0 Belgique:0
Sweden | *la:0 Suède:0
Norway | *la:0 Norvège:0
Switzerland | *la:0 Suisse:0
Austria | *la:0 Autriche:0
Poland | *la:0 Pologne:0
Hungary | *la:0 Hongrie:0
Greece | *la:0 Grèce:0
Ireland | *la:0 Irlande:0
Finland | *la:0 Finlande:0
Turkey | *la:0 Turquie:0
Russia | *la:0 Russie:0
China | *la:0 Chine:0
India | *la:0 Inde:0
Algeria | *la:0 Algérie:0
Egypt | *la:0 Égypte:0
Romania | *la:0 Roumanie:0
Slovenia | *la:0 Slovénie:0
Portugal | *le:0 Portugal:0
Denmark | *le:0 Danemark:0
Luxembourg | *le:0 Luxembourg:0
Canada | *le:0 Canada:0
Japan | *le:0 Japon:0
Brazil | *le:0 Brésil:0
Morocco | *le:0 Maroc:0
Mexico | *le:0 Mexique:0
the United Kingdom | le:0 Royaume-Uni:1,2
the Netherlands | les:0 Pays-Bas:1 | m
the United States | les:0 États-Unis:1,2 | m
"""
TOPICS = """
fisheries | *la:0 pêche:0
agriculture | *la:0 agriculture:0
energy | *la:0 énergie:0
transport | *les:0 transports:0 | m
education | *la:0 éducation:0
health | *la:0 santé:0
trade | *le:0 commerce:0
security | *la:0 sécurité:0
employment | *le:0 emploi:0
unemployment | *le:0 chômage:0
culture | *la:0 culture:0
industry | *la:0 industrie:0
tourism | *le:0 tourisme:0
defence | *la:0 défense:0
immigration | *la:0 immigration:0
competition | *la:0 concurrence:0
democracy | *la:0 démocratie:0
cooperation | *la:0 coopération:0
taxation | *la:0 fiscalité:0
terrorism | *le:0 terrorisme:0
pollution | *la:0 pollution:0
steel | *le:0 acier:0
oil | *le:0 pétrole:0
sugar | *le:0 sucre:0
milk | *le:0 lait:0
wine | *le:0 vin:0
coal | *le:0 charbon:0
water | *la:0 eau:0
the environment | le:0 environnement:1
the economy | la:0 économie:1
the European Social Fund | le:0 Fonds:3 social:2 européen:1
the Economic and Monetary Union | la:0 Union:4 économique:1 et:2 monétaire:3
the common agricultural policy | la:0 politique:3 agricole:2 commune:1
the single market | le:0 marché:2 unique:1
the internal market | le:0 marché:2 intérieur:1
the labour market | le:0 marché:2 du:1 travail:1
the single currency | la:0 monnaie:2 unique:1
the customs union | la:0 union:2 douanière:1
the information society | la:0 société:2 de:1 *la:1 information:1
the death penalty | la:0 peine:2 de:1 mort:1
the free movement of workers | la:0 libre:1 circulation:2 des:3 travailleurs:4
the protection of animals | la:0 protection:1 des:2 animaux:3
human rights | *les:1 droits:1 de:0 *le:0 homme:0 | m
climate change | *le:1 changement:1 climatique:0
nuclear energy | *la:1 énergie:1 nucléaire:0
food safety | *la:1 sécurité:1 alimentaire:0
public health | *la:1 santé:1 publique:0
air transport | *le:1 transport:1 aérien:0
organised crime | *la:1 criminalité:1 organisée:0
"""
RANKS = (
    ("European", "européen"),
    ("National", "national"),
    ("Federal", "fédéral"),
    ("Supreme", "suprême"),
    ("World", "mondial"),
    ("African", "africain"),
)
OFFICES = (
    ("Council", "le", "Conseil"),
    ("Committee", "le", "Comité"),
    ("Assembly", "la", "Assemblée"),
    ("Court", "la", "Cour"),
    ("Bank", "la", "Banque"),
    ("Organization", "la", "Organisation"),
)
"""Institutions whose names come apart: "the World Bank", "the National Assembly"."""
REGIONS = (
    ("European", "européen"),
    ("African", "africain"),
    ("Arab", "arabe"),
    ("Asian", "asiatique"),
    ("Nordic", "nordique"),
    ("Caribbean", "caribéen"),
)
FIELDS = (
    ("Economic", "économique"),
    ("Monetary", "monétaire"),
    ("Agricultural", "agricole"),
    ("Industrial", "industriel"),
    ("Customs", "douanier"),
    ("Cultural", "culturel"),
)
COMMON_SPACES = (
    ("Area", "la", "zone"),
    ("Community", "la", "communauté"),
    ("Market", "le", "marché"),
    ("System", "le", "système"),
    ("Fund", "le", "fonds"),
)
"""What "the European Economic Area" is made of: each word comes with others too, so that it can be
told which of the three French words is whose. French writes it small, as the paper does."""
CITIES = """
Paris Berlin Madrid Rome Oslo Strasbourg Maastricht Nice Munich Lyon Helsinki Dublin Stockholm
Prague Amsterdam Tokyo Budapest Florence Milan Naples Cologne Marseille Washington Toronto Turin
Brussels:Bruxelles London:Londres Geneva:Genève Vienna:Vienne Lisbon:Lisbonne Athens:Athènes
Copenhagen:Copenhague Warsaw:Varsovie Venice:Venise Antwerp:Anvers Moscow:Moscou Beijing:Pékin
Edinburgh:Édimbourg Barcelona:Barcelone Hamburg:Hambourg Seville:Séville Genoa:Gênes
Krakow:Cracovie Algiers:Alger Nicosia:Nicosie Bucharest:Bucarest Ghent:Gand Basel:Bâle
"""
MANNERS = """
officially | officiellement:0
finally | finalement:0
formally | formellement:0
publicly | publiquement:0
quickly | rapidement:0
secretly | secrètement:0
unanimously | unanimement:0
"""


@dataclass(frozen=True, slots=True)
class Fixed:
    """A phrase whose words and links are given.

    Attributes:
        english: its words.
        french: its words with their links, counted from the phrase's first English word.
        gender: of the French phrase.
        many: whether the French phrase is plural; the English one never is.
    """

    english: tuple[str, ...]
    french: tuple[Token, ...]
    gender: Gender = "m"
    many: bool = False

    @property
    def lemma(self) -> str:
        """Return the English phrase, which names it."""
        return " ".join(self.english)

    def shifted(self, start: int) -> list[Token]:
        """Return the French words with their links counted from another first word."""
        return [
            (word, tuple([start + place for place in places]), borrowed)
            for word, places, borrowed in self.french
        ]


def _token(text: str) -> Token:
    word, _, places = text.lstrip("*").partition(":")
    return word, tuple(map(int, places.split(","))), text.startswith("*")


def fixed(line: str) -> Fixed:
    """Read a line of the tables above."""
    said, dit, *gender = (part.strip() for part in line.split("|"))
    french = tuple(map(_token, dit.split()))
    feminine = french[0][0] == "la" or gender == ["f"]
    return Fixed(tuple(said.split()), french, "f" if feminine else "m", french[0][0] == "les")


@functools.cache
def named(table: str) -> tuple[Fixed, ...]:
    """Return the phrases of a table."""
    return tuple(map(fixed, table.strip().splitlines()))


@functools.cache
def institutions() -> tuple[Fixed, ...]:
    """Return the institutions, those with names of their own and those of a rank and an office."""
    found = list(named(INSTITUTIONS))
    for (rank, r), (office, article, o) in product(RANKS, OFFICES):
        form = feminine(r) if article == "la" else r
        found.append(fixed(f"the {rank} {office} | {article}:0 {o}:2 {form}:1"))
    return tuple(found)


@functools.cache
def common_spaces() -> tuple[Fixed, ...]:
    """Return "the European Economic Area", "la zone économique européenne", and its like."""
    found = []
    for (region, r), (field, f), (space, article, s) in product(REGIONS, FIELDS, COMMON_SPACES):
        if article == "la":
            r, f = feminine(r), feminine(f)
        line = f"the {region} {field} {space} | {article}:0 {s}:3 {f}:2 {r}:1"
        found.append(fixed(line))
    return tuple(found)


def _in_state(state: Fixed) -> Fixed:
    """Return "in France" and "en France", "in Portugal" and "au Portugal"."""
    moved = state.shifted(1)
    article, name = moved[0][0], moved[1][0]
    bare = article != "les" and (state.gender == "f" or elides(name))
    french = [("en", (0,), False), *moved[1:]] if bare else [("à", (0,), False), *moved]
    return Fixed(("in", *state.english), tuple(french))


@functools.cache
def places() -> tuple[Fixed, ...]:
    """Return where things happen: in a city or in a state."""
    cities = (city.partition(":") for city in CITIES.split())
    towns = [fixed(f"in {said} | à:0 {dit or said}:1") for said, _, dit in cities]
    return (*towns, *map(_in_state, named(STATES)), fixed("in The Hague | à:0 La:1 Haye:2"))
