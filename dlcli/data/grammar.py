"""The embedded data set `grammar`: English–French pairs that a grammar of our own makes.

`grammar.yaml` beside this file holds the words, their forms, the templates and the rules, and says
how to add to them. Here the rules become finite spaces, a meaning is drawn from them, and both
sentences are said from it at once, so that the links between their words are known. Combinations
of words that the test uses are kept out of training.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
import random
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from dlcli.data.sentences import Corpus, Pairs

TRAIN_PAIRS = 60_000
SHORTEST, LONGEST = 4, 30  # words, punctuation counted, on either side

Split = Literal["train", "valid", "test"]
Combination = tuple[str, str]
"""What is new about a sentence: a noun with its adjective, or a subject with its verb."""


@dataclass(frozen=True, slots=True)
class Example:
    """A finished pair.

    Attributes:
        source: the English sentence.
        target: the French sentence.
        links: which English word stands for which French one, in Pharaoh format from 0.
        lengths: words of both, punctuation and elided ones counted.
    """

    source: str
    target: str
    links: str
    lengths: tuple[int, int]


def load_grammar(
    *, seed: int = 0, train: int = TRAIN_PAIRS, valid: int = 500, test: int = 1_000
) -> Corpus:
    """Return sentences of the grammar in three splits, all different, with their links.

    The same seed gives the same sentences, and the first n of a larger split are the same.
    No seed puts a held-out combination of words into training (`split_of`). The first test
    sentence is that of Bahdanau, Cho and Bengio (2015), Figure 3a.

    Args:
        seed: of the draws; at least 0.
        train: pairs to learn from.
        valid: pairs to choose by.
        test: pairs to report.
    """
    return Corpus(
        name="grammar",
        languages=("en", "fr"),
        train=_pairs(draw("train", seed=seed), train),
        valid=_pairs(draw("valid", seed=seed), valid),
        tests={"test": _pairs(draw("test", seed=seed), test)},
    )


def _pairs(examples: Iterator[Example], count: int) -> Pairs:
    drawn = [next(examples) for _ in range(count)]
    return Pairs(
        source=tuple(example.source for example in drawn),
        target=tuple(example.target for example in drawn),
        links=tuple(example.links for example in drawn),
    )


def draw(split: Split, *, seed: int) -> Iterator[Example]:
    """Draw pairs of one split without end, none twice."""
    seen: set[str] = set()
    for meaning in meanings(split, seed=seed):
        example = write(meaning)
        fits = min(example.lengths) >= SHORTEST and max(example.lengths) <= LONGEST
        if fits and example.source not in seen:
            seen.add(example.source)
            yield example


def meanings(split: Split, *, seed: int) -> Iterator[Node]:
    """Draw meanings of one split without end."""
    chance = random.Random(f"grammar {split} {seed}").random
    sentences = space("sentence")
    if split == "test":
        yield space("famous").draw(chance)
    while True:
        meaning = sentences.draw(chance)
        if split_of_all(combinations(meaning)) == split:
            yield meaning


@functools.cache
def split_of(combination: Combination) -> Split:
    """Return where a combination of words may occur: "train" means everywhere."""
    held_out, name = _grammar()["held out"], "|".join(combination)
    place = zlib.crc32(name.encode()) % 100 - held_out["test percent"]
    if place < 0 or name in held_out["always test"]:
        return "test"
    return "valid" if place < held_out["valid percent"] else "train"


def split_of_all(combinations: Iterable[Combination]) -> Split | None:
    """Return the one split that a sentence with these combinations belongs to.

    That is training where none is held out, and None where both other splits claim it.
    """
    claims = {split_of(combination) for combination in combinations} - {"train"}
    if len(claims) > 1:
        return None
    return claims.pop() if claims else "train"


def combinations(node: Node, heads: tuple[str, ...] = ()) -> Iterator[Combination]:
    """Yield each noun with its adjectives and each subject with its verbs, as lemmas."""
    heads = _heads(node) or heads
    for part in node.parts.values():
        if isinstance(part, Word):
            yield from ((head, part.lemma) for head in heads)
        elif isinstance(part, Node):
            yield from combinations(part, heads)


HEADS = ("subject", "noun", "first", "second")
"""The parts of a node that verbs and adjectives agree with."""


def _heads(node: Node) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    for name in HEADS:
        if name in node.parts:
            part = node.parts[name]
            found += _heads(part) if isinstance(part, Node) else (part.lemma,)
    return found


Token = tuple[str, tuple[int, ...], bool]
"""A French word, the English words it is linked to, and whether its noun lends it the link."""


class Agreement(NamedTuple):
    """What a verb takes from its subject: gender and number in French, number in English."""

    feminine: bool = False
    many: bool = False
    said_many: bool = False

    @property
    def form(self) -> int:
        """Return the place among four forms: m, m plural, f, f plural."""
        return 2 * self.feminine + self.many


class Node(NamedTuple):
    """A part of a meaning.

    Attributes:
        template: how it is said: the name of a template, or the template itself.
        parts: nodes and words by their names in the template.
    """

    template: str
    parts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun of both languages: its singular and plural, and the gender of the French one."""

    lemma: str
    english: tuple[str, str]
    french: tuple[str, str]
    feminine: bool


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """A verb or an adjective of both languages.

    Attributes:
        lemma: the English word, tail and all, which names it.
        english: its words by form; "" is the form of the dictionary.
        french: by form, the words for m, m plural, f, f plural.
        tail: French words that follow, each with its place in the English ones.
        subjects: of a verb, initials of who does it.
        objects: initials of what a verb is done to or an adjective can be said of.
        predicate: whether an adjective may stand behind "is".
        before: whether a French adjective stands before its noun.
    """

    lemma: str
    english: Mapping[str, tuple[str, ...]]
    french: Mapping[str, tuple[str, ...]]
    tail: tuple[tuple[str, int], ...] = ()
    subjects: str = ""
    objects: str = ""
    predicate: bool = False
    before: bool = False

    def tokens(self, form: str, agreement: Agreement, start: int) -> list[Token]:
        """Return a form in French, linked to the English word that stands at `start`."""
        forms = self.french.get(form)
        words = [(forms[agreement.form], 0)] if forms else []
        return [(word, (start + at,), False) for word, at in (*words, *self.tail)]


