"""The probe reads what is in the text, and nothing where nothing is."""

import numpy as np
import pytest

from terraloom.leak_probe import probe_shares, quotes_in, why_not_probed

NAMES = ("a", "b", "c")


def corpus(count=120, seed=0):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet((1, 1, 1), size=count)
    groups = [f"g{i % 12}" for i in range(count)]
    return shares, groups


@pytest.mark.parametrize(("text", "digits", "percentages", "values"), [
    ("Grass covers 86% of it.", True, True, (0.86,)),
    ("about 12.5 percent trees, 3,5 % water", True, True, (0.125, 0.035)),
    ("forty-two percent of the scene", False, True, ()),
    ("two fields and 3 roofs", True, False, ()),
    ("Most of it is grass; a tenth is water.", False, False, ()),
    ("٤٠ ٪", True, False, ()),
])  # fmt: skip
def test_numbers_are_found(text, digits, percentages, values):
    found = quotes_in(text)
    assert (found.digits, found.percentages) == (digits, percentages)
    assert found.values == pytest.approx(values)


def test_a_quote_states_a_share_within_rounding():
    shares = (0.864, 0.13, 0.006)
    assert quotes_in("86%").state(shares)
    assert not quotes_in("85%").state(shares)
    assert not quotes_in("1%").state(shares)  # of a class too small to be looked for
    assert not quotes_in("86 trees").state(shares)


def test_shares_in_words_are_read_and_shuffled_ones_are_not():
    shares, groups = corpus()
    words = ["none", "little", "some", "much", "most"]
    texts = [
        " ".join(f"{n}{words[int(s * 4.99)]}" for n, s in zip(NAMES, row, strict=True))
        for row in shares
    ]
    probe = probe_shares(texts, shares, groups, NAMES, seed=1)
    assert probe.r2 > 0.7
    assert probe.r2_shuffled < 0.15
    assert [c.name for c in probe.classes] == list(NAMES)
    assert all(c.error < 0.6 * c.error_mean for c in probe.classes)
    assert probe == probe_shares(texts, shares, groups, NAMES, seed=1)


def test_texts_that_tell_nothing_give_nothing():
    shares, groups = corpus()
    for texts in (["the same"] * 120, [""] * 120):
        probe = probe_shares(texts, shares, groups, NAMES, seed=1)
        assert probe.r2 == pytest.approx(0, abs=0.02)


def test_a_group_never_stands_on_both_sides():
    # Each group has a word and shares of its own: only a leak between folds could read them.
    rng = np.random.default_rng(3)
    own = rng.dirichlet((0.3, 0.3, 0.3), size=12)
    groups = [f"g{i % 12}" for i in range(120)]
    shares = own[[i % 12 for i in range(120)]]
    probe = probe_shares([f"word{g}" for g in groups], shares, groups, NAMES, seed=0)
    assert probe.r2 < 0.05


def test_a_class_that_never_varies_has_no_figure():
    shares, groups = corpus()
    fixed = np.column_stack([shares[:, 0], 1 - shares[:, 0], np.zeros(120)])
    probe = probe_shares(["x"] * 120, fixed, groups, NAMES, seed=0)
    assert probe.classes[2].r2 is None
    assert probe.to_json()["classes"]["c"]["r2"] is None


def test_too_few_are_refused_with_the_reason():
    shares, groups = corpus(30)
    assert why_not_probed(30, 12) is None
    assert "too few" in (why_not_probed(19, 12) or "")
    with pytest.raises(ValueError, match="too few to cross-validate: 30 captions of 1 groups"):
        probe_shares(["x"] * 30, shares, ["g"] * 30, NAMES, seed=0)
    with pytest.raises(ValueError, match="differ"):
        probe_shares(["x"], shares, groups, NAMES, seed=0)
