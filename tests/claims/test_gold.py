"""The reader against claims annotated by hand before it was written."""

from pathlib import Path

import pytest
from tests.claims.gold import compare, gold_captions

from terraloom.claims import read_claims
from terraloom.classes import preset

SEVEN = preset("worldcover7")


@pytest.mark.parametrize("corpus", ["rsicd", "sydney", "aras", "own"])
def test_claims_of_the_development_part_are_read(corpus: str, shared_data: Path) -> None:
    captions = [c for c in gold_captions(corpus, shared_data) if not c.held_back]
    counts = compare(captions, [read_claims(c.text, SEVEN) for c in captions], SEVEN)
    assert counts["right"] >= 0.97 * (counts["right"] + counts["wrong"])
    assert counts["right"] >= 0.95 * (counts["right"] + counts["missed"])


def test_the_held_back_part_meets_its_goals(shared_data: Path) -> None:
    captions = [
        c
        for corpus in ("rsicd", "sydney", "aras", "own")
        for c in gold_captions(corpus, shared_data)
        if c.held_back
    ]
    assert 90 <= len(captions) <= 110
    counts = compare(captions, [read_claims(c.text, SEVEN) for c in captions], SEVEN)
    assert counts["right"] >= 0.95 * (counts["right"] + counts["wrong"])
    assert counts["right"] >= 0.90 * (counts["right"] + counts["missed"])
