"""Is what a model wrote a caption? Cleaning, and the reasons for which a text is refused."""

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

MAX_CHARACTERS: Final = 1_000
"""A longer text is no caption of one or two sentences."""

_THOUGHT_ENDS: Final = "</think>"
_MAX_RAW: Final = 100_000
_LABEL: Final = re.compile(r"^(?:caption|answer|description)\s*:\s*", re.IGNORECASE)
_QUOTES: Final = (('"', '"'), ("'", "'"), ("“", "”"), ("«", "»"), ("`", "`"), ("**", "**"))
_NUMBERS: Final = ("Nd", "Nl", "No")
_PERCENT: Final = re.compile(r"[%‰％٪﹪]|\bper\s?cent(?:s|age|ages)?\b", re.IGNORECASE)
_REFUSAL: Final = re.compile(
    r"^(?:i['’]?m (?:very )?sorry|sorry\b|i (?:cannot|can['’]t|can not|am unable|am not able)"
    r"|i['’]m (?:unable|not able)|as an ai\b|unfortunately, i\b|i don['’]t have (?:access|the))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a text is no caption."""

    reason: str
    """For the log and the errors table."""
    correction: str
    """What the writer is told before it writes again."""


def clean_text(raw: str) -> str:
    """A model's answer as one line of text: no thoughts, no quotes around it, no hidden characters.

    Control and format characters (right-to-left marks, zero-width spaces) and lone surrogates go;
    white space becomes single blanks. Letters, however hostile what they spell, stay.
    """
    # What a reasoning model thought aloud stands before this mark, whatever it opened with.
    spoken = raw[:_MAX_RAW].rpartition(_THOUGHT_ENDS)[2]
    spaced = "".join(" " if c.isspace() else c for c in spoken)
    text = "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co"))
    text = _LABEL.sub("", " ".join(text.split()))
    for left, right in _QUOTES:
        if len(text) > len(left + right) and text.startswith(left) and text.endswith(right):
            inner = text[len(left) : -len(right)]
            if left not in inner and right not in inner:
                text = inner.strip()
    return text


def holds_figures(text: str) -> bool:
    """Whether a text holds a digit of any script, a fraction sign, or speaks of percent."""
    return any(unicodedata.category(c) in _NUMBERS for c in text) or bool(_PERCENT.search(text))


def find_fault(
    text: str,
    *,
    finish: str,
    forbidden: Collection[str] = (),
    taken: Collection[str] = (),
    secret: str | None = None,
) -> Fault | None:
    """The first reason against a cleaned text, or None.

    Args:
        text: from `clean_text`.
        finish: why the model stopped: "stop", "length" or "refused".
        forbidden: words, lower case, that must not stand in it.
        taken: captions that it must differ from.
        secret: a key that must never be stored.
    """
    if secret and secret in text:
        return Fault("it holds the key of the server", "Describe the scene and nothing else.")
    if finish == "refused" or _REFUSAL.match(text):
        return Fault("the model refused", "Describe the land cover; nothing more is asked.")
    if not text:
        return Fault("it is empty", "Write one or two sentences.")
    if finish == "length" or "<think>" in text:
        return Fault("it was cut off at the token limit", "Write a shorter answer.")
    if len(text) > MAX_CHARACTERS:
        return Fault(f"it has {len(text):,} characters", "Write one or two short sentences.")
    if holds_figures(text):
        return Fault(
            "it holds digits or percentages",
            "Write it again without any digit, percentage or exact figure; tell amounts in words "
            "such as most, about half, or a small part.",
        )
    found = [
        word for word in forbidden if re.search(rf"\b{re.escape(word)}s?\b", text, re.IGNORECASE)
    ]
    if found:
        words = ", ".join(found)
        return Fault(f"it holds forbidden words: {words}", f"Do not use these words: {words}.")
    if text in taken:
        return Fault("it repeats another caption of its image", "Word it differently.")
    return None
