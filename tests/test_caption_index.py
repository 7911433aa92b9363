"""The index against figures that are counted with sets, and the published corpora."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terraloom.caption_index import CaptionIndex, rarefied
from terraloom.redundancy import (
    exact_redundancy,
    normalised_redundancy,
    rarefied_redundancy,
    split_redundancy,
)

TEXTS = st.sampled_from(["a lake", "A lake.", "a field", "", "  ", "two  roofs", "two roofs", "ß"])
ROWS = st.lists(st.tuples(st.sampled_from("123"), st.sampled_from("vw"), TEXTS), max_size=20)


@settings(max_examples=80, deadline=None)
@given(ROWS)
def test_figures_equal_those_of_the_plain_functions(rows):
    index = CaptionIndex()
    index.add(rows[:5])
    if rows:
        index.measure()  # what is added later counts as well
    index.add(rows[5:])
    for writer in (None, *index.writers):
        own = [r for r in rows if writer in (None, r[1])]
        found = index.measure(writer=writer)
        plain = split_redundancy((image, text) for image, _, text in own)
        assert found.exact == exact_redundancy(t for _, _, t in own) == plain.exact
        assert found.normalised == normalised_redundancy(t for _, _, t in own)
        assert found.within == pytest.approx(plain.within)
        assert found.across == pytest.approx(plain.across)
        assert found.identical_images == pytest.approx(plain.identical_images)
        assert found.images == plain.images
        assert found.near.redundancy >= found.normalised.redundancy - 1e-12
        assert 0 <= found.near_within <= found.near.redundancy + 1e-12
        if own:
            assert found.curve[-1] == (len(own), pytest.approx(found.exact.redundancy))


def test_words_are_counted_after_folding():
    index = CaptionIndex()
    index.add([("1", "w", "A lake, a lake!"), ("1", "w", "a big lake"), ("2", "w", "")])
    assert (len(index), index.images, index.writers) == (3, 2, ("w",))
    assert index.vocabulary == 3
    assert index.mean_words == pytest.approx(7 / 3)
    assert index.distinct(1) == pytest.approx(3 / 7)
    # a lake, lake a, a lake | a big, big lake: pairs do not cross captions
    assert index.distinct(2) == pytest.approx(4 / 5)


def test_an_unknown_writer_is_refused():
    with pytest.raises(KeyError):
        CaptionIndex().measure(writer="nobody")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.data())
def test_rarefied_is_the_mean_over_all_draws(copies, data):
    corpus = [str(i) for i, n in enumerate(copies) for _ in range(n)]
    count = data.draw(st.integers(1, len(corpus)))
    exact = rarefied(np.array(list(Counter(corpus).values())), count)
    drawn = rarefied_redundancy(corpus, count, seed=1, draws=3000)
    assert exact == pytest.approx(drawn, abs=0.03)


@pytest.mark.parametrize("count", [0, 4])
def test_an_impossible_count_is_refused(count):
    with pytest.raises(ValueError, match=f"cannot draw {count} of 3 captions"):
        rarefied(np.array([1, 2]), count)


@pytest.mark.parametrize(("name", "percent"), [("rsicd", 66.69), ("sydney", 63.82)])
def test_published_corpora_have_their_figures(shared_data, name, percent):
    path = shared_data / "captions" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"needs {path}")
    index = CaptionIndex()
    rows = json.loads(path.read_text())
    index.add((row["filename"], "", text) for row in rows for text in row["captions"])
    found = index.measure()
    assert 100 * found.exact.redundancy == pytest.approx(percent, abs=0.005)
    assert found.near.redundancy > found.normalised.redundancy >= found.exact.redundancy
