"""Tails: more in the first sentence of a caption, as a list or a clause."""

from itertools import pairwise
from typing import Final

from terraloom.captioners._draft import (
    LARGEST_LEAD,
    LIE,
    PATCHES_LEAST,
    Draft,
    Rule,
    listed,
    pieces,
)
from terraloom.facts import SLIM, amount_words

TRACES: Final = 0.03
"""Up to this share a class in a list is never a bare noun."""
APART_LEAST: Final = 0.90
"""Least share of what was told before an exception."""
MANY_LARGEST: Final = 0.70
"""Largest part in one patch of a class that is told to lie in many."""


def item(d: Draft, label: int, *, alone: bool = False) -> str:
    """A class as a member of a list, with an article or a measure where its shape licenses one.

    Alone and without a place behind it, a bare noun would dangle: ", with crops".
    """
    facts, noun = d.of(label), d.noun(label)
    options = [noun.text]
    if facts.share <= 0.25:
        options.append(f"some {noun.text}" if noun.plural else f"areas of {noun.text}")
        if noun.lies_in_patches:
            options += _patches(d, label)
        elif facts.is_fragmented:
            options.append(f"scattered {noun.text}")
    elif facts.is_block and facts.compactness >= SLIM:
        options.append(f"a large block of {noun.of_it}")
    if facts.share >= 0.2:
        options[0] = f"large areas of {noun.of_it}"
    if facts.share <= 0.08 and facts.patches >= 2:
        options.append(d.small(label))
    if facts.share <= TRACES:
        options.append(f"some {noun.text}" if noun.plural else f"traces of {noun.text}")
        alone = True
    if alone and len(options) > 1 and options[0] == noun.text:
        del options[0]
    return d.pick(options)


def _patches(d: Draft, label: int) -> list[str]:
    """Names for a class by the number and form of its patches."""
    facts, noun = d.of(label), d.noun(label)
    options = []
    if 3 <= facts.patches <= 6 and not facts.is_block:
        options.append(f"a few patches of {noun.of_it}")
    if facts.patches >= 20 and facts.largest_patch <= MANY_LARGEST:
        options.append(f"many patches of {noun.of_it}")
    if facts.is_fragmented:
        name = noun.text if noun.plural else f"patches of {noun.text}"
        options.append(f"scattered {name}")
    elif facts.patches >= PATCHES_LEAST and not facts.is_block:
        options.append(f"patches of {noun.of_it}")
    elif facts.patches == 1 and facts.is_block:
        options.append(f"{d.pick(pieces(facts))} of {noun.of_it}")
    return options


def _with_list(d: Draft) -> str | None:
    untold = [label for label in d.untold() if d.of(label).corridor is None]
    if not untold:
        return None
    count = min(len(untold), d.pick((1, 2, 2, 3)))
    # The large ones are worth more, but not always.
    labels = untold[:count] if d.chance(0.6) else d.shuffled(untold[: count + 1])[:count]
    items = [item(d, label, alone=count == 1) for label in labels]
    # A measure told before a bare noun would seem to hold for both: "traces of roads and trees".
    bare = {d.noun(label).text for label in labels}
    items.sort(key=lambda item: item not in bare)
    return ", with " + listed(items)


def _with_places(d: Draft) -> str | None:
    # All members have a place: one without would seem to lie in its neighbour's.
    placed = [label for label in d.untold() if d.of(label).place is not None]
    if not placed:
        return None
    labels = placed[: d.pick((1, 2, 2, 3))]
    words = {d.of(label).place.words for label in labels}  # type: ignore[union-attr]
    if len(words) < len(labels):
        labels = labels[:1]
    return ", with " + listed([f"{item(d, label)} {d.at(label)}" for label in labels])


def _with_corridor(d: Draft) -> str | None:
    found = [(x, c) for x in d.untold() if (c := d.of(x).corridor) is not None]
    if not found:
        return None
    label, corridor = found[0]
    running = "winding" if corridor.is_winding and d.chance(0.4) else "running"
    strip = d.strip(corridor, is_told=running == "winding")
    return f", with {strip} of {d.noun(label).of_it} {running} {corridor.words}"


def _with_traces(d: Draft) -> str | None:
    untold = d.untold()
    if not untold or d.of(untold[0]).share > 0.06 or d.of(untold[0]).place is not None:
        return None
    names = listed([d.small(label) for label in untold[: d.pick((1, 2, 3))]])
    # "Half of it is forest, apart from some crops" would leave the other half open.
    if sum(d.of(label).share for label in d.told) < APART_LEAST:
        return f", with only {names}"
    return d.pick((f", with only {names}", f", apart from {names}"))


def _while_amount(d: Draft) -> str | None:
    untold = d.untold()
    if not untold:
        return None
    label = d.pick(untold[:2])
    words = amount_words(d.of(label).share)
    if not words:
        return None
    link = d.pick((", while", ", whereas", ", and"))
    of = d.pick(("", " of it")) if d.has_area else f" of {d.area()}"
    return f"{link} {d.cover(label)} {d.pick(words)}{of}"


def _while_place(d: Draft) -> str | None:
    placed = [x for x in d.untold() if d.of(x).place is not None]
    if not placed:
        return None
    label = d.pick(placed[:2])
    noun, link = d.sized(label), d.pick((", while", ", whereas", ", and"))
    is_throughout = d.of(label).place.kind == "throughout"  # type: ignore[union-attr]
    verb = d.pick(LIE[1:4] if is_throughout else LIE)  # nothing "lies throughout"
    return f"{link} {noun.text} {noun.agree(*verb)} {d.at(label)}"


def _followed_by(d: Draft) -> str | None:
    ranked = d.facts.ranked
    if d.told != [ranked[0]] or len(ranked) < 2 or d.of(ranked[0]).share >= APART_LEAST:
        return None
    shares = [d.of(label).share for label in ranked] + [0.0]
    steps = [a - b >= LARGEST_LEAD for a, b in pairwise(shares)]
    count = 2 if len(ranked) > 2 and all(steps[:3]) and d.chance(0.6) else 1
    if not all(steps[: count + 1]):
        return None
    names = [d.noun(label).text for label in ranked[1 : 1 + count]]
    return f", followed by {' and then '.join(names)}"


TAILS: Final[tuple[Rule, ...]] = (
    _with_list, _with_places, _with_corridor, _with_corridor, _while_amount, _while_place,
    _followed_by, _with_traces,
)  # fmt: skip
"""Rules behind a full clause."""
CLAUSE_TAILS: Final[tuple[Rule, ...]] = (_while_amount, _while_place)
"""Those that are clauses themselves."""
LIST_TAILS: Final[tuple[Rule, ...]] = (
    _with_list, _with_places, _with_corridor, _with_corridor, _with_traces,
)  # fmt: skip
"""Rules behind a head without a verb."""