@dataclass(frozen=True, slots=True)
class Name:
    """A phrase whose words and links are given.

    Attributes:
        english: its words.
        french: its words with their links, counted from the phrase's first English word.
        agreement: what agrees with it; a plural French name may be singular in English.
    """

    english: tuple[str, ...]
    french: tuple[Token, ...]
    agreement: Agreement

    @property
    def lemma(self) -> str:
        """Return the English phrase, which names it."""
        return " ".join(self.english)

    def tokens(self, start: int) -> list[Token]:
        """Return the French words, linked to English ones of which the first stands at `start`."""
        return [
            (word, tuple([start + place for place in places]), borrowed)
            for word, places, borrowed in self.french
        ]


class Determiner(NamedTuple):
    """A determiner: English words, French ones whose "endings" are m and f, and its number."""

    english: tuple[str, ...]
    french: list[Piece]
    many: bool


def inflect(table: str, word: str) -> str:
    """Return a regular form: the first ending of a table of `forms` that the word has is replaced.

    Args:
        table: such as "french plural".
        word: the form of the dictionary.
    """
    for ending, new in _grammar()["forms"][table].items():
        changed, count = re.subn(ending, new, word, count=1)
        if count:
            return changed
    return word


@functools.cache
def _grammar() -> dict[str, Any]:
    text = Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one takes 2 ms, not 40
    return yaml.load(text, loader)  # type: ignore[no-any-return]


@functools.cache
def words(name: str) -> tuple[Any, ...] | None:
    """Return the words of a list, such as "noun treaties" or "verb b t"; None if there is none."""
    grammar = _grammar()
    section, _, rest = name.partition(" ")
    given = rest.split()
    if section == "noun":
        return tuple(_noun(line) for line in grammar["nouns"][rest].splitlines())
    if section == "predicate":
        return tuple(word for word in words(f"value {rest}") or () if word.predicate)
    if section in grammar["adjectives"]:
        before = section in grammar["before the noun"].split()
        lines = grammar["adjectives"][section].splitlines()
        found = [_adjective(line, before=before) for line in lines]
        return tuple(word for word in found if not given or rest[0] in word.objects)
    if section in grammar["verbs"]:
        found = [_verb(line) for line in grammar["verbs"][section].splitlines()]
        if given and given[0] != "any":
            found = [verb for verb in found if given[0] in verb.subjects]
        return tuple(verb for verb in found if not given[1:] or given[1][0] in verb.objects)
    if name in grammar["names"]:
        lines = grammar["names"][name].splitlines()
        return tuple(itertools.chain.from_iterable(map(_names, lines)))
    if name in grammar["determiners"]:
        pieces = [_piece(text, {}) for text in grammar["determiners"][name].split()]
        return (Determiner(tuple(name.rstrip("+").split()), pieces, many="+" in name),)
    return None


