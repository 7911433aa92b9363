"""Numbers have one form."""

import pytest

from terraloom.report.wording import count, distance, interval, listed, percent, plural, points


@pytest.mark.parametrize(
    ("value", "told"), [(0.5, "50.0"), (0.12345, "12.3"), (None, "–"), (1.0, "100.0")]
)
def test_percent_has_one_decimal(value: float | None, told: str) -> None:
    assert percent(value) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.01, "+1.0"), (-0.0123, "−1.2"), (0.0, "0.0"), (-0.0004, "0.0"), (0.0004, "0.0")],
)
def test_differences_are_signed_but_zero_is_not(value: float, told: str) -> None:
    assert points(value) == told


def test_other_forms() -> None:
    assert interval(-0.01, 0.02, signed=True) == "[−1.0, +2.0]"
    assert interval(0.4, 0.5) == "[40.0, 50.0]"
    assert distance(-0.0061) == "−0.006"
    assert count(1_500_000) == "1,500,000"
    assert plural(1, "place") == "1 place"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([]) == ""
