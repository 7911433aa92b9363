"""Verdicts on captions of other masks, beside an oracle that measures by itself.

A caption that was written for another mask claims at random. No claim that the oracle finds clearly
false may be supported, and none that it finds clearly true contradicted.
"""

from collections import Counter

from tests.claims.masks import drawn_mask
from tests.claims.oracle import MaskOracle

from terraloom.captioners.template import Settings, TemplateCaptioner
from terraloom.claims import Claim, check_caption
from terraloom.classes import preset
from terraloom.facts import measure_facts

SEVEN = preset("worldcover7")
LETTERS = {"north": "n", "south": "s", "west": "w", "east": "e"}
ARTICLES = {
    "most": "most", "vast majority": "the vast majority", "nearly all": "nearly all",
    "large part": "a large part", "good part": "a good part", "small part": "a small part",
    "about 75": "three quarters", "about 67": "two thirds", "about 50": "half",
    "about 33": "a third", "about 25": "a quarter", "about 20": "a fifth", "about 10": "a tenth",
}  # fmt: skip


def region(value: str) -> str | None:
    """A place of a claim in the oracle's letters."""
    if value == "centre":
        return "c"
    if value.endswith(" edge"):
        return LETTERS[value.removesuffix(" edge")].upper()
    parts = value.split("-")
    return "".join(LETTERS[p] for p in parts) if all(p in LETTERS for p in parts) else None


def judged(claim: Claim, mask: MaskOracle) -> str | None:
    """What the oracle says of a claim: clearly "true", clearly "false", or nothing."""
    first = claim.classes[0]
    share = sum(mask.shares[c] for c in claim.classes)
    true = false = False
    match claim.kind:
        case "presence":
            true, false = share >= 0.005, mask.is_absent(first)
        case "absence":
            true, false = mask.is_absent(first), share >= 0.01
        case "dominant" if len(claim.classes) == 1 and claim.value != "mostly":
            true, false = mask.is_dominant(first) and share >= 0.36, mask.cannot_dominate(first)
        case "dominant" if claim.value == "mostly":
            true, false = share >= 0.55, share <= 0.38
        case "comparison" if claim.value == "more":
            lead = mask.shares[first] - mask.shares[claim.classes[1]]
            true, false = lead >= 0.01, lead <= -0.03
        case "quantity" if claim.value in ARTICLES:
            words = ARTICLES[claim.value]
            false = mask.amount_is_false(share, words)
        case "shape" if claim.value == "one piece":
            largest = mask.largest_part(first)
            true, false = largest >= 0.9, 0 < largest <= 0.5
        case "shape" if claim.value == "scattered":
            largest = mask.largest_part(first)
            true, false = 0 < largest <= 0.4, largest >= 0.97
        case "place" if not mask.is_known and not mask.shares[first]:
            return None  # it may lie in the unknown part
        case "place" if claim.value and (where := region(claim.value)):
            true, false = mask.place_is_true(first, where), mask.place_is_false(first, where)
        case _:
            return None
    return "true" if true else "false" if false else None


def test_verdicts_never_run_against_what_is_clear() -> None:
    writer = TemplateCaptioner(Settings(), SEVEN, 2)
    seen: Counter[tuple[str, str, str]] = Counter()
    wrong = []
    for seed in range(200):
        own, other = drawn_mask(seed), drawn_mask(seed + 1000)
        facts, oracle = measure_facts(other, SEVEN), MaskOracle(other)
        for caption in writer.write_facts(str(seed), measure_facts(own, SEVEN)):
            for found in check_caption(caption.text, facts, SEVEN).claims:
                truth = judged(found.claim, oracle)
                if truth is None:
                    continue
                seen[found.claim.kind, truth, found.verdict] += 1
                if (truth, found.verdict) in (("false", "supported"), ("true", "contradicted")):
                    wrong.append((caption.text, found))
    assert wrong == []
    for kind in ("presence", "absence", "dominant", "quantity", "place", "comparison", "shape"):
        found_false = seen[kind, "false", "contradicted"]
        assert found_false >= 20, kind
        assert found_false >= 0.9 * (found_false + seen[kind, "false", "not checkable"]), kind
