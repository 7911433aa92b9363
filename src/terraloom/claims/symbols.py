"""From text to sentences of symbols: words, phrases, figures, places, then noun phrases."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from terraloom.claims.amounts import FIGURE, figure_value, has_figure
from terraloom.claims.lexicon import SCENE_NOUNS, Entry, lexicon
from terraloom.claims.places import PLACE, has_place, place_value
from terraloom.claims.wording import (
    AREA_NOUNS,
    MEASURED_NOUNS,
    MEASURED_SHAPES,
    NO_CLASS_MORE,
    SHAPES,
    SINGLE,
    THAN_ANY_OTHER,
    grammar,
)
from terraloom.classes import ClassTable

MAX_SENTENCE_WORDS: Final = 400
"""Longer runs without a full stop are cut, so that time stays linear in the text."""
_TOKEN: Final = re.compile(
    r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+(?:[.,]\d+)*|\.|[!?\n]|[,;:()/&—–-]|[^\w\s]"
)
_EXTENDS: Final = re.compile(r"(?:extend|spread|stretch|reach|rang)(?:s|es|ing)?\s+$")
_STOP: Final = frozenset(".!?\n")
# Marks that show nothing or turn the direction of writing; they may hide inside a word.
_INVISIBLE: Final = re.compile(
    "[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
)
_SUFFIX: Final = frozenset(
    ("covered", "dominated", "lined", "filled", "rich", "clad", "like", "based", "use")
)
_PARTICIPLES: Final = frozenset(
    ("scattered", "planted", "built", "arranged", "parked", "concentrated", "clustered",
     "distributed", "confined", "spread", "running", "winding", "flowing")
)  # fmt: skip
_PREFIX_DENIES: Final = frozenset(("non", "semi", "pseudo", "un", "anti", "quasi"))


@dataclass(slots=True)
class Symbol:
    """One symbol of a sentence and where it stands in the text."""

    char: str
    start: int
    end: int
    value: str | None = None
    label: int | None = None
    fine: bool = False
    adjective: bool = False
    whole: bool = False
    """A class noun that describes the whole scene: "a forested landscape"."""
    own: bool = False
    """Has a determiner of its own: "a settlement"."""
    definite: bool = False
    """Stands after "the"; told of scene nouns alone."""
    small: bool = False
    """Its head is a measure, so that "small" before it speaks of extent."""
    words: str = ""
    shapes: tuple[tuple[str, int, int], ...] = ()
    """What it is told to be like: values of claims of shape, and the characters that say so."""
    shape_alone: bool = False
    """Holds words of shape and nothing else: "narrow" of "a narrow, winding road"."""
    bare: bool = False
    """A class noun without anything before it."""


_NOTHING: Final = Symbol("", 0, 0)
_AFTER_VERB: Final = frozenset(
    ("the", "a", "an", "most", "much", "more", "less", "nearly", "almost", "virtually",
     "practically", "all", "similar", "only", "equal", "each")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Phrases:
    """Every known phrase, and how many words may follow a first word."""

    meaning: dict[str, tuple[str, str | None] | Entry]
    longest: dict[str, int]


@lru_cache(maxsize=64)
def _known_phrases(classes: ClassTable) -> _Phrases:
    meaning: dict[str, tuple[str, str | None] | Entry] = dict(grammar())
    meaning.update(lexicon(classes))
    longest: dict[str, int] = {}
    for phrase in meaning:
        words = phrase.split()
        longest[words[0]] = max(longest.get(words[0], 1), len(words))
    return _Phrases(meaning, longest)


def plain_text(text: str) -> tuple[str, list[int] | None]:
    """Lower-case text without invisible marks, and the place of each character in the original.

    The places are None where nothing moved.
    """
    lowered = text.lower()
    if len(lowered) == len(text) and not _INVISIBLE.search(lowered):
        return lowered, None
    kept, places = [], []
    for place, char in enumerate(text):
        if _INVISIBLE.match(char):
            continue
        low = char.lower()
        kept.append(low if len(low) == 1 else unicodedata.normalize("NFKD", char)[0].lower()[:1])
        places.append(place)
    return "".join(kept), places


def sentences(text: str, classes: ClassTable) -> Iterator[list[Symbol]]:
    """Sentences as symbols; a question claims nothing and is left out.

    Args:
        text: as `plain_text` gives it.
        classes: the table whose words are known.
    """
    phrases = _known_phrases(classes)
    taken = _taken(text)
    tokens = [(m[0], m.start(), m.end()) for m in _TOKEN.finditer(text)]
    start = 0
    for place, (word, _, _) in enumerate(tokens):
        if word in _STOP or place - start >= MAX_SENTENCE_WORDS:
            if word != "?" and place > start:
                yield _joined(_symbols(text, tokens[start:place], phrases, taken))
            start = place + 1 if word in _STOP else place
    if start < len(tokens):
        yield _joined(_symbols(text, tokens[start:], phrases, taken))


def _taken(text: str) -> dict[int, Symbol]:
    """Figures, places and long constructions, by where they start; the earlier found wins."""
    found: list[Symbol] = []
    if " than" in text:
        for pattern, char in ((NO_CLASS_MORE, "Y"), (THAN_ANY_OTHER, "Z")):
            found += [Symbol(char, m.start(), m.end(), "largest") for m in pattern.finditer(text)]
    if has_place(text):
        for match in PLACE.finditer(text):
            told = place_value(match)
            if told is not None:
                found.append(Symbol(told[0], match.start(), match.end(), told[1]))
    if has_figure(text):
        for match in FIGURE.finditer(text):
            value, start = figure_value(match), match.start()
            if match["over"] == "over" and _EXTENDS.search(text, 0, start):
                # "Extends over a third": the word belongs to the verb.
                start += len("over ")
                value = value and value.replace("over ", "about " if match["fraction"] else "")
            if value is not None and _is_amount(match, text):
                found.append(Symbol("q", start, match.end(), value))
                found[-1].own = bool(match["number"] or match["low"] or match["count"])
    kept: dict[int, Symbol] = {}
    occupied = bytearray(len(text) if found else 0)
    for symbol in found:
        if not any(occupied[symbol.start : symbol.end]):
            occupied[symbol.start : symbol.end] = b"\1" * (symbol.end - symbol.start)
            kept[symbol.start] = symbol
    return kept


def _is_amount(match: re.Match[str], text: str) -> bool:
    """Whether a fraction word is one: "a third", "half", but not "water third"."""
    if not match["fraction"] or match["count"] or match["fraction"] == "half":
        return True
    told = match[0]
    return " " in told.strip() and not re.match(
        r"\s*(?:corner|class|road|street)", text[match.end() :]
    )


def _symbols(
    text: str,
    tokens: list[tuple[str, int, int]],
    phrases: _Phrases,
    taken: dict[int, Symbol],
) -> list[Symbol]:
    """Symbols of one sentence, noun phrases not yet joined."""
    found: list[Symbol] = []
    place, end = 0, 0
    meaning, longest = phrases.meaning, phrases.longest
    count = len(tokens)
    while place < count:
        word, start, stop = tokens[place]
        if start < end:
            place += 1
            continue
        if start in taken:
            found.append(taken[start])
            end = taken[start].end
            place += 1
            continue
        if not word[0].isalnum():
            place += 1
            if (
                word == "-"
                and start
                and text[start - 1 : start].isalnum()
                and (text[stop : stop + 1].isalnum())
            ):
                continue  # inside a word
            char = _MARKS.get(word)
            if char:
                found.append(Symbol(char, start, stop))
            continue
        # The longest known phrase from here, hyphens inside it passed over.
        best, best_next = None, place + 1
        if word in longest:
            words, at = word, place
            for _ in range(longest[word]):
                if words in meaning:
                    best, best_next = meaning[words], at + 1
                at += 1
                if at < count and tokens[at][0] == "-" and at + 1 < count:
                    at += 1
                if at >= count or tokens[at][1] in taken:
                    break
                words = f"{words} {tokens[at][0]}"
        if isinstance(best, Entry) and best_next - place > 1 and _is_verb(tokens, best_next, taken):
            # "Trees and grass cover most of it": a verb here, not "grass cover".
            best_next -= 1
            best = meaning.get(" ".join(t[0] for t in tokens[place:best_next] if t[0] != "-"))
        stop = tokens[best_next - 1][2]
        symbol = _symbol(best, start, stop, tokens[best_next - 1][0])
        if symbol.char == "x":
            symbol.words = word
        elif symbol.char == "n":
            best_next = _hyphened(symbol, text, tokens, best_next)
        elif word.endswith("less") and best is None:
            base = meaning.get(word[:-4])
            if isinstance(base, Entry) and base.label is not None:
                found.append(Symbol("-", start, stop))
                symbol = _symbol(base, start, stop, word)
        found.append(symbol)
        end = symbol.end
        place = best_next
    return found


def _is_verb(tokens: list[tuple[str, int, int]], after: int, taken: dict[int, Symbol]) -> bool:
    """Whether "cover" at the end of a phrase is a verb, by what follows."""
    return (
        tokens[after - 1][0] == "cover"
        and after < len(tokens)
        and (tokens[after][0] in _AFTER_VERB or taken.get(tokens[after][1], _NOTHING).char == "q")
    )


_MARKS: Final = {
    ",": ",", ";": ";", ":": ";", "(": "(", ")": ")", "—": ";", "–": ";", "&": "&", "/": "|",
    "-": ";",
}  # fmt: skip


def _symbol(
    meaning: tuple[str, str | None] | Entry | None, start: int, end: int, word: str
) -> Symbol:
    if meaning is None:
        return Symbol("o", start, end, words=word)
    if isinstance(meaning, Entry):
        if meaning.label is None:
            return Symbol("o", start, end, words=word)
        return Symbol(
            "n", start, end, label=meaning.label, fine=meaning.fine, adjective=meaning.adjective,
            words=word,
        )  # fmt: skip
    return Symbol(meaning[0], start, end, meaning[1], words=word)


def _hyphened(symbol: Symbol, text: str, tokens: list[tuple[str, int, int]], after: int) -> int:
    """Judges what hangs on a class noun by a hyphen; the place of the next token."""
    if text[symbol.start - 1 : symbol.start] == "-":
        before = re.search(r"(\w+)-$", text[max(symbol.start - 12, 0) : symbol.start])
        if before and before[1] in _PREFIX_DENIES:
            symbol.char, symbol.label = "o", None
            return after
    if (
        after + 1 < len(tokens)
        and tokens[after][0] == "-"
        and tokens[after][1] == symbol.end
        and (tokens[after + 1][1] == symbol.end + 1)
    ):
        suffix, _, stop = tokens[after + 1]
        if suffix in _SUFFIX:
            symbol.end, symbol.adjective, symbol.words = stop, True, suffix
        elif suffix in ("free", "less"):
            symbol.char, symbol.end = "j", stop
        else:
            symbol.char, symbol.label = "o", None
        return after + 2
    if after < len(tokens) and tokens[after][0] in ("free", "covered") and symbol.char == "n":
        following = tokens[after + 1][0] if after + 1 < len(tokens) else ""
        if tokens[after][0] == "covered" and following in AREA_NOUNS:
            symbol.end, symbol.adjective, symbol.words = tokens[after][2], True, "covered"
            return after + 1
    return after


def _joined(symbols: list[Symbol]) -> list[Symbol]:
    """Noun phrases put together: "dense green forest" becomes N, "a football field" O."""
    found: list[Symbol] = []
    run: list[Symbol] = []
    own = run_own = is_definite = False
    for place, symbol in enumerate(symbols):
        following = symbols[place + 1].char if place + 1 < len(symbols) else ""
        char = symbol.char = _in_context(symbol, found, run, following)
        if char == " ":
            continue
        if char == "x":
            before = run if all(s.char == "o" for s in run) else []
            symbol.shapes = _shapes_of_measure(symbol, before)
            if before:
                run, own = [], run_own  # "vast expanses of"
        if char == "d":
            own, is_definite = True, symbol.words == "the"
            if run:  # a determiner starts a new phrase
                _add_phrases(run, run_own, found)
                run = []
            continue
        if char in "nos":
            symbol.definite = is_definite
            if not run:
                run_own, own = own, False
            run.append(symbol)
            continue
        if run:
            _add_phrases(run, run_own, found)
            run = []
        symbol.own = symbol.own or own
        found.append(symbol)
        is_definite = False
        # A measure starts a phrase of its own: "traces of trees, large areas of crops".
        own = char == "x" or (symbol.own and char in "mk")
    if run:
        _add_phrases(run, run_own, found)
    return found


def _in_context(symbol: Symbol, found: list[Symbol], run: list[Symbol], following: str) -> str:
    """The symbol's character after a look at its neighbours."""
    if symbol.char == "v" and symbol.words in _PARTICIPLES and following in ("n", "o", "x"):
        return "o"  # "scattered settlements"
    if symbol.char == "k" and following == "H":
        symbol.value = "less"
        return "g"
    if symbol.char == "y":
        return ";" if not run and found and found[-1].char == "," else " "
    if symbol.char == "o" and symbol.words.endswith("ly") and len(symbol.words) > 4:
        return " "
    return symbol.char


