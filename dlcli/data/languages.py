"""Languages: their names, and pairs of them such as `de-en`.

A language has any name of letters, digits and underscores. Names of the standards (ISO 639, and a
region or script after it) are known by all their forms: `deu` is `de`, `cmn` is `zh`, and `pt-BR`
is `pt_BR`, because a hyphen stands between the two languages of a pair.
"""

from __future__ import annotations

import re

from dlcli.errors import ConfigError

Languages = tuple[str, str]
"""Of source and target."""

CODES = {
    "ara": "ar", "bel": "be", "ben": "bn", "bod": "bo", "bul": "bg", "cat": "ca", "ces": "cs",
    "cze": "cs", "cmn": "zh", "chi": "zh", "cym": "cy", "dan": "da", "deu": "de", "ger": "de",
    "ell": "el", "gre": "el", "eng": "en", "epo": "eo", "est": "et", "eus": "eu", "pes": "fa",
    "fas": "fa", "per": "fa", "fin": "fi", "fra": "fr", "fre": "fr", "gle": "ga", "glg": "gl",
    "heb": "he", "hin": "hi", "hrv": "hr", "hun": "hu", "hye": "hy", "ind": "id", "isl": "is",
    "ice": "is", "ita": "it", "jpn": "ja", "kat": "ka", "geo": "ka", "kaz": "kk", "khm": "km",
    "kor": "ko", "lao": "lo", "lav": "lv", "lit": "lt", "mar": "mr", "mkd": "mk", "mac": "mk",
    "mon": "mn", "mya": "my", "bur": "my", "nld": "nl", "dut": "nl", "nob": "nb", "nno": "nn",
    "nor": "no", "pol": "pl", "por": "pt", "ron": "ro", "rum": "ro", "rus": "ru", "slk": "sk",
    "slo": "sk", "slv": "sl", "spa": "es", "sqi": "sq", "alb": "sq", "srp": "sr", "swe": "sv",
    "tam": "ta", "tel": "te", "tgl": "tl", "tha": "th", "tur": "tr", "ukr": "uk", "urd": "ur",
    "vie": "vi", "zho": "zh",
}  # fmt: skip
"""Three letters (ISO 639-2 and 639-3) → two (ISO 639-1), the usual three first. Other names are
taken as they are."""
_SUFFIX = re.compile(r"([a-z]{2}|[a-z]{3})([_-][A-Za-z]{2,4})?")
_NAME = re.compile(r"[^\W\d_]\w{0,39}")


def language(name: str) -> str:
    """Return the name that a language has in this program: `deu` is `de`, `pt-BR` is `pt_BR`.

    Raises:
        ConfigError: it is no name.
    """
    first, mark, rest = name.strip().replace("-", "_").partition("_")
    short = first.lower() if len(first) in (2, 3) else first
    found = CODES.get(short, short) + mark + rest
    if not _NAME.fullmatch(found):
        raise ConfigError(
            f"'{name}' is no name of a language.",
            hint="Use a code such as de or pt_BR, or letters, digits and underscores.",
        )
    return found


def languages_of(direction: str) -> Languages:
    """Return the two languages of a direction: `de-en` → ("de", "en").

    Raises:
        ConfigError: it does not name two.
    """
    names = direction.split("-")
    if len(names) != 2 or not all(map(_NAME.fullmatch, names)):
        raise ConfigError(
            f"There is no direction '{direction}'.",
            hint="Write two languages with a hyphen between them, such as en-fr or de-en.",
        )
    return language(names[0]), language(names[1])


def language_of_suffix(suffix: str) -> str:
    """Return the language that a file's suffix names, such as `de` or `deu`, or an empty string."""
    match = _SUFFIX.fullmatch(suffix)
    named = match and (len(match[1]) == 2 or match[1] in CODES)
    return language(suffix) if named else ""


def languages_of_stem(stem: str) -> Languages | None:
    """Return the two languages that end the name of a file of pairs: `pairs.de-en`, `deu-eng`."""
    found = [language_of_suffix(code) for code in stem.rpartition(".")[2].split("-")]
    known = len(found) == 2 and all(name.partition("_")[0] in CODES.values() for name in found)
    return (found[0], found[1]) if known else None