def _noun(line: str) -> Noun:
    english, french, gender = line.split()
    one, _, many = english.partition(":")
    both = one, many or inflect("english plural", one)
    un, _, plural = french.partition(":")
    return Noun(one, both, (un, plural or inflect("french plural", un)), feminine=gender == "f")


@functools.cache
def _adjective(line: str, *, before: bool) -> Word:
    english, french, *more = line.split()
    if "_" in french:  # de_paix, d'_urgence
        first, *others = french.replace("d'", "de").split("_")
        forms, tail = (first,) * 4, tuple((word, 0) for word in others)
    else:
        one, *given = french.split("/")
        feminine = given[0] if given else inflect("french feminine", one)
        many = given[1] if len(given) > 1 else inflect("french plural", one)
        forms, tail = (one, many, feminine, inflect("french plural", feminine)), ()
    kinds, predicate = "".join(more[:1]), "is" in more
    return Word(
        english,
        {"": (english,)},
        {"": forms},
        tail,
        objects=kinds,
        predicate=predicate,
        before=before,
    )


@functools.cache
def _verb(line: str) -> Word:
    english, french, *roles = line.split()
    (base, *given), *after = (part.split(":") for part in english.split("_"))
    (infinitive, *more), *behind = (part.split(":") for part in french.split("_"))
    past = given[0] if given else inflect("english past", base)
    participle = more[0] if more else inflect("french participle", infinitive)
    stem = more[1] if len(more) > 1 else inflect("french future", infinitive)
    done = (participle, inflect("french plural", participle), participle + "e", participle + "es")
    moves = "+" in roles
    auxiliary = _grammar()["auxiliaries"]["être" if moves else "avoir"]
    subjects, objects = (roles[1], "") if moves or "-" in roles else (*roles, "", "")[:2]
    forms = {"": base, "past": past, "done": given[1] if len(given) > 1 else past}
    said_after = tuple(word for (word,) in after)
    return Word(
        lemma=" ".join((base, *said_after)),
        english={form: (word, *said_after) for form, word in forms.items()},
        french={
            "": (infinitive,) * 4,
            "done": done,
            "perfect": done if moves else (participle,) * 4,
            "stem": (stem,) * 4,
            **{form: tuple(words.split("/")) * 2 for form, words in auxiliary.items()},
        },
        tail=tuple((word, min(at, len(after))) for at, (word,) in enumerate(behind, 1)),
        subjects=subjects,
        objects=objects,
    )


def _names(line: str) -> Iterator[Name]:
    """Read a line of `names`: a phrase, a few simple ones, or what a list or a rule holds."""
    if line.startswith("<"):
        yield from filter(None, map(_as_name, space(line.strip("<>"))))
    elif "|" in line:
        yield _name(line)
    else:
        for text in line.split():
            first, _, last = text.partition("..")
            for word in map(str, range(int(first), int(last) + 1)) if last else [text]:
                english, _, french = word.partition(":")
                yield _name(f"{english} | {french or english}:0")


def _name(line: str) -> Name:
    english, french, *gender = map(str.split, line.split("|"))
    tokens = []
    for text in french:
        word, _, places = text.lstrip("*").partition(":")
        tokens.append((word, tuple(map(int, places.split(","))), text.startswith("*")))
    article = tokens[0][0]
    agreement = Agreement(article == "la" or gender == [["f"]], article == "les", said_many=False)
    return Name(tuple(english), tuple(tokens), agreement)


def _as_name(found: Node | Name) -> Name | None:
    """Say a node as a name; none where a part comes twice ("between France and France")."""
    if isinstance(found, Name):
        return found
    parts = [part.lemma for part in found.parts.values() if isinstance(part, Name)]
    if len(set(parts)) < len(parts):
        return None
    english: list[str] = []
    french, agreement = _say(found, english, Agreement())
    return Name(tuple(english), tuple(french), agreement._replace(said_many=False))


Chance = Callable[[], float]
"""A source of numbers, uniform in [0, 1), such as `random.Random(seed).random`, whose values are
the same in every version of Python."""


