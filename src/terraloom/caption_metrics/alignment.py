"""Word alignment of METEOR: which word of a candidate is which word of a reference.

Denkowski and Lavie (2014, section 2.1): each word is in one match at most; as many words as can be
are covered; of such alignments the one with the fewest *chunks* (runs that are contiguous and in
equal order on both sides) is taken, of these the one whose matches start at the closest places.

Their program, METEOR 1.5, reads this more narrowly, and figures are compared with its: words that
can match in one way only are matched; of the others as many *equal* words as can be; then chunks
are made few; and matches by stem or synonym are added as far as they cost no chunk. So it is here.
In a last tie matches lie closest, then leftmost.

Only the places of repeated words are searched.
"""

from collections.abc import Sequence
from typing import Final

BEAM: Final = 64
"""Partial alignments that are kept per word of the candidate; METEOR 1.5 keeps 40."""

Matches = tuple[tuple[int, int], ...]
_State = tuple[int, int]
_Value = tuple[int, int, int, int, Matches]


def align(
    candidate: Sequence[int],
    reference: Sequence[int],
    candidate_words: Sequence[int],
    reference_words: Sequence[int],
) -> tuple[Matches, int]:
    """Matches (place in the candidate, place in the reference) in candidate order, and chunks.

    Args:
        candidate: key of each word; words of equal keys may match.
        reference: key of each word.
        candidate_words: the words themselves, as numbers; equal words have equal keys.
        reference_words: as above.
    """
    places: dict[int, list[int]] = {}
    for place, key in enumerate(reference):
        places.setdefault(key, []).append(place)
    left: dict[int, int] = {}
    for key in candidate:
        if key in places:
            left[key] = left.get(key, 0) + 1
    if all(count == 1 and len(places[key]) == 1 for key, count in left.items()):
        matches = tuple((i, places[key][0]) for i, key in enumerate(candidate) if key in left)
        return matches, _chunks(matches)
    words: dict[int, set[int]] = {}
    for keys, spoken in ((candidate, candidate_words), (reference, reference_words)):
        for key, word in zip(keys, spoken, strict=True):
            words.setdefault(key, set()).add(word)
    # Keys of one word have exact matches alone, and a key that stands once on both sides has one
    # way to match: neither is left out while the other side has room.
    full = {
        key for key, count in left.items() if len(words[key]) == 1 or count == len(places[key]) == 1
    }
    return _search(candidate, places, left, full, candidate_words, reference_words)


def _chunks(matches: Matches) -> int:
    return sum(n == 0 or matches[n - 1] != (i - 1, j - 1) for n, (i, j) in enumerate(matches))


def _search(
    candidate: Sequence[int],
    places: dict[int, list[int]],
    left: dict[int, int],
    full: set[int],
    candidate_words: Sequence[int],
    reference_words: Sequence[int],
) -> tuple[Matches, int]:
    """Left to right over the candidate; states that differ only in their past are merged."""
    masks = {key: sum(1 << j for j in places[key]) for key in left}
    # State: reference places taken by keys that come again, and the one matched just before (−2:
    # none). Value, the smaller the better: equal words (negative), chunks, other matches
    # (negative), distance, matches.
    states: dict[_State, _Value] = {(0, -2): (0, 0, 0, 0, ())}
    for i, key in enumerate(candidate):
        if key not in left:
            states = _merged([((taken, -2), value) for (taken, _), value in states.items()])
            continue
        left[key] -= 1
        mask, last, is_full = masks[key], left[key] == 0, key in full
        found: list[tuple[_State, _Value]] = []
        for (taken, before), value in states.items():
            equal, chunks, other, distance, matches = value
            free = len(places[key]) - (taken & mask).bit_count()
            for j in places[key]:
                if taken >> j & 1:
                    continue
                is_equal = candidate_words[i] == reference_words[j]
                after = taken & ~mask if last else taken | 1 << j
                longer = (
                    equal - is_equal,
                    chunks + (j != before + 1),
                    other - (not is_equal),
                    distance + abs(i - j),
                    (*matches, (i, j)),
                )
                found.append(((after, j), longer))
            if not is_full or left[key] >= free:
                found.append(((taken & ~mask if last else taken, -2), value))
        states = _merged(found)
    best = min(states.values())
    return best[4], best[1]


def _merged(found: list[tuple[_State, _Value]]) -> dict[_State, _Value]:
    best: dict[_State, _Value] = {}
    for state, value in found:
        if state not in best or value < best[state]:
            best[state] = value
    if len(best) <= BEAM:
        return best
    return dict(sorted(best.items(), key=lambda item: (item[1], item[0]))[:BEAM])
