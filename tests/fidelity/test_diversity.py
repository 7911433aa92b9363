"""Vendi score from d × d moments equals the definition on n × n cosines; collapse is seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigvalsh
from scipy.stats import entropy

from terraloom.errors import InputError
from terraloom.fidelity.diversity import vendi_score


def by_definition(features):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    values = eigvalsh(unit @ unit.T / len(features))
    return np.exp(entropy(np.clip(values, 0, None)))


@settings(max_examples=25, deadline=None)
@given(count=st.integers(2, 40), size=st.integers(2, 12), seed=st.integers(0, 99))
def test_it_is_the_definition(count, size, seed):
    features = np.random.default_rng(seed).standard_normal((count, size))
    expected = by_definition(features)
    assert vendi_score(features).value == pytest.approx(expected, rel=1e-6)
    blocks = (features[i : i + 3] for i in range(0, count, 3))
    assert vendi_score(blocks).value == pytest.approx(expected, rel=1e-6)


def test_unlike_samples_count_as_many_and_copies_as_one():
    assert vendi_score(np.eye(7)).value == pytest.approx(7)
    assert vendi_score(np.repeat(np.eye(7)[:1], 50, axis=0)).value == pytest.approx(1)
    assert vendi_score(np.repeat(np.eye(7)[:3], 9, axis=0)).value == pytest.approx(3)


def test_mode_collapse_drops_it():
    random = np.random.default_rng(0)
    whole = random.standard_normal((500, 16))
    collapsed = whole[:2][random.integers(0, 2, 500)] + 0.02 * random.standard_normal((500, 16))
    assert vendi_score(whole).value > 14
    assert vendi_score(collapsed).value < 2.5


def test_the_centre_gives_back_what_a_common_offset_hides():
    features = np.random.default_rng(0).standard_normal((300, 8)) + 20
    assert vendi_score(features).value < 1.2
    assert vendi_score(features, centre=np.full(8, 20.0)).value > 7


def test_a_sample_without_direction_is_refused():
    with pytest.raises(InputError, match="length 0"):
        vendi_score(np.zeros((3, 4)))
    with pytest.raises(InputError, match="no features"):
        vendi_score(iter([]))