class Values:
    """Given values, all different and equally likely."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = tuple(values)
        self.size = len(self.values)

    def draw(self, chance: Chance) -> Any:
        """Draw one value; a single one costs no random number."""
        return self.values[int(chance() * self.size)] if self.size > 1 else self.values[0]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)


class Product:
    """Nodes of a template, with an element of each part; no two choices may give one node."""

    def __init__(self, template: str | None, parts: Sequence[tuple[str, Space]]) -> None:
        self.template = template
        self.names = [name for name, _ in parts]
        self.parts = [part for _, part in parts]
        self.size: int = math.prod([part.size for part in self.parts])

    def draw(self, chance: Chance) -> Any:
        """Draw an element of every part, in order."""
        return self._gather([part.draw(chance) for part in self.parts])

    def __iter__(self) -> Iterator[Any]:
        return map(self._gather, itertools.product(*self.parts))

    def _gather(self, drawn: Iterable[Any]) -> Node | dict[str, Any]:
        parts = dict(zip(self.names, drawn, strict=True))
        if "" in parts:  # those that have no template of their own
            parts.update(parts.pop(""))
        return parts if self.template is None else Node(self.template, parts)


class Union:
    """Disjoint spaces, drawn by weight; a union inside a union is opened, which saves draws."""

    def __init__(self, branches: Iterable[tuple[float, Space]]) -> None:
        opened = [branch for pair in branches for branch in _opened(*pair)]
        self.weights = [weight for weight, _ in opened]
        self.branches = [branch for _, branch in opened]
        self.size: int = sum([branch.size for branch in self.branches])
        self._bounds = list(itertools.accumulate(self.weights))[:-1]
        self._total = sum(self.weights)

    def draw(self, chance: Chance) -> Any:
        """Draw a branch by weight, then one of its elements."""
        at = bisect.bisect_right(self._bounds, chance() * self._total)
        return self.branches[at].draw(chance)

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self.branches)


Space = Values | Product | Union


def _opened(weight: float, inner: Space) -> list[tuple[float, Space]]:
    if not isinstance(inner, Union):
        return [(weight, inner)]
    total = sum(inner.weights)
    return [
        (weight * part / total, branch)
        for part, branch in zip(inner.weights, inner.branches, strict=True)
    ]


@functools.cache
def space(name: str) -> Space:
    """Return all that a list of words or a rule allows.

    Args:
        name: of a list ("noun treaties"), of a word of it ("noun treaties/agreement"), or of a
            rule with words for its capitals ("date past main").

    Raises:
        KeyError: no list and no rule has this name, or the list lacks the word.
    """
    name, _, picked = name.partition("/")
    listed = words(name)
    if listed is None:
        return _rule(name)
    if picked == "singular":
        return Values([name for name in listed if not name.agreement.many])
    if picked and picked not in [word.lemma for word in listed]:
        raise KeyError(f"grammar.yaml has no '{picked}' in '{name}'")
    return Values([word for word in listed if not picked or word.lemma == picked])


LINE = re.compile(r"(?:(?P<weight>[\d.]+)(?: |$))?(?P<body>[^\[]*)(?:\[(?P<guard>.*)\])?")


def _rule(name: str) -> Space:
    given = name.split()
    text, bound = _found_rule(given)
    branches: list[tuple[float, Space]] = []
    for line in re.sub("\n +", " ", text).splitlines():
        match = LINE.fullmatch(line)
        assert match is not None, line
        if _holds(match["guard"], given):
            weight = float(match["weight"] or 0)
            for often, body in _repeated(weight, _filled(match["body"].strip(), bound)):
                branch = _line(body)
                if not weight:
                    return branch
                if branch.size:
                    branches.append((often, branch))
    return Union(branches)


def _found_rule(given: list[str]) -> tuple[str, dict[str, str]]:
    """Return the first rule that fits, and what its capitals stand for."""
    for name, text in _grammar()["rules"].items():
        pairs = list(itertools.zip_longest(name.split(), given))
        bound = {key: word for key, word in pairs if key and word and key.isupper() and key[1:]}
        if all(word is not None and key in (word, *bound) for key, word in pairs):
            return text, bound
    raise KeyError(f"grammar.yaml has no list and no rule '{' '.join(given)}'")


def _filled(text: str, bound: Mapping[str, str]) -> str:
    return re.sub(r"\b[A-Z]{2,}\b", lambda match: bound.get(match[0], match[0]), text)


def _holds(guard: str | None, given: list[str]) -> bool:
    """Tell whether a line such as "… [said, not reported]" is for these words."""
    conditions = re.findall(r"(not )?([\w-]+)", guard or "")
    return all((word in given) != bool(negated) for negated, word in conditions)


def _repeated(weight: float, text: str) -> list[tuple[float, str]]:
    """Repeat a line for each word of the loops that it names; return weights and lines."""
    lines = [(weight, text)]
    for loop, items in _grammar()["loops"].items():
        if loop in text:
            lines = [
                (weight * often, line.replace(loop, word))
                for weight, line in lines
                for word, often in items.items()
            ]
    return lines


PART = re.compile(r"(?:(\w+)=)?(?:\{([^}]*)\}|(\S+))")
SLOT = re.compile(r"\{(?:(\w+)=)?((\w+)[^}]*)\}")


def _line(body: str) -> Space:
    """Return what a line of a rule allows."""
    if body.startswith("<"):
        return space(body.strip("<>"))
    constructor = re.match(r"(\w*):", body)
    if constructor:
        found = PART.findall(body[constructor.end() :])
        parts = [(name, space(rule) if rule else Values([word])) for name, rule, word in found]
        return Product(constructor[1] or None, parts)
    template = SLOT.sub(lambda slot: f"{{{slot[1] or slot[3]}}}", body)
    slots = SLOT.findall(body.split("|")[0])
    return Product(template, [(name or first, space(rule)) for name, rule, first in slots])


def write(meaning: Node) -> Example:
    """Say a meaning in both languages: contraction, elision, capitals, spaces."""
    english: list[str] = []
    french, _ = _say(meaning, english, Agreement())
    vowel = _grammar()["an before"]
    for at, word in enumerate(english[:-1]):
        if word == "a" and re.match(vowel, english[at + 1].lower()):
            english[at] = "an"
    tokens = elide(contract(french))
    links = sorted([(place, at) for at, token in enumerate(tokens) for place in token[1]])
    return Example(
        source=_sentence(english),
        target=_sentence([word for word, _, _ in tokens], french=True),
        links=" ".join([f"{source}-{target}" for source, target in links]),
        lengths=(len(english), len(tokens)),
    )


def _sentence(words: list[str], *, french: bool = False) -> str:
    """Write words as a sentence: no space before punctuation, nor behind an apostrophe.

    French has a space before a semicolon and an exclamation mark.
    """
    text = " ".join(words).replace(" ,", ",").replace(" .", ".")
    text = text.replace("' ", "'") if french else text.replace(" ;", ";").replace(" !", "!")
    return text[0].upper() + text[1:]


class Piece(NamedTuple):
    """A word of a template, such as `was/were:1`, `{verb.done}` or `{verb.stem}a/ont:1,4`.

    Attributes:
        part: the part of the node that is said here; "" for a word of the template's own.
        form: of the part.
        endings: singular and plural of the word, or of what is added to the part.
        places: of the English pieces that a French one is linked to.
        whole: whether a part is said with all that belongs to it, and linked to itself.
    """

    part: str
    form: str
    endings: tuple[str, str]
    places: tuple[int, ...]
    whole: bool


PIECE = re.compile(r"(?:\{(\w+)(?:\.(\w+))?\})?([^:]*)(?::([\d,]+))?")


@functools.cache
def _template(text: str) -> tuple[list[Piece], list[Piece]]:
    """Read a template: the pieces of English, and of French."""
    source, bar, target = text.partition("|")
    english = [_piece(word, {}) for word in source.split()]
    if not bar:
        return english, [piece._replace(places=(at,)) for at, piece in enumerate(english)]
    places = {piece.part: at for at, piece in enumerate(english)}
    return english, [_piece(word, places) for word in target.split()]


def _piece(text: str, at: Mapping[str, int]) -> Piece:
    match = PIECE.fullmatch(text)
    assert match is not None, text
    part, form, word, linked = (group or "" for group in match.groups())
    one, _, many = word.partition("/")
    places = tuple(map(int, linked.split(","))) if linked else (at.get(part, 0),)
    return Piece(part, form, (one, many or one), places, whole=bool(part and not linked))


Said = tuple[list[Token], Agreement]
"""French words and what agrees with them."""


def _say(node: Node | Name, english: list[str], agreement: Agreement) -> Said:
    """Say a meaning: add its English words, return its French ones."""
    if isinstance(node, Name):
        french = node.tokens(start=len(english))
        english += node.english
        return french, node.agreement
    if node.template == "noun_phrase":
        return _say_noun_phrase(node.parts, english)
    source, target = _template(_chosen(node))
    starts: list[int | None] = []
    phrases: dict[str, list[Token]] = {}
    for piece in source:
        part, start = node.parts.get(piece.part), len(english)
        if not piece.part:
            english.append(piece.endings[agreement.said_many])
        elif isinstance(part, Word):
            english += part.english[piece.form]
        elif part is not None:
            phrases[piece.part], agreed = _say(part, english, agreement)
            if piece.part == "second":
                agreement = Agreement(agreement.feminine and agreed.feminine, True, True)
            elif piece.part in HEADS:
                agreement = agreed
        starts.append(start if len(english) > start else None)
    french = []
    for piece in target:
        if piece.part in phrases:
            french += phrases[piece.part]
            continue
        places = tuple([at for place in piece.places if (at := starts[place]) is not None])
        part = node.parts.get(piece.part)
        if places and part and piece.whole:
            french += part.tokens(piece.form, agreement, places[0])
        elif places:
            stem = part.french[piece.form][agreement.form] if part else ""
            french.append((stem + piece.endings[agreement.many], places, False))
    return french, agreement


def _chosen(node: Node) -> str:
    """Return a node's template: of its tense, and of its negation where that has one of its own."""
    templates, name = _grammar()["templates"], node.template
    if "tense" in node.parts:
        name = f"{name} {node.parts['tense']}"
        if "negation" in node.parts:
            negated = f"{name} {node.parts['negation'].lemma}"
            name = negated if negated in templates else name
    return str(templates.get(name, name))


