"""Words of a caption as the COCO caption evaluation counts them: Penn Treebank style, lower case.

The COCO evaluation (Chen et al. 2015, arXiv:1504.00325, section 3.1) cuts captions into Penn
Treebank tokens, lowers them and drops punctuation. The rules here are those that the tokens of
captions show: clitics are parted (``don't``: ``do n't``), numbers, hyphens, slashes and
abbreviations hold together, brackets become ``-lrb-`` and the like (and count as words, as they do
there), full stops, commas, colons, quotes and dashes go. What differs is told in
docs/caption-metrics.md.
"""

import re
from typing import Final

_SUFFIXES: Final = ("n't", "'s", "'re", "'ve", "'ll", "'d", "'m")
_PARTED: Final = {
    "cannot": ("can", "not"),
    "gonna": ("gon", "na"),
    "wanna": ("wan", "na"),
    "gotta": ("got", "ta"),
    "lemme": ("lem", "me"),
    "gimme": ("gim", "me"),
    "'tis": ("'t", "is"),
    "'twas": ("'t", "was"),
    "y'all": ("y'", "all"),
}
_KEEP_STOP: Final = """
    al. apr. aug. ave. blvd. cf. co. corp. dec. dr. est. etc. feb. fig. fri. ft. inc. jan. jr. ltd.
    mon. mr. mrs. ms. mt. nov. oct. prof. rd. sat. sept. sq. sr. st. sun. thurs. tues. vs. wed.
"""
_ABBREVIATIONS: Final = frozenset(_KEEP_STOP.split())
_BRACKETS: Final = {
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
}  # fmt: skip
_DROPPED: Final = frozenset({"'", ".", "?", "!", ",", ":", ";"})

# What other alphabets and typesetting bring, brought to what the rules below know. Signs of money
# and fractions are those that the tokeniser of the COCO evaluation writes.
_FOLDED: Final = str.maketrans(
    {
        "’": "'",
        **dict.fromkeys("‘‛“”«»‹›–—…\u200b", " "),
        **{sign: f" {sign} " for sign in "⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉"},
        "½": " 1/2 ", "¼": " 1/4 ", "¾": " 3/4 ", "⅓": " 1/3 ", "⅔": " 2/3 ",
        "€": "$", "£": "#", "¢": " cents ", "\xad": "",
    }
)  # fmt: skip
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")

# Letters and digits; the ranges hold vowel signs, which Python does not count as such.
_A: Final = r"[^\W_]|[\u0300-\u036f\u0900-\u0dff]"
_TOKEN: Final = re.compile(
    rf"""
    https?://[^\s"<>]*[^\s"<>.,;:!?)']          # address of a page
    | [\w.+-]+@[\w-]+(?:\.[\w-]+)+              # of a letter box
    | </?[a-z][^<>\s]*>                         # mark-up
    | &amp;
    | (?<![^\W_])[-+]?(?:\d+(?:[.,:]\d+)+|\.\d+|\d+(?![^\W\d_]|[-/]?(?:{_A})))
      (?:[-/]\d+(?:[.,:]\d+)*)*                 # number, fraction, date, time, range
    | (?<![^\W_])[-+]\d+
    | '(?:tis|twas|em|til|cause|n'?|s|re|ve|ll|d|m)(?!\w)
    | (?:[^\W\d_]\.){{2,}}                      # u.s. a.m.
    | (?:{_A})+(?:[-/.'_](?:{_A})+)*\.?         # word; whether it keeps its stop is seen below
    | [\#@][^\W\d]\w*
    | [?!]{{2,}}
    | \*+ | _+
    | [^\s\w`"-]                                # any other sign
    """,
    re.VERBOSE,
)
_SHORT_STOP: Final = re.compile(r"(?:.*\.)?[^\W\d_]\.", re.DOTALL)
_known: dict[str, tuple[str, ...]] = {}
_KNOWN_MOST: Final = 200_000


def tokenise(text: str) -> list[str]:
    """Tokens of one caption; none where it holds no word.

    Example:
        >>> tokenise("Trees cover 30% of it; don't miss the built-up area (north-west).")[:8]
        ['trees', 'cover', '30', '%', 'of', 'it', 'do', "n't"]
    """
    lowered = text.lower()
    if not lowered.isascii():
        lowered = _ASTRAL.sub("", lowered.translate(_FOLDED))
    tokens: list[str] = []
    for piece in _TOKEN.findall(lowered):
        parts = _known.get(piece)
        if parts is None:
            parts = _parts(piece)
            if len(_known) < _KNOWN_MOST:
                _known[piece] = parts
        tokens += parts
    return tokens


def _parts(piece: str) -> tuple[str, ...]:
    if piece in _DROPPED:
        return ()
    if piece in _BRACKETS:
        return (_BRACKETS[piece],)
    if piece == "&amp;":
        return ("&",)
    if piece[0] == "<" or "://" in piece:
        return (piece,)
    if piece.endswith(".") and not (piece in _ABBREVIATIONS or _SHORT_STOP.fullmatch(piece)):
        piece = piece.rstrip(".")
    if piece in _PARTED:
        return _PARTED[piece]
    for suffix in _SUFFIXES:
        if piece.endswith(suffix) and len(piece) > len(suffix):
            return (piece[: -len(suffix)], suffix)
    return (piece,)