def _shapes_of(symbols: list[Symbol], form: str) -> tuple[tuple[str, int, int], ...]:
    """Claims of shape that these words make of a thing whose head noun is `form`."""
    found: dict[str, tuple[str, int, int]] = {}
    for symbol in symbols:
        value = SHAPES.get(symbol.words)
        if value is None and symbol.words in SINGLE and form in MEASURED_SHAPES:
            value = "one piece"
        if value is not None:
            found.setdefault(value, (value, symbol.start, symbol.end))
    # "Scattered patches" are one claim, and so are "narrow strips".
    if "scattered" in found or "one piece" in found:
        found.pop("patches", None)
    return tuple(found.values())


def _shapes_of_measure(measure: Symbol, before: list[Symbol]) -> tuple[tuple[str, int, int], ...]:
    """Claims of shape of a measure and the words before it: "scattered patches of"."""
    told = _shapes_of(before, measure.words)
    own = MEASURED_SHAPES.get(measure.words)
    if not own or any(value in (own, "scattered", "one piece") for value, _, _ in told):
        return told
    return *told, (own, measure.start, measure.end)


def _add_phrases(run: list[Symbol], own: bool, found: list[Symbol]) -> None:
    """Adds the noun phrases of a run of nouns and adjectives: of "n o o n s", two."""
    head: Symbol | None = None
    tail: Symbol | None = None
    start = 0
    for place, symbol in enumerate(run):
        if symbol.char == "n":
            if head is not None and tail is not head:
                found.append(_phrase(head, run[start:place], own))
                own, start = False, place
            # Of two class nouns side by side the last is what it is: "forest road", "desert sand".
            head = tail = symbol
        elif symbol.char == "s" and head is None:
            # "A mountainous region": the scene, however it is described.
            symbol.own = own
            found.append(symbol)
            start = place + 1
        elif head is not None:
            tail = symbol
            if symbol.char == "s":
                found.append(_phrase(head, run[start : place + 1], own))
                head = tail = None
                own, start = False, place + 1
    rest = run[start:]
    if head is not None:
        found.append(_phrase(head, rest, own))
    elif rest:
        last = rest[-1]
        found.append(
            Symbol(
                "O",
                rest[0].start,
                last.end,
                own=own,
                small=last.words in MEASURED_NOUNS,
                words=last.words,
                shapes=_shapes_of(rest, last.words),
                shape_alone=all(symbol.words in SHAPES for symbol in rest),
            )
        )


def _phrase(head: Symbol, words: list[Symbol], own: bool) -> Symbol:
    """The noun phrase of a class noun: all its words, those before and behind it."""
    tail = words[-1]
    told = [s for s in words if s.char == "o" or s.words == "patches"]
    return Symbol(
        "N", head.start, head.end, label=head.label, fine=head.fine, adjective=head.adjective,
        own=own, words=tail.words, small=tail.words in MEASURED_NOUNS,
        whole=tail.char == "s" and tail.words in SCENE_NOUNS,
        shapes=_shapes_of(told, tail.words), bare=words[0] is head and not own,
    )  # fmt: skip