def _say_noun_phrase(parts: Mapping[str, Any], english: list[str]) -> Said:
    """Say a noun phrase: determiner, adjectives in each language's order, noun, what follows."""
    determiner, noun = parts["determiner"], parts["noun"]
    found = parts["adjectives"].parts.values() if "adjectives" in parts else ()
    agreement = Agreement(noun.feminine, determiner.many, determiner.many)
    start = len(english)
    english += (*determiner.english, *(word.lemma for word in found), noun.english[determiner.many])
    place = len(english) - 1
    first = start + len(determiner.english)
    adjectives = [(word, word.tokens("", agreement, at)) for at, word in enumerate(found, first)]
    before = [token for word, tokens in adjectives if word.before for token in tokens]
    french: list[Token] = [
        (piece.endings[noun.feminine], (start + piece.places[0],), False)
        for piece in determiner.french
    ]
    if not french:  # "European laws": des lois européennes, but de nouvelles lois
        french = [("de" if before else "des", (place,), True)]
    french += [*before, (noun.french[agreement.many], (place,), False)]
    for word, tokens in reversed(adjectives):
        french += [] if word.before else tokens
    tail, _ = _say(parts["tail"], english, agreement) if "tail" in parts else ([], agreement)
    return french + tail, agreement


@functools.cache
def elides(following: str) -> bool:
    """Tell whether the next word makes "le" an "l'"."""
    grammar = _grammar()
    vowel = re.match(grammar["elide before"], following.lower())
    return vowel is not None and following not in grammar["aspirated"].split()


def contract(tokens: Sequence[Token]) -> list[Token]:
    """Join prepositions with articles; the word that results has the links of both.

    An article without a counterpart has its link from its noun ("la pêche", fisheries): joined
    to a preposition it gives that up.
    """
    table = _grammar()["contractions"]
    done: list[Token] = []
    last = ""
    for at, (word, links, borrowed) in enumerate(tokens):
        elided = word in ("le", "la") and elides(tokens[at + 1][0])
        joined = table.get(f"{last} l'" if elided else f"{last} {word}")
        if joined:
            done[-1] = (joined, done[-1][1] + (() if borrowed else links), False)
        else:
            done.append((word, links, borrowed))
        last = joined or word
    return done


def elide(tokens: Sequence[Token]) -> list[Token]:
    """Shorten words before a vowel or a mute h, and choose cet, son and nouvel there."""
    done, table = list(tokens), _grammar()["elisions"]
    for at, (word, links, borrowed) in enumerate(tokens[:-1]):
        if word in table and elides(tokens[at + 1][0]):
            done[at] = table[word], links, borrowed
    return done
