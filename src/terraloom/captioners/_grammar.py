"""A grammar over facts: one or two sentences whose every clause is licensed by the mask.

A caption is a head (what the scene mostly is), which may carry a tail (other classes, as a list
or a clause), and may be followed by a detail: place, shape, neighbours, what is left, what is
absent. A rule is a function from a draft to words, or None where the facts do not license it;
rules never look at pixels, and no rule words a claim outside the safe bands of `terraloom.facts`.
"""

import random
import re
from collections.abc import Sequence
from typing import Final, Literal

from terraloom.captioners._details import DETAILS
from terraloom.captioners._draft import Draft, Fragment, Rule
from terraloom.captioners._heads import DOMINANT_HEADS, MIXED_HEADS, everything, no_class
from terraloom.captioners._nouns import Noun
from terraloom.captioners._tails import CLAUSE_TAILS, LIST_TAILS, TAILS, item
from terraloom.facts import Facts

Plan = Literal["tail", "detail", "both"]
"""What follows the head: more in the same sentence, a second sentence, or both."""

_MAX_REDRAWS: Final = 12
_MAX_FAULT: Final = 10**6
_WORD: Final = re.compile(r"[a-z]{4,}")
_STEM_LETTERS: Final = 4
# Stems that a parallel construction may repeat: "in the north-west ... in the north-east".
_REPEATABLE: Final = frozenset(
    ("alon", "east", "edge", "from", "half", "nort", "sout", "that", "west", "with")
)


def _apply(d: Draft, rules: Sequence[Rule]) -> str | None:
    """The first rule, in random order, that the facts license; a failed one leaves no trace."""
    for rule in d.shuffled(rules):
        mark = d.mark()
        text = rule(d)
        if text is not None:
            return text
        d.rewind(mark)
    return None


def _head(d: Draft) -> str:
    facts = d.facts
    if not facts.ranked:
        return no_class(d)
    if d.of(facts.ranked[0]).share >= 0.995:
        return everything(d)
    if facts.dominant is not None:
        return _apply(d, DOMINANT_HEADS) or everything(d)
    return _apply(d, MIXED_HEADS) or Fragment(item(d, facts.ranked[0]))


def _draft_caption(d: Draft, plan: Plan, min_words: int) -> str:
    head = _head(d)
    sentence, tail = str(head), None
    if not d.facts.ranked:
        return _as_sentence(sentence)
    if plan != "detail" and not head.startswith("while "):
        rules = LIST_TAILS if isinstance(head, Fragment) else TAILS
        # "No other class takes up more than trees, with crops" would lean on the wrong noun.
        tail = _apply(d, CLAUSE_TAILS if head.startswith("no other ") else rules)
        sentence += tail or ""
    if not isinstance(head, Fragment) and "," not in head and d.chance(0.12):
        opener = d.opener()
        # "In this view, the image ..." would frame the picture twice.
        if not ("view" in opener and re.search(r"\b(image|view|picture|frame|tile)\b", sentence)):
            sentence = f"{opener}, {sentence}"
    text = _as_sentence(sentence)
    # A bare head, or one with a bare noun behind it, says too little.
    if plan != "tail" or tail is None or sentence.count(" ") + 1 < min_words:
        detail = _apply(d, DETAILS)
        if detail is not None:
            text += " " + _as_sentence(detail)
    return text


def _as_sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def repeats_a_word(text: str) -> bool:
    """Whether one sentence uses the same content word, or a form of it, twice."""
    for sentence in text.lower().split(". "):
        stems = [word[:_STEM_LETTERS] for word in _WORD.findall(sentence)]
        stems = [stem for stem in stems if stem not in _REPEATABLE]
        if len(set(stems)) < len(stems):
            return True
    return False


def write_caption(
    facts: Facts,
    nouns: Sequence[Sequence[Noun]],
    rng: random.Random,
    *,
    plan: Plan,
    min_words: int,
    max_words: int,
) -> str:
    """One caption of one or two sentences, without digits.

    Drawn anew while a sentence repeats a word or the caption is too short or too long. After a
    dozen draws the best stands: some scenes have little to tell, and some class tables give two
    classes the same head noun.

    Args:
        facts: of the sample's mask.
        nouns: noun phrases by label, from `table_nouns`.
        rng: the caption's own stream of random numbers; read on from where it stands.
        plan: what follows the head, where the facts license anything.
        min_words: kept where the facts allow.
        max_words: kept where the class names allow.
    """
    best, best_fault = "", _MAX_FAULT
    for _ in range(_MAX_REDRAWS):
        text = _draft_caption(Draft(facts, nouns, rng), plan, min_words)
        words = text.count(" ") + 1
        # A repeated word is worse than a caption a few words too short.
        fault = max(words - max_words, min_words - words, 0) + 5 * repeats_a_word(text)
        if not fault or not facts.ranked:
            return text
        if fault < best_fault:
            best, best_fault = text, fault
    return best
