"""The embedded data set `agglutinative`: two invented languages without spaces, made by rule.

Both say the same meanings: who does what to whom, perhaps where. `qaa` glues suffixes to stems and
has the verb last; `qab` glues prefixes to stems and has the verb first:

    qaa   (adjective) noun (plural) case, …, verb (negation) tense
          kumi-pela-ga-da + sotu-ba + rina-za-ha = kumipelagadasotubarinazaha
    qab   tense (negation) verb, …, case (plural) noun (adjective)
          sa-ni-jove + ki-dizu + ti-pi-hoba-wegi = sanijovekidizutipihobawegi

A stem of `qab` is that of `qaa` with its two syllables exchanged and each letter replaced. The
vowel of a suffix is `e` after a stem that ends with e or i, else `a` (vowel harmony). Stems and
what is glued to them share no consonant, so that each language can be taken apart in one way only
and translated in both directions without loss. The codes are of those that ISO 639-2 leaves to
private use.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product

from dlcli.data.languages import Languages
from dlcli.data.sentences import Corpus, Pairs, stable_hash

LANGUAGES: Languages = ("qaa", "qab")
TRAIN_PAIRS, VALID_PAIRS, TEST_PAIRS = 20_000, 500, 1_000

STEMS = [
    c1 + "aeiou"[number % 5] + c2 + "aeiou"[number // 3 % 5]
    for number, (c1, c2) in enumerate(product("ptkmnslr", repeat=2))
]
"""64 stems: 32 nouns, 16 verbs, 16 adjectives."""
NOUNS, VERBS, ADJECTIVES = STEMS[::2], STEMS[1::4], STEMS[3::4]
LETTERS = str.maketrans("ptkmnslraeiou", "bdgwjzhvoaeui")
"""Of a stem of `qaa` → of `qab`."""
SUFFIX = {
    "plural": "g", "nominative": "d", "accusative": "b", "locative": "v",
    "not": "z", "past": "h", "present": "w", "future": "j",
}  # fmt: skip
"""Consonants in `qaa`; their vowel harmonises."""
PREFIX = {
    "plural": "pi", "nominative": "ti", "accusative": "ki", "locative": "mi",
    "not": "ni", "past": "sa", "present": "la", "future": "ra",
}  # fmt: skip

Phrase = tuple[list[str], list[str]]
"""Stems, the head last, and what is glued to it, from the stem outwards."""


def load_agglutinative(
    *,
    seed: int = 0,
    train: int = TRAIN_PAIRS,
    valid: int = VALID_PAIRS,
    test: int = TEST_PAIRS,
) -> Corpus:
    """Return sentences in three splits, all different.

    The same seed gives the same sentences, and the first n of a larger split are the same. Which
    split a sentence belongs to follows from its hash alone.

    Args:
        seed: of the draws; at least 0.
        train: pairs to learn from.
        valid: pairs to choose by.
        test: pairs to report.
    """
    return Corpus(
        name="agglutinative",
        languages=LANGUAGES,
        train=Pairs.of(islice(draw("train", seed=seed), train)),
        valid=Pairs.of(islice(draw("valid", seed=seed), valid)),
        tests={"test": Pairs.of(islice(draw("test", seed=seed), test))},
    )


def draw(split: str, *, seed: int) -> Iterator[tuple[str, str]]:
    """Draw pairs of one split without end, none twice."""
    chance, seen = random.Random(f"agglutinative {split} {seed}").random, set[str]()
    while True:
        source, target = write(meaning(chance))
        place = stable_hash(source) % 20
        belongs = "test" if place == 0 else "valid" if place == 1 else "train"
        if belongs == split and source not in seen:
            seen.add(source)
            yield source, target


def meaning(chance: Callable[[], float]) -> list[Phrase]:
    """Draw the phrases of a sentence, as `qaa` has them: subject, object, perhaps place, verb."""

    def one_of(choices: Sequence[str]) -> str:
        return choices[int(chance() * len(choices))]

    phrases: list[Phrase] = []
    for case in ("nominative", "accusative", *["locative"] * (chance() < 0.3)):
        adjective = [one_of(ADJECTIVES)] if chance() < 0.4 else []
        plural = ["plural"] if chance() < 0.4 else []
        phrases.append(([*adjective, one_of(NOUNS)], [*plural, case]))
    negation = ["not"] if chance() < 0.3 else []
    tense = one_of(("past", "present", "future"))
    return [*phrases, ([one_of(VERBS)], [*negation, tense])]


def write(phrases: list[Phrase]) -> tuple[str, str]:
    """Say a meaning in both languages."""
    source = "".join(_suffixed(*phrase) for phrase in phrases)
    target = "".join(_prefixed(*phrase) for phrase in reversed(phrases))
    return source, target


def _suffixed(stems: list[str], glued: list[str]) -> str:
    vowel = "e" if stems[-1][-1] in "ei" else "a"
    return "".join(stems) + "".join(SUFFIX[name] + vowel for name in glued)


def _prefixed(stems: list[str], glued: list[str]) -> str:
    said = [(stem[2:] + stem[:2]).translate(LETTERS) for stem in reversed(stems)]
    return "".join(PREFIX[name] for name in reversed(glued)) + "".join(said)
